"""Which files of an archive are frames, and which camera took them. Reads names and sizes, never a picture."""

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trygon import s3
from trygon.errors import UserError
from trygon.storage import address_of, is_remote, join, read_bytes, stable_id

IMAGE_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".avif": "image/avif",
}
"""Extensions of frames, in lower case, and their media types. The last three are not read here: they are listed, so
that somebody is told."""

VIDEO_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/x-m4v",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
    ".mkv": "video/x-matroska",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".wmv": "video/x-ms-wmv",
    ".asf": "video/x-ms-asf",
    ".flv": "video/x-flv",
}
MEDIA_TYPES = IMAGE_TYPES | VIDEO_TYPES
"""Extensions of all files that are looked at."""


def is_video(path: str) -> bool:
    """Whether a file is called as a video is."""
    return PurePosixPath(path).suffix.lower() in VIDEO_TYPES


# Folders that cameras start when the one before is full: Reconyx, Bushnell, Browning and others; they are no cameras.
_OVERFLOW = re.compile(r"DCIM|\d+(RECNX|EK\d+|_BTCF|MEDIA|DSCIM)", re.IGNORECASE)
_JUNK = {"$recycle.bin", "system volume information", "__macosx"}


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A frame as listed. `path` is relative to the archive, with forward slashes."""

    path: str
    bytes: int

    @property
    def media_id(self) -> int:
        """The same on every machine and wherever the archive is mounted; another when its size changes."""
        return stable_id("media", self.path, str(self.bytes))

    @property
    def deployment(self) -> str:
        """The camera folder: the folder of the file without overflow folders; `.` at the top of the archive."""
        folders = PurePosixPath(self.path).parts[:-1]
        while folders and _OVERFLOW.fullmatch(folders[-1]):
            folders = folders[:-1]
        return "/".join(folders) or "."


@dataclass(frozen=True)
class Archive:
    """A folder tree of frames, on disk or under an `s3://` prefix."""

    uri: str

    @property
    def local(self) -> Path | None:
        """The folder, where it is one of this machine."""
        return None if is_remote(self.uri) else Path(self.uri)

    def list(self, skip: str | Path | None = None) -> tuple[list[MediaFile], int]:
        """All frames sorted by path, and the number of other files. `skip` is a folder of ours within the archive.

        Raises `UserError` for a missing or unreadable folder: frames are never left out in silence.
        """
        entries = self._walk_local(self.local, skip) if self.local else self._walk_remote(skip)
        files, num_ignored = [], 0
        for path, size in entries:
            if PurePosixPath(path).suffix.lower() in MEDIA_TYPES:
                files.append(MediaFile(path, size))
            else:
                num_ignored += 1
        return sorted(files, key=lambda file: file.path), num_ignored

    def read(self, path: str) -> bytes:
        """A file's content. Raises `OSError` where the file is the reason, `TrygonError` where S3 is."""
        return read_bytes(join(self.uri, path))

    def _walk_local(self, root: Path, skip: str | Path | None) -> Iterator[tuple[str, int]]:
        if not root.is_dir():
            raise UserError(f"the archive {root} is not a folder; give the folder that holds the cameras' files")
        skipped = Path(skip).absolute() if skip else None
        for folder, names, files in os.walk(root.absolute(), onerror=_unreadable):
            names[:] = [name for name in names if not _is_junk(name) and Path(folder, name) != skipped]
            names[:] = [name for name in names if not is_run_folder(Path(folder, name))]
            for name in files:
                if not _is_junk(name):
                    full = Path(folder, name)
                    yield _as_text(full.relative_to(root.absolute())), _size_of(full)

    def _walk_remote(self, skip: str | Path | None) -> Iterator[tuple[str, int]]:
        root = address_of(self.uri)
        assert root is not None, "a folder of this machine is walked"
        found = {each.key.removeprefix(root.prefix): each.bytes for each in s3.list_objects(root)}
        if not found:
            raise UserError(f"the archive {self.uri} does not exist: nothing lies below that address; mend it")
        skipped = tuple(_run_folders(found) | _below(root, skip))
        for path, size in found.items():
            folder = path.endswith("/") or not path  # what a console writes for a folder that somebody made by hand
            if not folder and not path.startswith(skipped) and not any(map(_is_junk, path.split("/"))):
                yield path, size


def _run_folders(paths: Collection[str]) -> set[str]:
    """The folders among files of S3 that `is_run_folder` would find on disk, with a slash at the end."""
    with_config = {path.removesuffix("config.json") for path in paths if path.endswith("/config.json")}
    return with_config & {path.rpartition("/")[0].removesuffix("parts") for path in paths if "/parts/" in path}


def _below(root: s3.Address, skip: str | Path | None) -> set[str]:
    """The folder to be passed over as paths of the archive begin, where it lies within."""
    address = address_of(skip) if skip else None
    if address is None or address.bucket != root.bucket or not address.prefix.startswith(root.prefix):
        return set()
    return {address.prefix.removeprefix(root.prefix)} - {""}


def is_run_folder(folder: Path) -> bool:
    """Whether an earlier labelling wrote this folder: the pictures of its report are no frames."""
    return (folder / "parts").is_dir() and (folder / "config.json").is_file()


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def _as_text(path: Path) -> str:
    """A name that is no UTF-8 becomes one that can be stored; such a file is then a row that could not be read."""
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a dangling link; reading it will say so
        return 0


def _unreadable(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read ({error.strerror}); make it readable or move it away") from error
