"""One flat table for spreadsheets: a row an observation, and a row a file that could not be read."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trygon.archive.exports.options import ExportOptions
from trygon.archive.run import Run
from trygon.storage import join, write_text
from trygon.taxonomy.taxon import RANKS

COLUMNS = [
    *("path", "deployment", "timestamp", "event_id", "type", "common", "scientific", "rank", "probability"),
    *RANKS,
    *("confidence", "x", "y", "width", "height", "event_count", "life_stage", "sex", "reviewed_by", "failure"),
]


def write(run: Run, out: str | Path, options: ExportOptions) -> list[str]:
    """Write `observations.csv` and `failures.csv`."""
    write_text(join(out, "observations.csv"), csv_text(COLUMNS, rows(run, options)))
    failures = [row for row in run.media_by_id.values() if row["failure"]]
    columns = ["path", "deployment", "bytes", "failure"]
    write_text(join(out, "failures.csv"), csv_text(columns, failures))
    return []


def rows(run: Run, options: ExportOptions) -> Iterator[dict[str, Any]]:
    """Rows with `COLUMNS`: all observations in the order of their files, then the failures."""
    for row in run.observation_rows():
        media = run.media_by_id[row["media_id"]]
        box = run.boxes.get(row["detection_id"], {})
        time = media["timestamp"]
        yield {
            **{name: row[name] for name in ("event_id", "type", "common", "scientific", "rank", *RANKS)},
            **{name: row[name] for name in ("event_count", "life_stage", "sex", "reviewed_by")},
            **{name: media[name] for name in ("path", "deployment", "failure")},
            **{name: box.get(name) for name in ("confidence", "x", "y", "width", "height")},
            "probability": row["probability"],
            "timestamp": options.iso(time) if time else None,
        }
    for media in run.media_by_id.values():
        if media["failure"]:
            time = options.iso(media["timestamp"]) if media["timestamp"] else None
            yield {name: media[name] for name in ("path", "deployment", "failure")} | {"timestamp": time}


def csv_text(columns: list[str], content: Any) -> str:
    """Rows as CSV; nothing where a value is missing, six digits for fractions."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in content)
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
