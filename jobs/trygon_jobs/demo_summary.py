"""What the demo says at its end. Every number is read back from the files that the steps wrote."""

import csv
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trygon.data.sample.drawn import is_drawn
from trygon.storage import read_json
from trygon.taxonomy.names import clean_lineage
from trygon.taxonomy.taxon import RANKS, Taxon

_TEXT_TYPES = ("taxon", "sci", "com", "taxon_com")
_MIN_OVERLAP = 0.5
"""Intersection over union at which a box counts as that of an animal, as detection benchmarks have it."""

Row = Mapping[str, Any]


def lines(out: Path) -> Iterator[str]:
    """Lines for people, a few for each step."""
    drawn = is_drawn(read_json(out / "answer.json")["photo"]["source_id"])
    if drawn:
        yield "[bold]Drawn organisms[/] stand in for photos, of species that are made up: what follows shows that"
        yield "  the chain works, not how well it names real species"
    yield from _evaluation(read_json(out / "evaluation" / "metrics.json"), "drawings" if drawn else "photos")
    yield from _archive(out)
    yield from _request(out, "an invented species" if drawn else "a species")
    yield _cost(read_json(out / "summary.json"))
    yield "[bold]Look at[/]"
    yield f"  {out / 'evaluation' / 'index.html'}   how well the model names species held out of training"
    yield f"  {out / 'run' / 'report' / 'index.html'}   the labelled archive"
    yield f"  {out / 'run' / 'export' / 'camtrap-dp' / 'datapackage.json'}   the same as Camtrap DP"
    serve = shlex.join(["serve", "--model", str(out / "model"), "--labels", str(out / "labels")])
    yield f"  {_trygon()} {serve}   then open http://127.0.0.1:8000"


def _evaluation(metrics: Mapping[str, float], pictures: str) -> Iterator[str]:
    count = metrics["zero_shot/unseen/taxon/species/n"]
    yield f"[bold]Species held out of training[/] ({count:.0f} {pictures}), right at the first guess, in percent"
    yield "  names as     trained  (95 % interval)   before training   guessing"
    for text_type in _TEXT_TYPES:
        key = f"zero_shot/unseen/{text_type}/species"
        top1, low, high = (100 * metrics[f"{key}/{name}"] for name in ("top1", "top1_low", "top1_high"))
        before, chance = 100 * metrics[f"baseline/{key}/top1"], 100 * metrics[f"{key}/chance"]
        interval = f"({low:.0f} to {high:.0f})"
        yield f"  {text_type:<11}  {top1:7.1f}  {interval:<15}   {before:15.1f}   {chance:8.1f}"


def _cost(summary: Mapping[str, Any]) -> str:
    total, steps = summary["total"], summary["steps"]
    unknown = [name for name, figures in steps.items() if figures.get("was_complete")]
    rest = f" (without {', '.join(unknown)}: done before the demo's first run)" if unknown else ""
    return f"[bold]Cost[/]  {total['seconds']:.0f} s, at most {total['peak_memory_bytes'] / 1e9:.1f} GB{rest}"


def _trygon() -> str:
    """What to type for `trygon`: the script beside this Python, by the shorter of its two paths."""
    script = Path(sys.executable).parent / "trygon"
    if not script.is_file():
        return f"{shlex.quote(sys.executable)} -m trygon_jobs"
    near = os.path.relpath(script)
    return shlex.quote(near if os.sep in near and len(near) < len(str(script)) else str(script))


@dataclass(frozen=True)
class Sighting:
    """An animal that stands in a frame, and the observation whose box is on it, if there is one."""

    truth: Row
    observation: Row | None


def _archive(out: Path) -> Iterator[str]:
    from trygon.archive.run_folder.run import Run

    run = Run.open(out / "run")
    with (out / "archive-truth.csv").open(encoding="utf-8", newline="") as file:
        truth = list(csv.DictReader(file))
    boxes = _boxes_by_path(run)
    sightings = [_sighting(row, boxes.get(row["path"], [])) for row in truth if row["kind"] == "animal"]
    found = [sighting for sighting in sightings if sighting.observation]
    blank = [row["path"] for row in truth if row["kind"] == "blank"]
    on_blank = sum(len(boxes.get(path, [])) for path in blank)
    others = sum(map(len, boxes.values())) - len(found)
    num_files, broken = (run.row(f"SELECT count(*) AS num FROM {name}")["num"] for name in ("media", "failures"))
    yield (
        f"[bold]Archive[/]  {num_files} files, {broken} of them broken. The detector found {len(found)} of "
        f"{len(sightings)} animals; it drew {others} boxes on something else, {on_blank} of them on the {len(blank)} "
        "blank frames"
    )
    seen = _trained_species(out / "shards")
    trained = [sighting for sighting in found if _species(sighting.truth) in seen]
    yield "  right names of animals found           class      order      deepest rank given"
    yield _names_right("species in training", trained)
    yield _names_right("species not in training", [sighting for sighting in found if sighting not in trained])


def _trained_species(shards: Path) -> set[str]:
    """The lineages of the species that training saw, as text."""
    import pyarrow.parquet as pq

    rows = pq.read_table(shards / "counts.parquet", filters=[("split", "=", "train")]).to_pylist()
    return {Taxon.from_row(row).taxonomic for row in rows if row["species"]}


def _boxes_by_path(run: Any) -> dict[str, list[dict[str, Any]]]:
    """What the detector took for animals, by the path of the frame; of a doubtful box the name may say nothing."""
    found: dict[str, list[dict[str, Any]]] = {}
    animals = "type IN ('animal', 'unknown') AND detection_id IS NOT NULL"
    for row in run.rows(f"FROM sightings WHERE {animals} ORDER BY observation_id"):
        found.setdefault(row["path"], []).append(row)
    return found


def _sighting(truth: Row, observations: Sequence[Row]) -> Sighting:
    """The best box on an animal; where its place is not known, the surest box of the frame."""
    if not truth["x"]:
        return Sighting(truth, max(observations, key=lambda row: row["confidence"], default=None))
    best = max(observations, key=lambda row: _overlap(truth, row), default=None)
    return Sighting(truth, best if best and _overlap(truth, best) >= _MIN_OVERLAP else None)


def _overlap(one: Row, other: Row) -> float:
    """Intersection over union of two boxes."""
    from trygon.archive.detection.detector import iou

    boxes = ([float(row[name]) for name in ("x", "y", "width", "height")] for row in (one, other))
    corners = (np.array([x, y, x + width, y + height]) for x, y, width, height in boxes)
    return float(iou(*corners))


def _species(truth: Row) -> str:
    return Taxon(clean_lineage([truth[rank] for rank in RANKS])).taxonomic


def _names_right(title: str, sightings: Sequence[Sighting]) -> str:
    shares = []
    for rank in ("class", "order", None):
        at = [(it.truth, it.observation, rank or it.observation["rank"]) for it in sightings if it.observation]
        given = [(truth, names, level) for truth, names, level in at if level and names[level]]
        right = sum(_name(truth, level) == _name(names, level) for truth, names, level in given)
        shares.append(f"{right} of {len(given)}")
    return f"  {title:<24} ({len(sightings):>3} boxes)   {shares[0]:<8}   {shares[1]:<8}   {shares[2]}"


def _name(names: Row, rank: str) -> str:
    """The name at a rank; a species' epithet says nothing without its genus."""
    return f"{names['genus']} {names['species']}" if rank == "species" else names[rank]


def _request(out: Path, unnamed: str) -> Iterator[str]:
    content = read_json(out / "answer.json")
    photo, answer = content["photo"], content["answer"]
    shown = Taxon.from_row(photo)
    yield (
        f"[bold]One request[/]  {out / 'photo.jpg'} shows {shown.common or unnamed} ({shown.scientific}), "
        "which was held out of training"
    )
    yield f"  the classifier says {_verdict(photo, answer)}; its best guesses are {_how_deep(photo, answer)}"


def _verdict(photo: Row, answer: Mapping[str, Any]) -> str:
    taxon = answer["taxon"]
    if not taxon:
        return f"nothing with a probability of {answer['floor']:.2f} or more"
    right = "right" if taxon["scientific"] == _name(photo, taxon["rank"]) else "wrong"
    return f"{taxon['rank']} {taxon['scientific']} (probability {taxon['probability']:.2f}), which is {right}"


def _how_deep(photo: Row, answer: Mapping[str, Any]) -> str:
    """Down to which rank the best guesses are right, and what the first wrong one is."""
    guesses = {rank: entry["name"] for rank, entry in answer["lineage"].items()}
    wrong = next((rank for rank in RANKS if guesses.get(rank) != _name(photo, rank)), None)
    if wrong is None:
        return "right down to the species"
    above = RANKS[: RANKS.index(wrong)]
    right = f"right down to {above[-1]} {guesses[above[-1]]}, then" if above else "not right:"
    return f"{right} {wrong} {guesses.get(wrong, 'unknown')} and not {_name(photo, wrong)}"
