"""Zip files read in place: names from the central directory, entry by entry, and content by ranges.

The format: PKWARE's APPNOTE.TXT. The standard library's reader keeps an object for each entry in memory; this one
keeps none, and any worker reads an entry by where it lies, without the directory. The checksum is the directory's: a
tool that writes as it goes leaves none before the entry. Nothing is written to disk.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from trygon.archive.inputs.media import MediaFile, is_media
from trygon.archive.inputs.names import MAX_BYTES, refusal
from trygon.errors import UserError
from trygon.storage import open_input, read_ranges

_END, _END64, _AT64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_ENTRY, _LOCAL = struct.Struct("<4s4B4HL2L5H2L"), struct.Struct("<4s5H3L2H")
_END_BYTES, _LONGEST_COMMENT = 22, 0xFFFF
_COUNTED, _REACHED = 1 << 16, 1 << 32
"""Of entries and bytes a zip without the zip64 fields can count so many; what is beyond begins at 0 again."""
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800


@dataclass(frozen=True)
class _Directory:
    """Where the central directory lies, how many entries it says it has, and how far all offsets are off."""

    start: int
    num_bytes: int
    num: int
    """Writers without zip64 keep no more of it than 16 bits."""
    shift: int


def list_zip(place: str, index: str) -> Iterator[MediaFile]:
    """The files of a zip in its order; those that cannot be read are listed with the reason.

    Raises `UserError` where it is no zip file, or a damaged one.
    """
    try:
        with open_input(place) as file:
            directory = _find_directory(file)
            file.seek(directory.start)
            num, end = 0, directory.start + directory.num_bytes
            while file.tell() < end:
                num += 1
                entry = _entry(file, directory)
                if entry is not None:
                    yield entry
            if file.tell() != end or (num - directory.num) % _COUNTED:
                raise ValueError(f"its directory has {num:,} entries and says {directory.num:,}")
    except (ValueError, struct.error, EOFError) as error:
        raise UserError(f"the archive {place} is no whole zip file ({error}); copy it again, or unpack it") from error


def read_zip(place: str, member: str, index: str) -> bytes:
    """The content of an entry by its member text (`OFFSET+BYTES+CRC`). Raises `OSError` where it is damaged."""
    offset, num_bytes, crc = map(int, member.split("+"))
    try:
        (head,) = read_ranges(place, [(offset, offset + _LOCAL.size)])
        signature, _, _, method, *_, num_name, num_extra = _LOCAL.unpack(head)
        if signature != b"PK\3\4":
            raise OSError(f"{place} has no entry at {offset}")
        first = offset + _LOCAL.size + num_name + num_extra
        (packed,) = read_ranges(place, [(first, first + num_bytes)])
        data = packed if method == _STORED else _inflate(packed)
    except (struct.error, zlib.error) as error:
        raise OSError(f"{place}: the entry at {offset} is damaged ({error})") from error
    if zlib.crc32(data) != crc:
        raise OSError(f"{place}: the entry at {offset} has another checksum than it should")
    return data


def _inflate(packed: bytes) -> bytes:
    """Never more than what a picture may have, whatever the entry says of itself."""
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    data = unpack.decompress(packed, MAX_BYTES)
    if not unpack.eof:
        raise OSError("the entry is not whole, or larger than a picture may be")
    return data


def _find_directory(file: BinaryIO) -> _Directory:
    size = file.seek(0, io.SEEK_END)
    start = max(0, size - _END_BYTES - _LONGEST_COMMENT)
    file.seek(start)
    tail = file.read()
    at = _find_end(tail)
    disk, _, _, num, num_bytes, offset = struct.unpack("<4H2L", tail[at + 4 : at + 20])
    if disk not in (0, 0xFFFF):
        raise ValueError("it is one of several volumes")
    end = start + at
    is_wide = tail[at - 20 : at - 16] == _AT64
    if is_wide:
        (where,) = struct.unpack("<Q", tail[at - 12 : at - 4])
        if where >= end:
            raise ValueError("its directory is not where it says")
        file.seek(where)
        record = file.read(56)
        if record[:4] != _END64:
            raise ValueError("its directory is not where it says")
        num, num_bytes, offset = struct.unpack("<3Q", record[32:56])
        end = where
    # Something may stand before the archive, as in one that unpacks itself.
    shift = end - num_bytes - offset
    if shift < 0:
        raise ValueError("it breaks off")
    if not is_wide and shift >= _REACHED:
        raise ValueError("it is over 4 GiB, and was written without zip64, which says where files lie beyond that")
    return _Directory(offset + shift, num_bytes, num, shift)


def _find_end(tail: bytes) -> int:
    """Where the last record begins: its comment reaches to the end of the file, and may hold what looks like one."""
    at = tail.rfind(_END)
    while at >= 0:
        rest = len(tail) - at - _END_BYTES
        if rest >= 0 and struct.unpack("<H", tail[at + 20 : at + 22])[0] == rest:
            return at
        at = tail.rfind(_END, 0, at + len(_END) - 1)
    raise ValueError("it has no directory, or something behind it")


def _entry(file: BinaryIO, directory: _Directory) -> MediaFile | None:
    head = file.read(_ENTRY.size)
    values = _ENTRY.unpack(head)
    if values[0] != b"PK\1\2":
        raise ValueError("its directory is damaged")
    flags, method, crc, packed, size = values[5], values[6], *values[9:12]
    num_name, num_extra, num_comment, offset = *values[12:15], values[18]
    raw, extra = file.read(num_name), file.read(num_extra)
    file.read(num_comment)
    size, packed, offset = _wide(extra, size, packed, offset)
    name = raw.decode(errors="backslashreplace") if flags & _UTF8 else _old_name(raw)
    name = name.replace("\\", "/")
    if name.endswith("/"):
        return None
    offset += directory.shift
    reason = refusal(name, max(size, packed))
    if reason is None and is_media(name):
        if flags & _ENCRYPTED:
            reason = "encrypted"
        elif method not in (_STORED, _DEFLATED):
            reason = "unsupported"
        elif offset + packed > directory.start or (method == _STORED and packed != size):
            reason = "damaged_archive"
    return MediaFile(name, size, crc, f"{offset}+{packed}+{crc}", reason)


def _old_name(raw: bytes) -> str:
    """Names without the flag should be of code page 437; tools of today write UTF-8 all the same."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _wide(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset, from the zip64 field where they are too large for their own."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack("<2H", extra[at : at + 4])
        if kind == 1:
            rest = extra[at + 4 : at + 4 + length]
            values = iter(struct.unpack(f"<{len(rest) // 8}Q", rest[: len(rest) // 8 * 8]))
            size, packed, offset = (next(values, it) if it == 0xFFFFFFFF else it for it in (size, packed, offset))
        at += 4 + length
    return size, packed, offset
