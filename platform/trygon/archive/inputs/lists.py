"""Lists of an archive's files: what each of them calls path, time, deployment and burst. Knows nothing of the files.

Lists are read row by row, from disk or S3.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import ijson

from trygon.archive.inputs.deployments import Deployment, parse_moment, read_deployments
from trygon.archive.inputs.media import is_media, suffix_of_type
from trygon.archive.inputs.names import ARCHIVE_SUFFIXES, leads_out
from trygon.errors import UserError
from trygon.storage import address_of, exists, is_remote, join, list_folder, open_input, read_json
from trygon.taxonomy.delimited import NO_CSV, NOT_DELIMITED, numbered_rows, open_delimited, require_columns, stated

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that a list names. `names` are the paths that it may have, the likeliest first."""

    names: tuple[str, ...]
    camera: str | None = None
    timestamp: datetime | None = None
    """With an offset where the list has one."""
    sequence: str | None = None


@dataclass
class Times:
    """Reads the times of a list, and notes those that are not to be read, and those with an offset."""

    num_unread: int = 0
    example: str = ""
    offsets: Counter[str] = field(default_factory=Counter)
    """How many times have each of the offsets that there are, such as +02:00."""

    def read(self, text: str) -> datetime | None:
        """A time as `parse_moment` knows it; None where there is none, or another spelling."""
        found = parse_moment(text)
        if found is None and text.strip():
            self.num_unread += 1
            self.example = self.example or text
        if found is not None and found.tzinfo is not None:
            self.offsets[found.isoformat()[len("2024-05-31T18:30:00") :]] += 1
        return found

    def notes(self) -> list[str]:
        """What is to be said of them."""
        if not self.num_unread:
            return []
        return [
            f"{self.num_unread:,} times of the list cannot be read, such as {self.example!r}: those in the pictures "
            "count in their place. Write 2024-05-31 18:30:00"
        ]


def read_coco(place: str, times: Times) -> Iterator[Entry]:
    """The images of a COCO Camera Traps JSON; `location` is the deployment."""
    try:
        with open_input(place) as file:
            num = 0
            for row in ijson.items(file, "images.item"):
                num += 1
                if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
                    raise UserError(f"{place}: image {num} has no file_name; this is no COCO Camera Traps list")
                time = times.read(_text(row.get("datetime")) or _text(row.get("date_captured")) or "")
                yield Entry((_clean(row["file_name"]),), _text(row.get("location")), time, _text(row.get("seq_id")))
            if not num:
                raise UserError(f"{place} has no images; this is no COCO Camera Traps list")
    except ijson.JSONError as error:
        raise UserError(f"{place} is no JSON: {str(error).splitlines()[0]}") from error


def read_csv(place: str, times: Times) -> Iterator[Entry]:
    """The rows of a CSV with a column of paths, such as `path` or Timelapse's `RelativePath` and `File`.

    Columns `deployment`, `timestamp` and `sequence` are used where they are there, under their usual names too.
    """
    for line, row in _numbered_rows(place):
        path = _first(row, "path", "filepath", "file_path", "image_path", "file_name", "filename", "file")
        folder = _first(row, "relativepath")
        if not path:
            raise UserError(
                f"{place}, line {line}: a row without a path; the list needs a column path, filepath, file or filename"
            )
        names = (_clean(f"{folder}/{path}" if folder and "/" not in path else path),)
        camera = _first(row, "deployment", "deploymentid", "deployment_id", "camera", "station", "location")
        time = _first(row, "timestamp", "datetime", "date_time")
        sequence = _first(row, "sequence", "sequenceid", "sequence_id", "seq_id")
        yield Entry(names, camera, times.read(time or ""), sequence)


def read_camtrap_dp(place: str, times: Times) -> Iterator[Entry]:
    """The media of a Camtrap DP package (its folder, or its datapackage.json).

    Where `filePath` is a URL, as in packages of Agouti, a copy may lie in a folder of its deployment, or have its
    `fileName` alone.
    """
    for row in _rows(_resource(place, "media")):
        path, deployment = row.get("filepath", ""), row.get("deploymentid") or None
        names = _names_of_url(row) if "://" in path else (_clean(path),)
        yield Entry(names, deployment, times.read(row.get("timestamp", "")), row.get("sequenceid") or None)


def _names_of_url(row: Row) -> tuple[str, ...]:
    """The names that a copy may have, behind what tells the media apart: its address, called as such a file is."""
    address, deployment = _without_scheme(row["filepath"]), row.get("deploymentid", "")
    name = row.get("filename") or address.rpartition("/")[2]
    if not is_media(address):
        address = f"{address}/{name}" if is_media(name) else address + suffix_of_type(row.get("filemediatype", ""))
    return tuple(dict.fromkeys(_clean(it) for it in (address, f"{deployment}/{name}", name)))


def read_wildlife_insights(place: str, times: Times) -> Iterator[Entry]:
    """The images of a Wildlife Insights export (the folder with images*.csv, one or more).

    `location` is where Wildlife Insights keeps a picture; a copy may have kept that path, with or without the bucket,
    or lie in a folder of its deployment, or have its name alone.
    """
    for table in _tables(place, "images"):
        for row in _rows(table):
            location, deployment = row.get("location", ""), row.get("deployment_id", "")
            kept = _without_scheme(location)
            name = row.get("filename") or kept.rpartition("/")[2]
            names = [kept, kept.partition("/")[2], f"{deployment}/{name}", name, kept.rpartition("/")[2]]
            time = times.read(row.get("timestamp", ""))
            used = tuple(dict.fromkeys(_clean(it) for it in names if it and not it.startswith("/")))
            yield Entry(used or (row.get("image_id", "?"),), deployment or None, time, row.get("sequence_id") or None)


def camtrap_dp_deployments(place: str, zone: str) -> tuple[Deployment, ...]:
    """Places and times of a package's deployments."""
    return read_deployments(_resource(place, "deployments"), zone, "the package's table")


def wildlife_insights_deployments(place: str, zone: str) -> tuple[Deployment, ...]:
    """Places and times of an export's deployments."""
    return tuple(it for table in _tables(place, "deployments") for it in read_deployments(table, zone, "the export's"))


@dataclass(frozen=True)
class ListKind:
    """A kind of list: its files' entries and its deployments, none where it says nothing of them."""

    entries: Callable[[str, Times], Iterator[Entry]]
    deployments: Callable[[str, str], tuple[Deployment, ...]] = lambda place, zone: ()


LISTS = {
    "coco": ListKind(read_coco),
    "csv": ListKind(read_csv),
    "camtrap-dp": ListKind(read_camtrap_dp, camtrap_dp_deployments),
    "wildlife-insights": ListKind(read_wildlife_insights, wildlife_insights_deployments),
}


def list_kind(place: str) -> str | None:
    """Which of `LISTS` lies at a place; None for a folder or an archive of pictures."""
    name = place.split("?")[0].lower()
    if name.endswith((".json", ".csv")):
        package = name.endswith("datapackage.json")
        return "camtrap-dp" if package else "coco" if name.endswith(".json") else "csv"
    if name.endswith(ARCHIVE_SUFFIXES):
        return None
    if exists(join(place, "datapackage.json")):
        return "camtrap-dp"
    return "wildlife-insights" if _tables(place, "images") and _tables(place, "deployments") else None


def folder_of(place: str) -> str:
    """Where the files of a list are, unless they are said to be elsewhere: its own folder."""
    name = place.split("?")[0].lower()
    if not name.endswith((".json", ".csv")):
        return place
    address = address_of(place)
    return str(Path(place).parent) if address is None else str(address.at(address.key.rpartition("/")[0]))


def _tables(place: str, begin: str) -> list[str]:
    """The CSVs of a folder whose names begin so."""
    if is_remote(place):
        return [file.place for file in list_folder(place, begin=begin, suffix=".csv")]
    return sorted(str(path) for path in Path(place).glob(f"{begin}*.csv"))


def _resource(place: str, name: str) -> str:
    """The table of a data package by its name."""
    folder = folder_of(place)
    package = read_json(join(folder, "datapackage.json"))
    resources = package.get("resources", ()) if isinstance(package, dict) else ()
    path = next((it.get("path") for it in resources if isinstance(it, dict) and it.get("name") == name), None)
    path = path[0] if isinstance(path, list) and len(path) == 1 else path
    if not isinstance(path, str) or leads_out(path) or "://" in path:
        raise UserError(f"{place} names no table {name!r} beside itself; this is no Camtrap DP package")
    return join(folder, path)


def _rows(place: str) -> Iterator[dict[str, str]]:
    """The rows of a CSV (comma, semicolon or tab), plain or gzip, by column names in lower case."""
    return (row for _, row in _numbered_rows(place))


def _numbered_rows(place: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The same with the lines in which they end; rows without any value are none."""
    try:
        with open_delimited(place) as (lines, delimiter):
            rows = numbered_rows(lines, delimiter)
            columns = [name.strip().lower() for name in next(rows, (1, []))[1]]
            for line, cells in rows:
                require_columns(cells, len(columns), f"{place}, line {line}")
                values = [stated(cell) for cell in cells]
                if any(values):
                    yield line, dict(zip(columns, values, strict=False))
    except FileNotFoundError as error:
        raise UserError(f"{place} does not exist") from error
    except NOT_DELIMITED as error:
        raise UserError(f"{place} {NO_CSV}: {error}") from error


def _first(row: Row, *names: str) -> str | None:
    return next((row[name] for name in names if row.get(name)), None)


def _without_scheme(url: str) -> str:
    return re.sub(r"^[A-Za-z0-9+]+://", "", url)


def _clean(path: str) -> str:
    path = path.replace("\\", "/")
    return path.removeprefix("./")


def _text(value: Any) -> str | None:
    return None if value is None else stated(str(value)) or None
