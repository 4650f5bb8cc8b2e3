"""Run folders written straight from what is to be in them: no model, no detector, no picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trygon.archive.naming.counts import count_rows
from trygon.archive.naming.events import find_events
from trygon.archive.run_folder.run import Run
from trygon.schemas import BOX, EVENT, FAILURE, MEDIA, OBSERVATION
from trygon.storage import stable_id, write_json
from trygon.taxonomy.taxon import RANKS, Taxon


@dataclass(frozen=True)
class Seen:
    """A detection and what it was called. `box` is left, top, width, height in 0..1; `category` the detector's, where
    it is not that of the type; `frame_number` that of a video."""

    type: str = "animal"
    taxon: Taxon | None = None
    probability: float | None = 0.9
    confidence: float = 0.8
    box: tuple[float, float, float, float] = (0.25, 0.25, 0.5, 0.5)
    decided_by: str = "classifier"
    set_aside: str | None = None
    category: str | None = None
    frame_number: int | None = None


@dataclass(frozen=True)
class Shot:
    """A file of an archive, with what was seen in it; nothing is a blank frame, unless it could not be read."""

    path: str
    time: datetime | None = None
    seen: Sequence[Seen] = ()
    failure: str | None = None
    about: dict[str, Any] = field(default_factory=dict)
    """More columns of MEDIA."""


_CATEGORIES = {"animal": "animal", "human": "person", "vehicle": "vehicle", "unknown": "kite"}


def write_run(folder: Path, shots: Sequence[Shot], gap_s: float = 60, **summary: Any) -> Run:
    """The tables of a run, its config and its summary, which holds what is given beside a few counts."""
    media = [_media(shot) for shot in shots]
    table = pa.Table.from_pylist(media, MEDIA).sort_by("path")
    events = find_events(table, gap_s)
    event_of = dict(zip(events.media_F.tolist(), events.event_ids[events.event_F].tolist(), strict=True))
    boxes: list[dict[str, Any]] = []
    observations: list[dict[str, Any]] = []
    for shot, row in zip(shots, media, strict=True):
        if not shot.failure:
            _observe(shot, row["media_id"], event_of[row["media_id"]], boxes, observations)
    observed = pa.Table.from_pylist(observations, OBSERVATION)
    held = EVENT.field("taxa")
    taxa = pa.array([_held(observations, event_id) for event_id in events.event_ids.tolist()], held.type)
    failures = [row | {"reason": row["failure"]} for row in media if row["failure"]]
    tables = {
        "media": table,
        "detections": pa.Table.from_pylist(boxes, BOX),
        "observations": observed,
        "events": events.table.append_column(held, taxa),
        "failures": pa.Table.from_pylist(failures, FAILURE),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tables.items():
        pq.write_table(content, folder / f"{name}.parquet")
    known = {"finished": "2026-05-31T12:00:00+00:00", "model": "some-model", "num_files": len(shots)}
    write_json(folder / "config.json", {"archive": "archive", "time_zone": "+00:00", "deployments": None})
    write_json(folder / "summary.json", known | summary)
    return Run.open(folder)


def _held(observations: list[dict[str, Any]], event_id: int) -> list[dict[str, Any]]:
    blank = dict.fromkeys([*OBSERVATION.names, "event_count", "reviewed_by"])
    rows = [row for row in observations if row["event_id"] == event_id and not row.get("set_aside")]
    return count_rows([blank | row for row in rows])


def _media(shot: Shot) -> dict[str, Any]:
    about = {
        "media_id": stable_id("media", shot.path),
        "path": shot.path,
        "deployment": PurePosixPath(shot.path).parent.as_posix(),
        "bytes": 0 if shot.failure == "empty" else 1000,
        "timestamp": shot.time,
        "failure": shot.failure,
    }
    return about | ({} if shot.failure else {"width": 400, "height": 300}) | shot.about


def _observe(
    shot: Shot, media_id: int, event_id: int, boxes: list[dict[str, Any]], observations: list[dict[str, Any]]
) -> None:
    of_frame = {"media_id": media_id, "event_id": event_id}
    for number, seen in enumerate(shot.seen):
        detection_id = stable_id("detection", str(media_id), str(number))
        place = dict(zip(("x", "y", "width", "height"), seen.box, strict=True))
        about = {"detection_id": detection_id, "media_id": media_id, "frame_number": seen.frame_number}
        about["category"] = seen.category or _CATEGORIES[seen.type]
        boxes.append(about | place | {"confidence": seen.confidence})
        row = of_frame | {"observation_id": stable_id("observation", str(detection_id)), "detection_id": detection_id}
        row |= {"type": seen.type, "decided_by": seen.decided_by, "set_aside": seen.set_aside}
        row["frame_number"] = seen.frame_number
        observations.append(row | (_named(seen.taxon, seen.probability) if seen.taxon else {}))
    if not any(seen.set_aside is None for seen in shot.seen):
        row = of_frame | {"observation_id": stable_id("observation", "blank", str(media_id)), "type": "blank"}
        observations.append(row | {"decided_by": "detector"})


def _named(taxon: Taxon, probability: float | None) -> dict[str, Any]:
    names = {rank: name or None for rank, name in zip(RANKS, taxon.lineage, strict=True)}
    about = {"rank": str(taxon.rank), "scientific": taxon.scientific, "common": taxon.common or None}
    return names | about | {"probability": probability}
