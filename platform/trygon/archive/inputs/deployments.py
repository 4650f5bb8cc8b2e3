"""Which deployment a file belongs to, and where and when deployments stood: from a table, a pattern, or the folders.

Reads tables of people (`--deployments`), of Camtrap DP and of Wildlife Insights: their columns have other names.
"""

import fnmatch
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from trygon.archive.inputs.media import MediaFile
from trygon.archive.inputs.zones import local
from trygon.archive.run_folder.tables import read_table
from trygon.errors import UserError
from trygon.schemas import DEPLOYMENT
from trygon.storage import join
from trygon.taxonomy.delimited import NO_CSV, NOT_DELIMITED, numbered_rows, open_delimited, require_columns, stated

_SAME_PLACE_DEGREES = 0.001
"""Some 100 m: coordinates that were measured again are not quite the same."""

_NAMES = ("deployment", "deploymentid", "deployment_id")
_STARTS = ("start", "deploymentstart", "start_date")
_ENDS = ("end", "deploymentend", "end_date")

Span = tuple[datetime | None, datetime | None]
"""From when to when a camera stood, by its own clock."""


@dataclass(frozen=True)
class Deployment:
    """A camera at a place for a time. `path` is a folder of the archive or a pattern with `*`; its files belong here.

    Degrees; start and end as the camera's clock should show them. None is unknown.
    """

    name: str
    latitude: float | None = None
    longitude: float | None = None
    start: datetime | None = None
    end: datetime | None = None
    path: str | None = None


@dataclass(frozen=True)
class Deployments:
    """How files get their deployments. A table's path goes before the pattern, that before a list and the folders."""

    known: tuple[Deployment, ...] = ()
    pattern: str = ""

    def __post_init__(self) -> None:
        owners: dict[str, str] = {}
        for it in self.known:
            if it.path and (first := owners.setdefault(it.path.strip("/"), it.name)) != it.name:
                raise UserError(
                    f"--deployments: the path {it.path!r} is that of {first!r} and of {it.name!r}, and a file belongs "
                    "to one of them: give each its own folder or pattern"
                )
        if self.pattern:
            try:
                groups = re.compile(self.pattern).groupindex
            except re.error as error:
                raise UserError(f"--deployment-pattern {self.pattern!r} is no regular expression: {error}") from error
            if "deployment" not in groups:
                raise UserError(
                    f"--deployment-pattern {self.pattern!r} has no group of that name: write (?P<deployment>…) around "
                    "what names it"
                )

    def name_of(self, file: MediaFile) -> str:
        """The deployment of a file."""
        named = self._of_table(file.path)
        if named is None and self.pattern:
            found = re.search(self.pattern, file.path)
            named = found["deployment"] if found else None
        name = named or file.deployment
        self._named.add(name)
        return name

    @cached_property
    def _prefixes(self) -> dict[str, Deployment]:
        return {it.path.strip("/"): it for it in self.known if it.path and not _is_pattern(it.path)}

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], Deployment]]:
        return [(re.compile(fnmatch.translate(it.path)), it) for it in self.known if it.path and _is_pattern(it.path)]

    @cached_property
    def _met(self) -> set[str | None]:
        """Paths of the table where some file lies."""
        return set()

    @cached_property
    def _named(self) -> set[str]:
        """Deployments that have some file."""
        return set()

    def _of_table(self, path: str) -> str | None:
        found = self._found(path)
        if found is None:
            return None
        self._met.add(found.path)
        return found.name

    def _found(self, path: str) -> Deployment | None:
        for pattern, deployment in self._patterns:
            if pattern.match(path):
                return deployment
        folder = path
        while folder and self._prefixes:
            if folder in self._prefixes:
                return self._prefixes[folder]
            folder = folder.rpartition("/")[0]
        return None

    def moved(self, media: pa.Table) -> pa.Table:
        """MEDIA rows, each in the deployment that the table has for its path, or in the one that it has."""
        rows = zip(media["path"].to_pylist(), media["deployment"].to_pylist(), strict=True)
        names = [self._of_table(path) or name for path, name in rows]
        self._named.update(names)
        at = media.schema.get_field_index("deployment")
        return media.set_column(at, media.schema.field(at), pa.array(names, pa.string()))

    def notes(self) -> list[str]:
        """What is to be said of the table when all files have their deployments."""
        notes = []
        idle = [it for it in self.known if it.path and it.path not in self._met]
        if idle:
            notes.append(
                f"no file of the archive lies where {len(idle)} of the paths in --deployments lead, such as "
                f"{idle[0].path!r}: they are folders as the archive has them, or patterns with *"
            )
        located = {it.name for it in self.known if it.path}
        empty = [name for name in dict.fromkeys(it.name for it in self.known) if name not in located | self._named]
        if empty:
            notes.append(
                f"{len(empty)} deployments of a table have no file in the archive, such as {empty[0]!r}; "
                "if there are some, see how media.parquet calls them"
            )
        return notes

    def table(self) -> pa.Table:
        """DEPLOYMENT rows of those that are known, the last of several that say something of one."""
        rows = {}
        for it in self.known:
            old = rows.get(it.name, {})
            told = {name: value for name in DEPLOYMENT.names[1:] if (value := getattr(it, name)) is not None}
            rows[it.name] = {"deployment": it.name} | old | told
        return pa.Table.from_pylist([rows[name] for name in sorted(rows)], DEPLOYMENT)


def places_of(table: pa.Table) -> dict[str, tuple[float, float]]:
    """Latitude and longitude of the deployments of a DEPLOYMENT table that have them."""
    rows = [row for row in table.to_pylist() if row["latitude"] is not None and row["longitude"] is not None]
    return {row["deployment"]: (row["latitude"], row["longitude"]) for row in rows}


def spans_of(table: pa.Table) -> dict[str, Span]:
    """Start and end of the deployments of a DEPLOYMENT table, each None where it is not known."""
    return {row["deployment"]: (row["start"], row["end"]) for row in table.to_pylist()}


def read_deployments(
    place: str | Path | None, zone: str = "+00:00", what: str = "--deployments"
) -> tuple[Deployment, ...]:
    """A CSV (comma, semicolon or tab; plain or gzip) with a column `deployment`, and any of latitude, longitude, path,
    start and end; none where no place is given.

    `UserError` names the line that is wrong. Times with an offset are moved into the zone.
    """
    if place is None:
        return ()
    try:
        with open_delimited(place) as (lines, delimiter):
            table = numbered_rows(lines, delimiter)
            columns = [name.strip().lower() for name in next(table, (1, []))[1]]
            if not set(columns) & set(_NAMES):
                raise UserError(f"{what} {place} has no column 'deployment'")
            rows: list[tuple[str, Deployment]] = []
            for line, cells in table:
                where = f"{what} {place}, line {line}"
                require_columns(cells, len(columns), where)
                row = {name: value for name, cell in zip(columns, cells, strict=False) if (value := stated(cell))}
                if row:
                    rows.append((where, _deployment(row, zone, where)))
            return _served(rows)
    except NOT_DELIMITED as error:
        raise UserError(f"{what} {place} {NO_CSV}: {error}") from error
    except OSError as error:
        raise UserError(f"{what} {place} cannot be read: {error.strerror or error}") from error


def _served(rows: Sequence[tuple[str, Deployment]]) -> tuple[Deployment, ...]:
    """The deployments of rows, of which several may tell of one: it stood from the first start to the last end, and
    still stands where nothing ends the last start. `UserError` where two rows give one deployment two places."""
    places: dict[str, tuple[float, float]] = {}
    starts, ends = defaultdict[str, list[datetime]](list), defaultdict[str, list[datetime]](list)
    for where, it in rows:
        if it.latitude is not None and it.longitude is not None:
            place = it.latitude, it.longitude
            known = places.setdefault(it.name, place)
            if max(abs(one - other) for one, other in zip(place, known, strict=True)) > _SAME_PLACE_DEGREES:
                raise UserError(
                    f"{where}: {it.name!r} stands at {place[0]}, {place[1]}, but above at {known[0]}, {known[1]}: "
                    "give each place a name of its own"
                )
        starts[it.name] += [it.start] if it.start else []
        ends[it.name] += [it.end] if it.end else []

    def span(name: str) -> tuple[datetime | None, datetime | None]:
        first, last = min(starts[name], default=None), max(ends[name], default=None)
        began_before = not ends[name] or not first or first <= min(ends[name])
        has_ended = not starts[name] or not last or last >= max(starts[name])
        return first if began_before else None, last if has_ended else None

    spans = {name: span(name) for name in starts}
    return tuple(replace(it, start=spans[it.name][0], end=spans[it.name][1]) for _, it in rows)


def _deployment(row: Mapping[str, str], zone: str, where: str) -> Deployment:
    def text(*names: str) -> str:
        return next((row[name] for name in names if name in row), "")

    name = text(*_NAMES)
    if not name:
        raise UserError(f"{where}: the deployment has no name")
    latitude, longitude = _coordinates(text("latitude"), text("longitude"), where)
    start, end = _moment(text(*_STARTS), zone, where, time.min), _moment(text(*_ENDS), zone, where, time.max)
    if start and end and end < start:
        raise UserError(f"{where}: it ends before it starts")
    return Deployment(name, latitude, longitude, start, end, text("path").replace("\\", "/") or None)


def _coordinates(latitude: str, longitude: str, where: str) -> tuple[float | None, float | None]:
    if not latitude and not longitude:
        return None, None
    try:
        north, east = (float(text.replace(",", ".")) for text in (latitude, longitude))
    except ValueError as error:
        raise UserError(f"{where}: latitude and longitude must be decimal degrees") from error
    if not (-90 <= north <= 90 and -180 <= east <= 180):
        raise UserError(f"{where}: {north}, {east} is no place on Earth")
    return north, east


def _moment(text: str, zone: str, where: str, of_day: time) -> datetime | None:
    """A date or a time. A date alone means the whole day, and so does midnight: spreadsheets and Wildlife Insights
    write dates so."""
    found = parse_moment(text)
    if found is None:
        if text:
            raise UserError(f"{where}: {text!r} is no date: write 2024-05-31 or 2024-05-31 18:30:00")
        return None
    if found.tzinfo is None and found.time() == time.min:
        return datetime.combine(found.date(), of_day).replace(microsecond=0)
    return local(found, zone)


def parse_moment(text: str) -> datetime | None:
    """ISO 8601 in its usual spellings, or EXIF's; None where it is no time."""
    text = text.strip()
    try:
        return datetime.fromisoformat(text).replace(microsecond=0)
    except ValueError:
        pass
    try:
        return datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None


def _is_pattern(path: str) -> bool:
    return any(letter in path for letter in "*?[")


def deployments_of(run: str | Path, given: tuple[Deployment, ...]) -> pa.Table:
    """DEPLOYMENT rows that a run folder has, and before them what is given now."""
    known = [Deployment(*row.values()) for row in read_table(join(run, "deployments.parquet")).to_pylist()]
    return Deployments((*known, *given)).table()
