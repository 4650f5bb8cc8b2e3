"""Confirmed animals as pictures, a folder a taxon: what few-shot labelling learns from."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from pyarrow.dataset import field

from trygon.archive.run_folder.examples import spread, taxon_of
from trygon.archive.run_folder.reviews import read_reviews
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
    `out/LINEAGE/OBSERVATION.jpg`. Those of observations that are called otherwise by now are removed.

    At most `per_taxon` of each, spread over its events. How many crops and taxa were written, and how many were left
    out: their frames cannot be read or are withheld, or they are hidden as people.
    """
    chosen = _choose(run, per_taxon)
    _remove_others(run, out, chosen)
    written, left_out = 0, 0
    taxa: set[str] = set()
    for observation_id, name in chosen.items():
        at = columns.observation_ids.position(observation_id)
        if at is None:
            continue
        place = out / name / f"{observation_id}.jpg"
        try:
            image = pictures.example(at, _SIDE)
        except OSError:
            image = None
        if image is None:
            place.unlink(missing_ok=True)
            left_out += 1
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode_jpeg(image, 92))
        written += 1
        taxa.add(name)
    return written, len(taxa), left_out


def _remove_others(run: Run, out: Path, chosen: Mapping[int, str]) -> None:
    """What was written of the run's observations before, under another name or when they were among the chosen."""
    reviewed = {str(one) for ids in read_reviews(run.folder)["observation_ids"].to_pylist() for one in ids or ()}
    for old in out.glob("*/*.jpg"):
        if old.stem in reviewed and chosen.get(int(old.stem)) != old.parent.name:
            old.unlink()


def _choose(run: Run, per_taxon: int) -> dict[int, str]:
    """Observations and the names of their folders."""
    about = ["observation_id", "event_id", "detection_id", "type", "scientific", "reviewed_by", *RANKS]
    named = field("detection_id").is_valid() & field("scientific").is_valid() & field("reviewed_by").is_valid()
    rows = run.observations.select(about).filter(named & (field("type") == "animal")).to_pylist()
    taxa = {row["observation_id"]: taxon_of(row) for row in rows}
    chosen = spread(((taxa[row["observation_id"]], row["event_id"], row["observation_id"]) for row in rows), per_taxon)
    folders = _folders(dict.fromkeys(taxa.values()))
    return {one: folders[taxon].translate(_ILLEGAL) for one, taxon in taxa.items() if one in chosen}


def _folders(taxa: Iterable[_Taxon]) -> dict[_Taxon, str]:
    """The name of each taxon's folder: the scientific one, and of homonyms the lineage, which labelling reads too."""
    taxa = list(taxa)
    num = Counter(scientific for scientific, *_ in taxa)
    return {
        (scientific, *lineage): scientific if num[scientific] == 1 else ";".join(lineage).rstrip(";")
        for scientific, *lineage in taxa
    }
