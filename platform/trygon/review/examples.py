"""Confirmed animals as pictures, a folder a taxon: what few-shot labelling learns from."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from trygon.archive.run_folder.run import Run
from trygon.data.images import encode_jpeg
from trygon.review.columns import Columns
from trygon.review.pictures import Pictures
from trygon.taxonomy.taxon import RANKS

_Taxon = tuple[str, ...]
"""The scientific name and the lineage: names repeat."""

_SIDE = 512
_ILLEGAL = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))


def write_examples(run: Run, columns: Columns, pictures: Pictures, out: Path, per_taxon: int) -> tuple[int, int, int]:
    """Write crops of animals that a person named as `out/SCIENTIFIC NAME/OBSERVATION.jpg`, and of homonyms as
    `out/LINEAGE/OBSERVATION.jpg`.

    At most `per_taxon` of each, spread over its events. How many crops and taxa were written, and how many were left
    out: their frames cannot be read or are withheld, or they are hidden as people.
    """
    chosen = _choose(run, per_taxon)
    written, left_out = 0, 0
    taxa: set[str] = set()
    for name, observation_id in chosen:
        at = columns.observation_ids.position(observation_id)
        if at is None:
            continue
        try:
            image = pictures.example(at, _SIDE)
        except OSError:
            image = None
        if image is None:
            left_out += 1
            continue
        folder = out / name.translate(_ILLEGAL)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{observation_id}.jpg").write_bytes(encode_jpeg(image, 92))
        written += 1
        taxa.add(name)
    return written, len(taxa), left_out


def _choose(run: Run, per_taxon: int) -> list[tuple[str, int]]:
    """Folders and observations: of every taxon one of each event in turn."""
    about = ["observation_id", "event_id", "detection_id", "type", "scientific", "reviewed_by", *RANKS]
    table = run.observations.select(about)
    kept = [table[name].is_valid().to_numpy() for name in ("detection_id", "scientific", "reviewed_by")] + [
        np.asarray(table["type"].to_numpy() == "animal")
    ]
    table = table.take(np.flatnonzero(np.logical_and.reduce(kept)))
    turns: Counter[tuple[_Taxon, int]] = Counter()
    rows = []
    for row in table.to_pylist():
        taxon = tuple(row[name] or "" for name in ("scientific", *RANKS))
        turns[taxon, row["event_id"]] += 1
        rows.append((taxon, turns[taxon, row["event_id"]], row["observation_id"]))
    folders = _folders(dict.fromkeys(taxon for taxon, _, _ in rows))
    chosen, counts = [], Counter[_Taxon]()
    for taxon, _, observation_id in sorted(rows):
        counts[taxon] += 1
        if counts[taxon] <= per_taxon:
            chosen.append((folders[taxon], observation_id))
    return chosen


def _folders(taxa: Iterable[_Taxon]) -> dict[_Taxon, str]:
    """The name of each taxon's folder: the scientific one, and of homonyms the lineage, which labelling reads too."""
    taxa = list(taxa)
    num = Counter(scientific for scientific, *_ in taxa)
    return {
        (scientific, *lineage): scientific if num[scientific] == 1 else ";".join(lineage).rstrip(";")
        for scientific, *lineage in taxa
    }
