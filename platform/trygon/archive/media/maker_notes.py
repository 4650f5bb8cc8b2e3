"""What camera makers write beside EXIF's own tags: serial number and temperature in Reconyx's notes.

The layouts are those that Reconyx gave to ExifTool (its `Reconyx.pm`). Other makers' notes are not documented.
"""

import struct
from dataclasses import dataclass

_LAYOUTS = {
    b"\x01\xf1": (0x28, slice(0x2A, 0x2A + 30), "utf-16-le"),  # HyperFire
    b"RECONYXUF\0": (0x46, slice(0x4B, 0x4B + 15), "ascii"),
    b"RECONYXH2\0": (0x50, slice(0x7E, 0x7E + 30), "utf-16-le"),
}
"""By how notes begin: where the temperature stands, and the serial number with its encoding."""


@dataclass(frozen=True, slots=True)
class Notes:
    """Blank where the maker wrote none; degrees Celsius."""

    serial: str | None = None
    temperature: int | None = None


def read_notes(data: object) -> Notes:
    """The notes of a maker that is known here."""
    if not isinstance(data, bytes):
        return Notes()
    for begins, (at, serial, encoding) in _LAYOUTS.items():
        if data.startswith(begins):
            try:
                (temperature,) = struct.unpack_from("<h", data, at)
                return Notes(data[serial].decode(encoding).partition("\0")[0], temperature)
            except (struct.error, UnicodeDecodeError):  # cut off
                return Notes()
    return Notes()
