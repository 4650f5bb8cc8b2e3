"""Timelapse: its recognition file, which is MegaDetector's, and a CSV that it imports into a template's fields.

Timelapse finds a row's picture by `RelativePath` and `File` as it stores them, with Windows' backslashes, and refuses
a CSV with a column that the template has not; so there are few. Source: its CsvReaderWriter.cs.
"""

from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

from trygon.archive.exports import megadetector
from trygon.archive.exports.csv import write_rows
from trygon.archive.exports.frames import Frame, Names, frames
from trygon.archive.exports.options import ExportOptions
from trygon.archive.naming.counts import count_of
from trygon.archive.run_folder.run import Run

FILE = "timelapse.csv"
COLUMNS = ("RootFolder", "File", "RelativePath", "Species", "Count")


def write(run: Run, out: Path, options: ExportOptions) -> list[str]:
    """Write `megadetector.json` and `timelapse.csv`, a row a file."""
    notes = megadetector.write(run, out, options)
    names = Names(run)
    write_rows(out / FILE, COLUMNS, (_row(frame, names, options.title) for frame in frames(run)))
    return [
        *notes,
        f"{FILE} needs a template with the data labels Species (a note) and Count (a counter). A picture with several "
        "species has the most frequent one; all of them are in " + megadetector.FILE,
    ]


def _row(frame: Frame, names: Names, root: str) -> dict[str, Any]:
    path = PurePosixPath(frame.media["path"])
    folder = path.parent.as_posix()
    seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in frame.sightings:
        seen[names.of(row) or row["type"]].append(row)
    counts = ((name, count_of(rows)) for name, rows in seen.items())
    species, count = max(counts, key=lambda item: item[1], default=("empty", None))
    return {
        "RootFolder": root,
        "File": path.name,
        "RelativePath": "" if folder == "." else folder.replace("/", "\\"),
        "Species": frame.failure or species,
        "Count": None if frame.failure else count,
    }
