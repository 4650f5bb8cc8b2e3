"""The page that shows a run: one HTML file with pictures, boxes and names, and no other file beside it."""

import base64
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2

from trygon import __version__
from trygon.archive.listing import Archive
from trygon.archive.pictures import PERSON, People, output_picture
from trygon.archive.run import Run
from trygon.data.images import encode_jpeg
from trygon.storage import join, write_text

MAX_FRAMES = 48
MAX_BLANKS = 6
_WIDTH_PX = 520
_MAX_ROWS = 200
_HOURS = """
SELECT hour(start) AS hour, count(*) AS num FROM events
WHERE start IS NOT NULL AND event_id IN (SELECT event_id FROM observations WHERE type = 'animal')
GROUP BY hour
"""


def write_report(run: Run, archive: Archive, folder: str | Path) -> None:
    """Write `index.html`. Reads again the few frames that it shows."""
    by_media = defaultdict(list)
    for row in run.rows("FROM sightings ORDER BY path, observation_id"):
        by_media[row["media_id"]].append(row)
    animals = [row for rows in by_media.values() for row in rows if row["type"] != "blank"]
    taxa = _taxa(run, animals)
    page = _template().render(
        version=__version__,
        summary=run.summary,
        config=run.config,
        taxa=taxa[:_MAX_ROWS],
        num_taxa=len(taxa),
        ranks=_rank_bars(run.summary),
        hours=_hours(run),
        deployments=_deployments(run, by_media),
        frames=[_frame(run, archive, media_id, by_media[media_id]) for media_id in choose_frames(animals)],
        blanks=[_frame(run, archive, media_id, []) for media_id in _some_blanks(by_media)],
        failures=list(run.rows(f"FROM failures ORDER BY path LIMIT {_MAX_ROWS}")),
    )
    write_text(join(folder, "index.html"), page)


def choose_frames(animals: Sequence[dict[str, Any]], limit: int = MAX_FRAMES) -> list[int]:
    """Media ids to show: of every taxon in turn its surest frame that is not shown yet, first one of every event."""
    queues: dict[str, list[dict[str, Any]]] = defaultdict(list)
    events: set[tuple[str, int]] = set()
    for row in sorted(animals, key=lambda row: (-(row["probability"] or 0.0), row["observation_id"])):
        name = row["scientific"] or ""
        queues[name].append(row | {"again": (name, row["event_id"]) in events})
        events.add((name, row["event_id"]))
    for queue in queues.values():
        queue.sort(key=lambda row: row["again"])
    shown: dict[int, None] = {}
    ordered = [queues[name] for name in sorted(queues, key=lambda name: -len(queues[name]))]
    for turn in range(max(map(len, ordered), default=0)):
        for queue in ordered:
            if turn < len(queue) and len(shown) < limit:
                shown.setdefault(queue[turn]["media_id"])
    return list(shown)


def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda value: f"{100 * value:.0f} %"
    environment.filters["count"] = lambda value: f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return environment.get_template("report.html.jinja")


def _taxa(run: Run, animals: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a name: detections, events, largest group, mean probability; the most frequent first."""
    groups = defaultdict(list)
    for row in animals:
        groups[row["scientific"] or row["type"]].append(row)
    largest: Counter[str] = Counter()
    for event in run.rows("FROM event_taxa"):
        name = event["scientific"] or event["type"]
        largest[name] = max(largest[name], event["count"] or 0)
    rows = [
        {
            "scientific": group[0]["scientific"],
            "common": group[0]["common"],
            "type": group[0]["type"],
            "rank": group[0]["rank"],
            "lineage": " › ".join(group[0][name] for name in ("class", "order", "family") if group[0][name]),
            "num_detections": len(group),
            "num_events": len({row["event_id"] for row in group}),
            "largest": max(largest[name], 1),
            "probability": sum(row["probability"] or 0.0 for row in group) / len(group),
        }
        for name, group in groups.items()
    ]
    most = max((row["num_detections"] for row in rows), default=1)
    rows = [row | {"share": row["num_detections"] / most} for row in rows]
    return sorted(rows, key=lambda row: (-row["num_detections"], row["scientific"] or ""))


def _rank_bars(summary: dict[str, Any]) -> list[dict[str, Any]]:
    order = ("species", "genus", "family", "order", "class", "phylum", "kingdom", "none")
    counts = summary["num_animals_by_rank"]
    total = max(1, sum(counts.values()))
    return [{"rank": rank, "num": counts[rank], "share": counts[rank] / total} for rank in order if rank in counts]


def _hours(run: Run) -> list[dict[str, Any]]:
    """Events with animals by the hour they began; a bar's height is its share of the fullest hour."""
    counts = {row["hour"]: row["num"] for row in run.rows(_HOURS)}
    most = max(counts.values(), default=1)
    return [{"hour": hour, "num": counts.get(hour, 0), "share": counts.get(hour, 0) / most} for hour in range(24)]


def _deployments(run: Run, by_media: dict[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    groups = defaultdict(list)
    for row in run.rows("FROM media ORDER BY path"):
        groups[row["deployment"]].append(row)
    return [_deployment(name, rows, by_media) for name, rows in sorted(groups.items())][:_MAX_ROWS]


def _deployment(name: str, rows: list[dict[str, Any]], by_media: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    seen = [row for media in rows for row in by_media.get(media["media_id"], [])]
    times = [row["timestamp"] for row in rows if row["timestamp"]]
    names = Counter(row["common"] or row["scientific"] for row in seen if row["scientific"])
    cameras = {" ".join(part for part in (row["make"], row["model"]) if part) for row in rows} - {""}
    return {
        "name": name,
        "num_images": len(rows),
        "num_animals": len({row["media_id"] for row in seen if row["type"] == "animal"}),
        "num_blank": sum(row["type"] == "blank" for row in seen),
        "num_failed": sum(bool(row["failure"]) for row in rows),
        "num_events": len({row["event_id"] for row in seen}),
        "start": min(times, default=None),
        "end": max(times, default=None),
        "top": [name for name, _ in names.most_common(3)],
        "camera": ", ".join(sorted(cameras)),
    }


def _some_blanks(by_media: dict[int, list[dict[str, Any]]]) -> list[int]:
    blanks = sorted(media_id for media_id, rows in by_media.items() if rows[0]["type"] == "blank")
    return random.Random(0).sample(blanks, min(MAX_BLANKS, len(blanks)))


def _frame(run: Run, archive: Archive, media_id: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    media = run.row(f"FROM media WHERE media_id = {media_id}")
    found = [row | {"box": row} for row in rows if row["detection_id"]]
    found.sort(key=lambda row: -row["box"]["confidence"])
    number: int | None = found[0]["frame_number"] if found else None
    found = [row for row in found if row["frame_number"] == number]  # of a video, the frame with the surest box
    boxes = list(run.rows(f"FROM detections WHERE media_id = {media_id}"))
    boxes += [row | {"category": PERSON} for row in found if row["type"] == "human"]  # as somebody may have said
    picture, height = _picture(run, archive, media, boxes, number)
    return {"media": media, "picture": picture, "height": height, "width": _WIDTH_PX, "animals": found}


def _picture(
    run: Run, archive: Archive, media: dict[str, Any], boxes: list[dict[str, Any]], number: int | None
) -> tuple[str, int]:
    """A frame as a small data URI and its height; blank where the archive is no longer there, or a person is."""
    image = output_picture(archive, media, boxes, People(run.config["people"]), _WIDTH_PX, number)
    if image is None:
        return "", _WIDTH_PX * 3 // 4
    height = max(1, round(_WIDTH_PX * image.height / image.width))
    jpeg = encode_jpeg(image.resize((_WIDTH_PX, height)), quality=78)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode(), height
