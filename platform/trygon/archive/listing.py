"""Which files of an archive are frames, and which camera took them. Reads names and sizes, never a picture."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pyarrow.fs

from trygon.errors import UserError
from trygon.storage import filesystem, is_remote, stable_id

IMAGE_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
}
"""Extensions of frames, in lower case, and their media types."""

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
        return None if "://" in self.uri else Path(self.uri)

    def list(self, skip: str | Path | None = None) -> tuple[list[MediaFile], int]:
        """All frames sorted by path, and the number of other files. `skip` is a folder of ours within the archive.

        Raises `UserError` for a missing or unreadable folder: frames are never left out in silence.
        """
        entries = self._walk_local(self.local, skip) if self.local else self._walk_remote(skip)
        files, num_ignored = [], 0
        for path, size in entries:
            if PurePosixPath(path).suffix.lower() in IMAGE_TYPES:
                files.append(MediaFile(path, size))
            else:
                num_ignored += 1
        return sorted(files, key=lambda file: file.path), num_ignored

    def read(self, path: str) -> bytes:
        """A file's content. Raises `OSError`."""
        if self.local:
            return (self.local / path).read_bytes()
        source, base = self._remote
        with source.open_input_stream(f"{base}/{path}") as stream:
            return stream.read()

    @cached_property
    def _remote(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """One client for all files: each new one would look the bucket's region up and connect again."""
        source, base = filesystem(self.uri)
        return source, base.rstrip("/")

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
        try:
            source, base = self._remote
            entries = source.get_file_info(pyarrow.fs.FileSelector(base, recursive=True))
        except (OSError, ValueError) as error:
            raise UserError(
                f"the archive {self.uri} cannot be listed: {error}; check the address and, for s3://, the credentials "
                "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)"
            ) from error
        skipped = f"{filesystem(skip)[1]}/" if skip and is_remote(skip) else None
        for entry in entries:
            if skipped and entry.path.startswith(skipped):
                continue
            path = entry.path[len(base) :].lstrip("/")
            if entry.is_file and not any(_is_junk(part) for part in path.split("/")):
                yield path, entry.size or 0


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
