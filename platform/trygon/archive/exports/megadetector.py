"""MegaDetector's batch output, version 1.6: one JSON file, which Timelapse and MegaDetector's own tools read.

Format: https://lila.science/megadetector-output-format
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trygon import __version__
from trygon.archive.exports.frames import Frame, Names, box, confidence, frames, key_of, probability, write_stream
from trygon.archive.exports.options import ExportOptions
from trygon.archive.run import Run
from trygon.taxonomy.taxon import RANKS

FILE = "megadetector.json"
CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle", "4": "unknown"}
"""`unknown` is what a detector's category of another kind becomes."""

_IDS = {"animal": "1", "human": "2", "vehicle": "3", "unknown": "4"}


def write(run: Run, out: Path, options: ExportOptions) -> list[str]:
    """Write `megadetector.json`."""
    names = Names(run)
    ids = {key: str(number) for number, key in enumerate(names.unique, 1)}
    parts = {
        "info": _info(run),
        "detection_categories": CATEGORIES,
        "classification_categories": {ids[key]: name for key, name in names.unique.items()},
        "classification_category_descriptions": {ids[key_of(row)]: _description(row) for row in names.taxa},
        "images": (_image(frame, ids) for frame in frames(run)),
    }
    write_stream(out / FILE, parts.items())
    return []


def _info(run: Run) -> dict[str, Any]:
    finished = run.summary["finished"][:19].replace("T", " ")
    return {
        "format_version": "1.6",
        "detector": run.summary.get("detector") or "none",
        "detection_completion_time": finished,
        "classifier": f"trygon {__version__}, {run.summary['model']}",
        "classification_completion_time": finished,
    }


def _description(row: dict[str, Any]) -> str:
    """As SpeciesNet describes a taxon: class to genus, the epithet and the common name in lower case."""
    return ";".join((row[name] or "") for name in (*RANKS[2:], "common")).lower()


def _image(frame: Frame, ids: dict[Any, str]) -> dict[str, Any]:
    time = frame.media["timestamp"]
    image: dict[str, Any] = {"file": frame.media["path"]}
    if time:
        image["datetime"] = f"{time:%Y:%m:%d %H:%M:%S}"
    if frame.failure:
        return image | {"failure": frame.failure, "detections": None}
    return image | {"detections": list(_detections(frame, ids))}


def _detections(frame: Frame, ids: dict[Any, str]) -> Iterator[dict[str, Any]]:
    for row in frame.sightings:
        found: dict[str, Any] = {
            "category": _IDS[row["type"]],
            "conf": round(confidence(row), 3),
            "bbox": [round(side, 4) for side in box(row)],
        }
        if row["scientific"]:
            found["classifications"] = [[ids[key_of(row)], round(probability(row), 3)]]
        yield found
