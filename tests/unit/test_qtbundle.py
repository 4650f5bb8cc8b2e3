"""Qt bundles, of both versions and with each kind of compression."""

import struct
import zlib
from collections.abc import Callable

import pytest
import zstandard

from trygon.data.qtbundle import BadBundle, read_bundle

PLAIN, ZLIB, ZSTD = 0, 1, 4
_PACK: dict[int, Callable[[bytes], bytes]] = {
    PLAIN: lambda data: data,
    ZLIB: lambda data: struct.pack(">I", len(data)) + zlib.compress(data),
    ZSTD: lambda data: zstandard.ZstdCompressor().compress(data),
}


def build_bundle(files: dict[str, tuple[int, bytes]], version: int) -> bytes:
    """A bundle with one folder `pictures`, as rcc lays it out: root, folder, files."""
    names, contents = b"", b""

    def name(text: str) -> int:
        nonlocal names
        at = len(names)
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
        return at

    time = b"\0" * 8 if version >= 2 else b""
    tree = struct.pack(">IHII", 0, 2, 1, 1) + time
    tree += struct.pack(">IHII", name("pictures"), 2, len(files), 2) + time
    for path, (flags, data) in files.items():
        packed = _PACK[flags](data)
        tree += struct.pack(">IHHHI", name(path), flags, 0, 0, len(contents)) + time
        contents += struct.pack(">I", len(packed)) + packed
    header = 20
    offsets = (header, header + len(tree), header + len(tree) + len(contents))
    return b"qres" + struct.pack(">IIII", version, *offsets) + tree + contents + names


@pytest.mark.parametrize("version", [1, 2, 3])
def test_reads_each_kind_of_file(version: int) -> None:
    files = {"a.txt": (PLAIN, b"one"), "b.txt": (ZLIB, b"two" * 50), "ü.webp": (ZSTD, b"three" * 50)}
    found = dict(read_bundle(build_bundle(files, version)))
    assert found == {f"pictures/{name}": data for name, (_, data) in files.items()}


@pytest.mark.parametrize("data", [b"", b"qres", b"PK\3\4" + b"\0" * 30])
def test_refuses_what_is_no_bundle(data: bytes) -> None:
    with pytest.raises(BadBundle):
        list(read_bundle(data))
