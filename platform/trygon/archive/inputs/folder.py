"""A folder tree of an archive, on disk or under an `s3://` prefix: all its files in the order of their paths.

A folder's names are held at a time, of a prefix a page of keys: memory does not grow with the archive. Reads names,
sizes and times, never a picture.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from trygon import s3
from trygon.archive.inputs.media import MediaFile
from trygon.errors import UserError
from trygon.storage import address_of, is_remote, stable_id

_JUNK = {"$recycle.bin", "system volume information", "__macosx"}


def walk(uri: str, skip: str | Path | None) -> Iterator[MediaFile]:
    """All files, without hidden ones, junk and `skip`, a folder of ours within.

    Links to folders elsewhere are followed, each folder once: a frame has one path. One to a folder that the archive
    lies in is not. Raises `UserError` for a missing or unreadable folder: frames are never left out in silence.
    Earlier runs within are passed over on disk; on S3 they are known when all is listed, by `RunFolders`.
    """
    return _walk_remote(uri, skip) if is_remote(uri) else _walk_local(Path(uri).absolute(), skip)


def _walk_local(root: Path, skip: str | Path | None) -> Iterator[MediaFile]:
    if not root.is_dir():
        raise UserError(f"the archive {root} is not a folder; give the folder that holds the cameras' files")
    skipped = os.path.realpath(skip) if skip and not is_remote(skip) else None
    yield from _walk_folder(str(root), "", skipped, [os.path.realpath(root)])


def _walk_folder(folder: str, prefix: str, skipped: str | None, walked: list[str]) -> Iterator[MediaFile]:
    """`walked` are the real paths of the archive and of what links lead to."""
    real = os.path.realpath(folder)
    if real == skipped:
        return
    for name, is_folder, entry in _entries(folder):
        if is_junk(name):
            continue
        if not is_folder:
            size, mark = _size_and_time(entry)
            yield MediaFile(prefix + _as_text(name), size, mark)
        elif not is_run_folder(Path(entry.path)) and _is_due(entry, real, walked):
            yield from _walk_folder(entry.path, f"{prefix}{_as_text(name)}/", skipped, walked)


def _is_due(entry: "os.DirEntry[str]", parent: str, walked: list[str]) -> bool:
    """Whether a folder is to be walked. One within what is walked has its own path there; a link that leads round the
    archive itself would bring all that lies beside it. What a followed link leads to is walked from now on."""
    if not entry.is_symlink():
        return os.path.join(parent, entry.name) not in walked
    target = os.path.realpath(entry.path)
    is_within = any(os.path.commonpath([target, it]) == it for it in walked)
    if is_within or os.path.commonpath([target, walked[0]]) == target:
        return False
    walked.append(target)
    return True


def _entries(folder: str) -> list[tuple[str, bool, "os.DirEntry[str]"]]:
    """Names, whether they are folders, and entries, in the order of the paths below."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir(), entry) for entry in entries]
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); make it readable or move it away") from error
    return sorted(found, key=lambda it: it[0] + "/" if it[1] else it[0])


def _walk_remote(uri: str, skip: str | Path | None) -> Iterator[MediaFile]:
    root = address_of(uri)
    assert root is not None, "a folder of this machine is walked"
    skipped, is_empty = tuple(_below(root, skip)), True
    for page in s3.list_pages(root):
        for found in page:
            is_empty = False
            path = found.key.removeprefix(root.prefix)
            folder = path.endswith("/") or not path  # what a console writes for a folder that somebody made by hand
            if not folder and not path.startswith(skipped) and not any(map(is_junk, path.split("/"))):
                yield MediaFile(path, found.bytes, stable_id(found.etag))
    if is_empty:
        raise UserError(f"the archive {uri} does not exist: nothing lies below that address; mend it")


def _below(root: s3.Address, skip: str | Path | None) -> set[str]:
    """The folder to be passed over as paths of the archive begin, where it lies within."""
    address = address_of(skip) if skip else None
    if address is None or address.bucket != root.bucket or not address.prefix.startswith(root.prefix):
        return set()
    return {address.prefix.removeprefix(root.prefix)} - {""}


class RunFolders:
    """Notes the folders among listed paths that `is_run_folder` would find on disk."""

    def __init__(self) -> None:
        self._with_config: set[str] = set()
        self._with_parts: set[str] = set()

    def note(self, path: str) -> None:
        """Take a path of the archive."""
        if path.endswith("/config.json"):
            self._with_config.add(path.removesuffix("config.json"))
        elif "/parts/" in path:
            self._with_parts.add(path.rpartition("/")[0].removesuffix("parts"))

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the paths begin with that lie in earlier runs."""
        return tuple(self._with_config & self._with_parts)


def is_run_folder(folder: Path) -> bool:
    """Whether an earlier labelling wrote this folder: the pictures of its report are no frames."""
    return (folder / "parts").is_dir() and (folder / "config.json").is_file()


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is none that a camera wrote."""
    hidden = name.startswith(".") and name not in (".", "..")  # which are ordinary text in a key of S3
    return hidden or name.lower() in _JUNK


def _as_text(name: str) -> str:
    """A name that is no UTF-8 becomes one that can be stored; such a file is then a row that could not be read."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _size_and_time(entry: "os.DirEntry[str]") -> tuple[int, int]:
    try:
        found = entry.stat()
    except OSError:  # a dangling link; reading it will say so
        return 0, 0
    return found.st_size, found.st_mtime_ns
