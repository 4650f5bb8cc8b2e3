"""The labelled photos and the backgrounds: tables that ship with trygon, pictures that come from packages."""

import csv
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from trygon.data.packages import Package
from trygon.data.sample.pictures import Credit, Picture, read_pictures
from trygon.storage import write_bytes, write_text

_INTRODUCTION = """# Where these pictures come from

They were taken unchanged out of the Debian packages named below. Each keeps its author's licence.

"""
ATTRIBUTION_HEADER = """| picture | package | licence | author | source |
|---|---|---|---|---|
"""


def table(name: str) -> list[dict[str, str]]:
    """A table that ships with trygon: `labels` (photos with their lineages) or `backgrounds`."""
    text = (files("trygon.data.sample") / f"{name}.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def write_photos(folder: Path, packages: Mapping[Package, Path]) -> None:
    """`folder`: the photos with labels.csv and ATTRIBUTION.md."""
    _write_table(folder, table("labels"), packages)


def write_backgrounds(folder: Path, packages: Mapping[Package, Path]) -> None:
    """`folder`: the backgrounds with labels.csv (its `setting` is landscape, close or water) and ATTRIBUTION.md."""
    _write_table(folder, table("backgrounds"), packages)


def _write_table(folder: Path, rows: list[dict[str, str]], packages: Mapping[Package, Path]) -> None:
    pictures: dict[str, dict[str, Any]] = {}
    for picture in read_pictures((row["path"] for row in rows), packages):
        write_bytes(folder / picture.path, picture.data)
        pictures[picture.path] = _provenance(picture)
    # What the table itself says of a picture's credit wins over what was found beside it.
    full = [row | {key: row.get(key) or value for key, value in pictures[row["path"]].items()} for row in rows]
    write_table(folder / "labels.csv", full)
    write_text(folder / "ATTRIBUTION.md", _INTRODUCTION + ATTRIBUTION_HEADER + "".join(map(credit_line, full)))


def _provenance(picture: Picture) -> dict[str, str]:
    credit: Credit = picture.credit
    return {
        "license": credit.license,
        "author": credit.author,
        "source_url": credit.source_url,
        "package": f"{picture.package.name} {picture.package.version}",
    }


def credit_line(row: Mapping[str, str]) -> str:
    """A picture's line below ATTRIBUTION_HEADER."""
    cells = [row[key].replace("|", "\\|") for key in ("path", "package", "license", "author", "source_url")]
    return f"| {' | '.join(cells)} |\n"


def write_table(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Rows with the same columns as CSV."""
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
