"""The files of a unit, one after the other: of a folder, a tar (plain or gzip) or a zip.

Nothing is written to disk. Links, devices and folders are passed over, and what is too large is not read. An archive
that breaks off gives what stands before the damage. Knows nothing of what the files mean.
"""

import errno
import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from tarfile import HeaderError, ReadError
from typing import Any, NamedTuple, Self

from trygon.data.sources.listing import base_name
from trygon.data.sources.source import Picture, Unit, is_picture
from trygon.storage import is_remote, join, open_input, read_bytes

MAX_MEMBER_BYTES = 200_000_000
"""A larger file is no picture that trains anything; it would only fill the memory."""

_MAX_NAME_BYTES = 1 << 20
_LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
_BUFFER_BYTES = 1 << 16
_READ_AHEAD = 8
_END_MARK: Any = tarfile.EOFHeaderError  # pyright: ignore[reportAttributeAccessIssue] - a block of zeros
# What a broken tar or gzip raises. Refusals of the storage are other errors: they are no damage, and end the task.
_TAR_DAMAGE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError)
_ZIP_DAMAGE = (zipfile.BadZipFile, EOFError, zlib.error, ValueError, struct.error, NotImplementedError, RuntimeError)


class Member(NamedTuple):
    """A file of a unit: its bytes, or none and the reason."""

    path: str
    data: bytes
    reason: str = ""


def read_pictures(unit: Unit, identify: Callable[[str], str]) -> Iterator[Picture]:
    """The pictures of a unit in their order; `identify` makes the source id of a path within it."""
    for path, data, reason in read_members(unit, is_picture):
        yield Picture(path if reason == "damaged_archive" else identify(path), data, reason)


def read_members(unit: Unit, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The files that a unit names, or the wanted ones of an archive, in their order; paths with forward slashes.

    Reasons of those without bytes: missing, unreadable, too_large; at the end, and with the archive's name for its
    path, damaged_archive. Raises what `trygon.storage` raises where the storage refuses.
    """
    if unit.members:
        yield from _read_files(unit.uri, unit.members)
        return
    with open_input(unit.uri) as file:
        try:
            if base_name(unit.uri).lower().endswith(".zip"):
                yield from _read_zip(file, wanted)
            else:
                yield from _read_tar(file, wanted)
        except _Damaged:
            yield Member(base_name(unit.uri), b"", "damaged_archive")


class _Damaged(Exception):  # noqa: N818 - it is data, not a fault of the program
    """The archive cannot be read any further."""


def place_of(folder: str, path: str) -> str:
    """Where a member of a folder lies; a path that is whole already stands for itself."""
    return path if is_remote(path) or path.startswith("/") else join(folder, path)


def _read_files(folder: str, paths: Sequence[str]) -> Iterator[Member]:
    """Files in their order, some read ahead: object storage and network disks answer slowly, and many at a time."""
    with ThreadPoolExecutor(_READ_AHEAD) as pool:
        pending = deque(pool.submit(_read_file, folder, path) for path in paths[:_READ_AHEAD])
        for path in paths[_READ_AHEAD:]:
            yield pending.popleft().result()
            pending.append(pool.submit(_read_file, folder, path))
        while pending:
            yield pending.popleft().result()


def _read_file(folder: str, path: str) -> Member:
    name = readable(path)
    try:
        return Member(name, read_bytes(place_of(folder, path), MAX_MEMBER_BYTES))
    except FileNotFoundError:
        return Member(name, b"", "missing")
    except OSError as error:
        return Member(name, b"", "too_large" if error.errno == errno.EFBIG else "unreadable")


def readable(path: str) -> str:
    """A name that is no UTF-8 becomes one that a table can hold."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").removeprefix("./")


class _Header(tarfile.TarInfo):
    """A tar's header that says so when it is broken: `tarfile` takes it for the end of the archive, without a word."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            if isinstance(error, _END_MARK):
                raise
            raise ReadError(str(error)) from error

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        # These are read into memory before anyone can ask for their size.
        if header.type in _LONG_NAMES and header.size > _MAX_NAME_BYTES:
            raise ReadError("a name of many megabytes")
        return header


class _Unpacked(gzip.GzipFile):
    """A gzip that gives all that stands before the damage, and then fails; its sum is checked at the end.

    `tarfile` alone checks no sum, and takes a gzip that was cut off for a whole one.
    """

    def read(self, size: int | None = -1) -> bytes:
        return self.read1(-1 if size is None else size)


def _read_tar(file: io.BufferedReader, wanted: Callable[[str], bool]) -> Iterator[Member]:
    try:
        packed = file.peek(2)[:2] == b"\x1f\x8b"
        stream = _Unpacked(fileobj=file) if packed else file
        mode = "r|" if packed else "r:"
        with tarfile.open(fileobj=stream, mode=mode, tarinfo=_Header, bufsize=_BUFFER_BYTES) as tar:
            while (header := tar.next()) is not None:
                # It keeps the headers of all, which for a million files is a gigabyte.
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                name = readable(header.name)
                if not header.isreg() or header.issparse() or not wanted(name):
                    continue
                if header.size > MAX_MEMBER_BYTES:
                    yield Member(name, b"", "too_large")
                elif content := tar.extractfile(header):
                    yield Member(name, content.read())
        while packed and stream.read(_BUFFER_BYTES):
            pass
    except _TAR_DAMAGE as error:
        raise _Damaged from error


def _read_zip(file: io.BufferedReader, wanted: Callable[[str], bool]) -> Iterator[Member]:
    try:
        archive = zipfile.ZipFile(file)
    except _ZIP_DAMAGE as error:
        raise _Damaged from error
    with archive:
        for info in archive.infolist():
            name = readable(info.filename)
            if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16) or not wanted(name):
                continue
            if info.file_size > MAX_MEMBER_BYTES:
                yield Member(name, b"", "too_large")
                continue
            try:
                data = archive.read(info)
            except _ZIP_DAMAGE:  # also: encrypted, or packed in a way that is not known here
                yield Member(name, b"", "unreadable")
            else:
                yield Member(name, data)
