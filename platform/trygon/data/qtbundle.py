"""Reads Qt resource bundles (.rcc), as `rcc --binary` writes them. Knows nothing of what they hold.

Layout (qtbase/src/tools/rcc): a header with the offsets of three tables; a tree of nodes (folders hold first child
and count, files the offset of their data); names as UTF-16 with a length and a hash; data with a length, perhaps
compressed.
"""

import struct
import zlib
from collections.abc import Iterator

import zstandard

_ZLIB, _FOLDER, _ZSTD = 1, 2, 4
_MAX_FILE_BYTES = 1 << 28


class BadBundle(ValueError):  # noqa: N818 - it is data, not a fault of the program
    """Bytes that are not a Qt resource bundle."""


def read_bundle(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Every file of a bundle: its path, forward slashes, and its content."""
    if data[:4] != b"qres" or len(data) < 20:
        raise BadBundle("no Qt resource bundle: it does not start with 'qres'")
    version, tree, contents, names = struct.unpack_from(">IIII", data, 4)
    node_bytes = 14 if version < 2 else 22  # version 2 adds the time of change
    pending = [(0, "")]
    while pending:
        node, folder = pending.pop()
        at = tree + node * node_bytes
        name_offset, flags = struct.unpack_from(">IH", data, at)
        path = folder + _name(data, names + name_offset) if node else ""
        if flags & _FOLDER:
            count, first = struct.unpack_from(">II", data, at + 6)
            inside = f"{path}/" if path else ""
            pending += [(first + index, inside) for index in reversed(range(count))]
        else:
            (offset,) = struct.unpack_from(">I", data, at + 10)
            yield path, _content(data, contents + offset, flags)


def _name(data: bytes, at: int) -> str:
    (length,) = struct.unpack_from(">H", data, at)
    return data[at + 6 : at + 6 + 2 * length].decode("utf-16-be")


def _content(data: bytes, at: int, flags: int) -> bytes:
    (length,) = struct.unpack_from(">I", data, at)
    stored = data[at + 4 : at + 4 + length]
    if flags & _ZLIB:
        return zlib.decompress(stored[4:])  # qCompress puts the size in front
    if flags & _ZSTD:
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=_MAX_FILE_BYTES)
    return stored
