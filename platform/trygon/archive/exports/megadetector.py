"""MegaDetector's batch output, version 1.6: one JSON file, which Timelapse and MegaDetector's own tools read.

Format: https://lila.science/megadetector-output-format
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trygon import __version__
from trygon.archive.detection.detector import MEGADETECTOR_CATEGORIES
from trygon.archive.exports.frames import Frame, Names, box, confidence, frames, key_of, probability, write_stream
from trygon.archive.exports.options import ExportOptions
from trygon.archive.exports.speciesnet import LABELS, label
from trygon.archive.run_folder.run import Run

FILE = "megadetector.json"
_CATEGORIES = MEGADETECTOR_CATEGORIES | {"4": "unknown"}
"""What a detector has beside these becomes unknown."""

_USUAL_RATE = 25.0
"""Pictures a second where a video does not say: a number is asked for, and this is what players take."""

_LEAST = "SELECT min(confidence) AS least FROM sightings"
_IDS = {"animal": "1", "human": "2", "vehicle": "3", "unknown": "4"}


def write(run: Run, out: Path, options: ExportOptions) -> list[str]:
    """Write `megadetector.json`."""
    names = Names(run)
    ids = {key: str(number) for number, key in enumerate(names.unique, 1)}
    parts = {
        "info": _info(run),
        "detection_categories": _CATEGORIES,
        "classification_categories": {ids[key]: name for key, name in names.unique.items()},
        "classification_category_descriptions": {ids[key_of(row)]: _description(row) for row in names.taxa},
        "images": (_image(frame, ids) for frame in frames(run)),
    }
    write_stream(out / FILE, parts)
    return []


def _info(run: Run) -> dict[str, Any]:
    finished = run.summary["finished"][:19].replace("T", " ")
    # Readers hide boxes below what is typical, 0.2 where nothing is said: every box in this file counts.
    least = run.row(_LEAST)["least"]
    shown = 0.2 if least is None else math.floor(1000 * least) / 1000
    return {
        "format_version": "1.6",
        "detector": run.summary.get("detector") or "none",
        "detection_completion_time": finished,
        "detector_metadata": {"typical_detection_threshold": shown, "conservative_detection_threshold": shown},
        "classifier": f"trygon {__version__}, {run.summary['model']}",
        "classification_completion_time": finished,
    }


def _description(row: dict[str, Any]) -> str:
    """As SpeciesNet labels a taxon: MegaDetector's tools take no other form, and know no taxon without a class."""
    return label(row) if row["class"] else LABELS["animal"]


def _image(frame: Frame, ids: dict[Any, str]) -> dict[str, Any]:
    time = frame.media["timestamp"]
    image: dict[str, Any] = {"file": frame.media["path"]}
    if time:
        image["datetime"] = f"{time:%Y:%m:%d %H:%M:%S}"
    if frame.media["kind"] == "video":
        image |= _video(frame)
    if frame.failure:
        return image | {"failure": frame.failure, "detections": None}
    return image | {"detections": list(_detections(frame, ids))}


def _video(frame: Frame) -> dict[str, Any]:
    """The rate, and the frames that were looked at: none, and a rate that is none, of a video that failed."""
    rate = frame.media["frame_rate"] or (-1.0 if frame.failure else _USUAL_RATE)
    return {"frame_rate": round(rate, 3), "frames_processed": [] if frame.failure else frame.media["frames"] or []}


def _detections(frame: Frame, ids: dict[Any, str]) -> Iterator[dict[str, Any]]:
    for row in frame.sightings:
        found: dict[str, Any] = {
            "category": _IDS[row["type"]],
            "conf": round(confidence(row), 3),
            "bbox": [round(side, 4) for side in box(row)],
        }
        if frame.media["kind"] == "video":
            # What a person saw without a box is in the whole video.
            found["frame_number"] = row["frame_number"] if row["frame_number"] is not None else _first(frame)
        if row["scientific"]:
            found["classifications"] = [[ids[key_of(row)], round(probability(row), 3)]]
        yield found


def _first(frame: Frame) -> int:
    return next(iter(frame.media["frames"] or ()), 0)
