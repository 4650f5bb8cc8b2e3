"""What camera makers write beside EXIF's own tags: serial number and temperature in Reconyx's notes.

The layouts are those that Reconyx gave to ExifTool (its `Reconyx.pm`). Other makers' notes are not documented.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notes:
    """Blank where the maker wrote none; degrees Celsius."""

    serial: str | None = None
    temperature: int | None = None


def read_notes(data: object) -> Notes:
    """The notes of a maker that is known here."""
    if not isinstance(data, bytes):
        return Notes()
    for begins, read in _MAKERS.items():
        if data.startswith(begins):
            try:
                return read(data)
            except (struct.error, UnicodeDecodeError):  # cut off
                return Notes()
    return Notes()


def _hyperfire(data: bytes) -> Notes:
    (temperature,) = struct.unpack_from("<h", data, 0x28)
    return Notes(_until_nul(data[0x2A : 0x2A + 30].decode("utf-16-le")), temperature)


def _ultrafire(data: bytes) -> Notes:
    (temperature,) = struct.unpack_from("<h", data, 0x46)
    return Notes(_until_nul(data[0x4B : 0x4B + 15].decode("ascii")), temperature)


def _hyperfire_2(data: bytes) -> Notes:
    (temperature,) = struct.unpack_from("<h", data, 0x50)
    return Notes(_until_nul(data[0x7E : 0x7E + 30].decode("utf-16-le")), temperature)


def _until_nul(text: str) -> str:
    return text.partition("\0")[0]


_MAKERS: dict[bytes, Callable[[bytes], Notes]] = {
    b"\x01\xf1": _hyperfire,
    b"RECONYXUF\0": _ultrafire,
    b"RECONYXH2\0": _hyperfire_2,
}
"""How the notes of a maker begin, and what reads them."""
