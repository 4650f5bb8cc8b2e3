"""Flat tables for spreadsheets: a row an observation, a row an event and taxon in it, and a row a file that could not
be read.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trygon.archive.exports.options import ExportOptions
from trygon.archive.run_folder.database import columns
from trygon.archive.run_folder.run import Run
from trygon.taxonomy.taxon import RANKS

COLUMNS = [
    *("path", "frame_number", "deployment", "timestamp", "event_id", "observation_id"),
    *("type", "common", "scientific", "rank", "probability", "decided_by", *RANKS),
    *("confidence", "x", "y", "width", "height", "event_count", "life_stage", "sex", "reviewed_by"),
    *("failure", "decoded_share"),
]
EVENT_COLUMNS = [
    *("event_id", "deployment", "start", "end", "num_media", "type", "common", "scientific", "rank", "probability"),
    *("count", *RANKS, "life_stage", "sex", "reviewed_by"),
]
_PLACE = ("latitude", "longitude")
_FAILURES = """
SELECT path, deployment, timestamp, bytes, failure, decoded_share FROM media WHERE failure IS NOT NULL ORDER BY path
"""


def write(run: Run, out: Path, options: ExportOptions) -> list[str]:
    """Write `observations.csv`, `events.csv` and `failures.csv`."""
    tables = {
        "observations": (COLUMNS, rows(run, options)),
        "events": (EVENT_COLUMNS, event_rows(run, options)),
        "failures": (["path", "deployment", "bytes", "failure", "decoded_share"], run.rows(_FAILURES)),
    }
    for name, (header, content) in tables.items():
        write_rows(out / f"{name}.csv", header, content, encoding="utf-8-sig")  # else Excel takes them for Latin-1
    return []


def rows(run: Run, options: ExportOptions) -> Iterator[dict[str, Any]]:
    """Rows with `COLUMNS`: all observations in the order of their files, then the failures."""
    names = columns(name for name in COLUMNS if name != "failure")
    for row in run.rows(f"SELECT {names} FROM sightings ORDER BY path, observation_id"):
        yield row | {"timestamp": options.iso(row["timestamp"])}
    for row in run.rows(_FAILURES):
        yield row | {"timestamp": options.iso(row["timestamp"])}


def event_rows(run: Run, options: ExportOptions) -> Iterator[dict[str, Any]]:
    """Rows with `EVENT_COLUMNS`: what each event held, in the order of cameras and times."""
    names = columns(EVENT_COLUMNS)
    for row in run.rows(f"SELECT {names} FROM event_taxa ORDER BY deployment, start, event_id, number"):
        yield row | {"start": options.iso(row["start"]), "end": options.iso(row["end"])}


def write_rows(path: Path, columns: Sequence[str], content: Iterable[dict[str, Any]], encoding: str = "utf-8") -> None:
    """Write rows as CSV as they come; nothing where a value is missing, six digits for fractions, all of a place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _plain(name, value) for name, value in row.items()} for row in content)


def _plain(name: str, value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) and name not in _PLACE else value
