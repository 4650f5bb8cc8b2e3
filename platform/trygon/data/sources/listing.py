"""Which pictures and archives lie below a place, cut into units. Knows names only; opens nothing."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from trygon.data.sources.source import UNIT_FILES, Unit, is_picture
from trygon.errors import UserError
from trygon.s3 import Address
from trygon.storage import below, exists, is_remote, join, list_files, list_folder

ARCHIVE_SUFFIXES = (".tar.gz", ".tar", ".tgz", ".zip")
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".json", ".jsonld", ".json.tar.gz")


def base_name(uri: str) -> str:
    """The last part of a path or an address."""
    path = Address.parse(uri).key if is_remote(uri) else uri
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def parent(uri: str) -> str:
    """The folder in which a file or folder lies."""
    if not is_remote(uri):
        return str(Path(uri).absolute().parent)
    address = Address.parse(uri)
    return str(address.at(address.key.rstrip("/").rpartition("/")[0]))


def is_archive(path: str) -> bool:
    """Whether a name is one of an archive of pictures; iNaturalist packs its JSON files into archives too."""
    return path.lower().endswith(ARCHIVE_SUFFIXES) and ".json." not in path.lower()


def files_below(root: str) -> list[str]:
    """All files below a folder, relative to it with forward slashes, sorted."""
    return sorted(below(root, file) for file in list_files(root))


def first_of(root: str, *names: str) -> str | None:
    """The first of some files that is there, as a whole place."""
    return next((join(root, name) for name in names if exists(join(root, name))), None)


def need(root: str, what: str, *names: str) -> str:
    """The first of some files that is there; `UserError` that says what to put where."""
    found = first_of(root, *names)
    if found is None:
        raise UserError(f"{root} has no {names[0]}: put {what} there")
    return found


def units_of(root: str, hint: str, wanted: Callable[[str], bool] = bool) -> list[Unit]:
    """The wanted pictures below a folder in groups, and the wanted archives one by one, sorted by their names.

    An archive beside the folder that was unpacked from it (`part1.zip` and `part1/`) is not read again. Raises
    `UserError` with the hint where there is neither picture nor archive.
    """
    paths = [path for path in files_below(root) if wanted(path)]
    pictures = [path for path in paths if is_picture(path)]
    archives = [path for path in paths if is_archive(path) and not _is_unpacked(path, pictures)]
    if not pictures and not archives:
        raise UserError(f"{root} holds no pictures: {hint}")
    return [*group(root, pictures), *(Unit(join(root, path)) for path in archives)]


def _is_unpacked(archive: str, pictures: Sequence[str]) -> bool:
    suffix = next(suffix for suffix in ARCHIVE_SUFFIXES if archive.lower().endswith(suffix))
    folder = f"{archive[: -len(suffix)]}/"
    place = bisect_left(pictures, folder)
    return place < len(pictures) and pictures[place].startswith(folder)


def archive_states(units: Iterable[Unit]) -> dict[str, str]:
    """The sizes of archives, on S3 with their ETags, by their places: listed folder by folder, for there may be
    tens of thousands."""
    folders = {parent(unit.uri) for unit in units if not unit.members}
    return {file.place: f"{file.bytes} {file.etag}" for folder in folders for file in list_folder(folder)}


def tables_of(source: str, units: Sequence[Unit]) -> list[str]:
    """The files that may say what the pictures of a source are, as whole places: tables below it and beside its units,
    and the source itself where it is one."""
    beside = {unit.uri if unit.members else parent(unit.uri) for unit in units}
    places = {file.place for folder in beside if not folder.startswith(source) for file in list_folder(folder)}
    if is_remote(source) or Path(source).is_dir():
        places |= {join(source, path) for path in files_below(source)}
    return sorted(place for place in places if place == source or base_name(place).lower().endswith(_TABLE_SUFFIXES))


def group(root: str, paths: Iterable[str]) -> list[Unit]:
    """Files of a folder as units, in their order."""
    listed = tuple(paths)
    return [Unit(root, listed[start : start + UNIT_FILES]) for start in range(0, len(listed), UNIT_FILES)]
