"""Tar files read in place, plain or gzip: headers are walked once, and content is read by where it lies.

In a gzip there is no going to a place but from the start: `indexed_gzip` notes points from which it can be unpacked
(Mark Adler's zran), some kilobytes for every few megabytes, in a file of the run folder that workers read too.
Nothing else is written to disk.
"""

import io
import tarfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import IO

from indexed_gzip import IndexedGzipFile, ZranError
from indexed_gzip.indexed_gzip import CrcError

from trygon.archive.inputs.media import MediaFile, is_media
from trygon.archive.inputs.names import refusal
from trygon.errors import UserError
from trygon.storage import exists, open_input, read_bytes, read_ranges, write_bytes

_SPACING_BYTES = 8 << 20
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError, ZranError, CrcError)


def list_tar(place: str, index: str) -> Iterator[MediaFile]:
    """The files of a tar in its order; those that cannot be read are listed with the reason, links among them.

    Raises `UserError` where it is no tar file, or a damaged one.
    """
    with open_input(place) as file:
        yield from _members(file, place)


def read_tar(place: str, member: str, index: str) -> bytes:
    """The content of a member by its text (`OFFSET+BYTES`). Raises `OSError` where the file ends before it."""
    first, last = _span(member)
    (data,) = read_ranges(place, [(first, last)])
    return data


def list_tar_gz(place: str, index: str) -> Iterator[MediaFile]:
    """As `list_tar`, and writes the index, unless its place is blank."""
    with open_input(place) as source, IndexedGzipFile(fileobj=source, spacing=_SPACING_BYTES) as file:
        yield from _members(file, place)
        if index:
            points = io.BytesIO()
            file.export_index(fileobj=points)
            write_bytes(index, points.getvalue())


def read_tar_gz(place: str, member: str, index: str) -> bytes:
    """As `read_tar`, from the nearest point that the index has; without an index from the start."""
    first, last = _span(member)
    try:
        data = _opened(place, index).pread(last - first, first)
    except (ZranError, CrcError, ValueError) as error:
        raise OSError(f"{place} is damaged before {last} ({error})") from error
    if len(data) != last - first:
        raise OSError(f"{place} ends before {last}")
    return data


@lru_cache(maxsize=4)
def _opened(place: str, index: str) -> IndexedGzipFile:
    """One a process: pieces of what was unpacked last are at hand."""
    file = IndexedGzipFile(fileobj=open_input(place), spacing=_SPACING_BYTES)
    if index and exists(index):
        file.import_index(fileobj=io.BytesIO(read_bytes(index)))
    return file


def _span(member: str) -> tuple[int, int]:
    start, _, num_bytes = member.partition("+")
    return int(start), int(start) + int(num_bytes)


def _members(file: IO[bytes], place: str) -> Iterator[MediaFile]:
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (header := tar.next()) is not None:
                vars(tar)["members"] = []  # else each header would be kept
                if not header.isdir():
                    yield _media_file(header)
            # The standard library takes a header that is damaged or not there for the end.
            file.seek(tar.offset)
            if not _is_end(file.read(2 * tarfile.BLOCKSIZE)):
                raise tarfile.ReadError(f"neither a file nor its end stands at {tar.offset:,}")
    except _DAMAGE as error:
        raise UserError(f"the archive {place} is no whole tar file ({error}); copy it again, or unpack it") from error


def _is_end(blocks: bytes) -> bool:
    """Whether a tar may end so: with two blocks of zeros, or one where a writer left it at that."""
    return len(blocks) >= tarfile.BLOCKSIZE and not any(blocks)


def _media_file(header: tarfile.TarInfo) -> MediaFile:
    path = header.name.encode(errors="surrogateescape").decode(errors="backslashreplace").removeprefix("./")
    reason = refusal(path, header.size)
    if reason is None and is_media(path) and (not header.isreg() or header.sparse is not None):
        reason = "unsupported"
    return MediaFile(path, header.size, int(header.mtime), f"{header.offset_data}+{header.size}", reason)
