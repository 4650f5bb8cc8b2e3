"""COCO Camera Traps: one JSON file of images, categories and annotations, as LILA publishes its data sets.

Format: https://github.com/agentmorris/MegaDetector/blob/main/megadetector/data_management/README.md
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trygon import __version__
from trygon.archive.exports.frames import Frame, Names, box, confidence, frames, key_of, write_stream
from trygon.archive.exports.options import ExportOptions
from trygon.archive.run_folder.run import Run
from trygon.taxonomy.taxon import RANKS

FILE = "coco-camera-traps.json"
_FIXED = {"empty": 0, "human": 1, "vehicle": 2, "animal": 3, "unknown": 4}
_SEQUENCES = """
SELECT media_id, event_id, num_media,
    row_number() OVER (PARTITION BY event_id ORDER BY timestamp, path) - 1 AS frame_num
FROM media JOIN (SELECT DISTINCT media_id, event_id FROM observations) USING (media_id) JOIN events USING (event_id)
ORDER BY path, media_id
"""


def write(run: Run, out: Path, options: ExportOptions) -> list[str]:
    """Write `coco-camera-traps.json`. A sequence is an event."""
    names = Names(run)
    ids = {key: number for number, key in enumerate(names.unique, len(_FIXED))}
    parts = {
        "info": {
            "version": run.summary["finished"][:10],
            "description": f"{options.title}, labelled by trygon {__version__} with {run.summary['model']}",
            "date_created": run.summary["finished"],
        },
        "categories": [{"id": number, "name": name} for name, number in _FIXED.items()]
        + [_category(ids[key_of(row)], names, row) for row in names.taxa],
        "images": _images(run),
        "annotations": _annotations(run, ids),
    }
    write_stream(out / FILE, parts)
    return []


def _category(number: int, names: Names, row: dict[str, Any]) -> dict[str, Any]:
    about = {name: row[name] for name in ("scientific", "rank", *RANKS) if row[name]}
    return {"id": number, "name": names.of(row)} | about


def _images(run: Run) -> Iterator[dict[str, Any]]:
    sequences = run.rows(_SEQUENCES)
    place = next(sequences, None)
    for frame in frames(run):
        media = frame.media
        image = {
            "id": str(media["media_id"]),
            "file_name": media["path"],
            "width": media["frame_width"],
            "height": media["frame_height"],
            "datetime": f"{media['timestamp']:%Y-%m-%d %H:%M:%S}" if media["timestamp"] else None,
            "location": media["deployment"],
            "corrupt": True if frame.failure else None,
            "failure": frame.failure,
        }
        if place and place["media_id"] == media["media_id"]:
            image |= {"seq_id": str(place["event_id"]), "seq_num_frames": place["num_media"]}
            image |= {"frame_num": place["frame_num"]}
            place = next(sequences, None)
        yield {name: value for name, value in image.items() if value is not None}


def _annotations(run: Run, ids: dict[Any, int]) -> Iterator[dict[str, Any]]:
    for frame in frames(run):
        if not frame.sightings and not frame.failure:
            image = str(frame.media["media_id"])
            yield {"id": f"{image}-empty", "image_id": image, "category_id": _FIXED["empty"]}
        for row in frame.sightings:
            yield _annotation(frame, row, ids)


def _annotation(frame: Frame, row: dict[str, Any], ids: dict[Any, int]) -> dict[str, Any]:
    about = {
        "id": str(row["observation_id"]),
        "image_id": str(row["media_id"]),
        "category_id": ids[key_of(row)] if row["scientific"] else _FIXED[row["type"]],
        "sequence_level_annotation": False,
        "score": round(confidence(row), 4),
    }
    if row["frame_number"] is not None:
        about["frame_number"] = row["frame_number"]  # of a video
    if row["probability"] is not None:
        about["probability"] = round(row["probability"], 4)
    if row["detection_id"] is None:
        return about
    width, height = frame.media["frame_width"], frame.media["frame_height"]
    x, y, w, h = box(row)
    if width and height:
        return about | {"bbox": [round(x * width, 1), round(y * height, 1), round(w * width, 1), round(h * height, 1)]}
    return about | {"bbox_relative": [round(side, 4) for side in box(row)]}
