"""SpeciesNet's predictions.json, with a prediction for every detection as its newer versions write them.

Taxa have no id of Wildlife Insights here: the UUID in front of a label is made from the lineage, but for SpeciesNet's
own labels of blanks, people, vehicles, and animals without a name.
"""

from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from trygon import __version__
from trygon.archive.exports.frames import Frame, box, confidence, frames, probability, write_stream
from trygon.archive.exports.options import ExportOptions
from trygon.archive.run_folder.run import Run
from trygon.taxonomy.taxon import RANKS

FILE = "predictions.json"
LABELS = {
    "blank": "f1856211-cfb7-4a5b-9158-c0f72fd09ee6;;;;;;blank",
    "animal": "1f689929-883d-4dae-958c-3d57ab5b6c16;;;;;;animal",
    "human": "990ae9dd-7a59-4344-afcb-1b7b21368000;mammalia;primates;hominidae;homo;sapiens;human",
    "vehicle": "e2895ed5-780b-48f6-8a11-9e27cb594511;;;;;;vehicle",
    "unknown": "f2efdae9-efb8-48fb-8a91-eccf79ab4ffb;no cv result;no cv result;no cv result;no cv result;no cv result;"
    "no cv result",
}
_CATEGORIES = {"animal": ("1", "animal"), "human": ("2", "human"), "vehicle": ("3", "vehicle")}
_OTHER = ("4", "unknown")
_FIRST = ("human", "animal", "vehicle", "unknown")


def write(run: Run, out: Path, options: ExportOptions) -> list[str]:
    """Write `predictions.json`."""
    version = f"trygon {__version__}, {run.summary['model']}"
    write_stream(out / FILE, {"predictions": (_prediction(frame, options, version) for frame in frames(run))})
    return []


def label(row: dict[str, Any]) -> str:
    """UUID, class, order, family, genus, epithet and common name in lower case, as SpeciesNet has them. It knows
    nothing between the class and any animal."""
    if not row["scientific"]:
        return LABELS[row["type"]]
    names = [(row[rank] or "") for rank in RANKS]
    if not any(names[2:]):
        return LABELS["animal"]
    made = uuid5(NAMESPACE_URL, "trygon:taxon:" + ";".join([row["scientific"], *names]))
    return ";".join([str(made), *names[2:], row["common"] or row["scientific"]]).lower()


def _prediction(frame: Frame, options: ExportOptions, version: str) -> dict[str, Any]:
    found: dict[str, Any] = {"filepath": frame.media["path"]}
    if frame.failure:
        return found | {"failures": ["DETECTOR", "CLASSIFIER"], "model_version": version}
    place = options.places.get(frame.media["deployment"])
    if place:
        found |= {"latitude": place[0], "longitude": place[1]}
    detections = [_detection(row) for row in frame.sightings]
    rows = sorted(zip(frame.sightings, detections, strict=True), key=lambda pair: _FIRST.index(pair[0]["type"]))
    best = rows[0][1] if rows else _BLANK
    whole = {name: best[name] for name in _BLANK}
    return found | {"detections": detections, **whole, "model_version": version}


_BLANK = {"prediction": LABELS["blank"], "prediction_score": 1.0, "prediction_source": "detector"}


def _detection(row: dict[str, Any]) -> dict[str, Any]:
    category, name = _CATEGORIES.get(row["type"], _OTHER)
    score = probability(row) if row["scientific"] else confidence(row)
    return {
        "category": category,
        "label": name,
        "conf": round(confidence(row), 4),
        "bbox": [round(side, 4) for side in box(row)],
        "prediction": label(row),
        "prediction_score": round(score, 4),
        "prediction_source": _source(row),
    }


def _source(row: dict[str, Any]) -> str:
    rank = "kingdom" if row["rank"] == "phylum" else row["rank"]
    match row["decided_by"]:
        case "rollup":
            return f"classifier+rollup_to_{rank}"
        case "geofence":
            return f"classifier+geofence+rollup_{'to_' + rank if rank else 'failed'}"
        case "detector" | "human":
            return row["decided_by"]
        case _:
            return "classifier"
