"""Confirmed animals as pictures, a folder a taxon: what few-shot labelling learns from."""

from pathlib import Path

import numpy as np

from trygon.archive.run import Run
from trygon.data.images import encode_jpeg
from trygon.review.columns import Columns
from trygon.review.pictures import Pictures

_SIDE = 512
_ILLEGAL = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))


def write_examples(run: Run, columns: Columns, pictures: Pictures, out: Path, per_taxon: int) -> tuple[int, int, int]:
    """Write crops of animals that a person named as `out/SCIENTIFIC NAME/OBSERVATION.jpg`.

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
    """Names and observations: of every taxon one of each event in turn."""
    table = run.observations.select(
        ["observation_id", "event_id", "detection_id", "type", "scientific", "reviewed_by"]
    )
    kept = [table[name].is_valid().to_numpy() for name in ("detection_id", "scientific", "reviewed_by")] + [
        np.asarray(table["type"].to_numpy() == "animal")
    ]
    table = table.take(np.flatnonzero(np.logical_and.reduce(kept)))
    turns: dict[tuple[str, int], int] = {}
    rows = []
    for row in table.select(["scientific", "event_id", "observation_id"]).to_pylist():
        key = (row["scientific"], row["event_id"])
        turns[key] = turns.get(key, 0) + 1
        rows.append((row["scientific"], turns[key], row["observation_id"]))
    chosen, counts = [], dict[str, int]()
    for name, _, observation_id in sorted(rows):
        counts[name] = counts.get(name, 0) + 1
        if counts[name] <= per_taxon:
            chosen.append((name, observation_id))
    return chosen
