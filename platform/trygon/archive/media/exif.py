"""What a frame's header says: size, the camera's clock, its maker, the weather. Decodes no pixel: it serves broken
files too."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

from trygon.archive.media.clocks import FIRST
from trygon.archive.media.maker_notes import read_notes
from trygon.data.images import FORMATS

_SIDEWAYS = {5, 6, 7, 8}
_TEMPERATURE = 0x9400
"""AmbientTemperature of EXIF 2.31, which Pillow has no name for."""

_COLDEST_C, _HOTTEST_C = -90.0, 90.0


@dataclass(frozen=True, slots=True)
class Header:
    """Size as the upright frame has it; the camera's own local time, which has no zone; degrees Celsius."""

    width: int | None = None
    height: int | None = None
    timestamp: datetime | None = None
    make: str | None = None
    model: str | None = None
    serial: str | None = None
    orientation: int | None = None
    temperature: float | None = None


def read_header(data: bytes) -> Header:
    """The header of an encoded picture; blank where there is none."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
    except Exception:  # whatever a decoder makes of foreign bytes, the frame is a row
        return Header()
    try:
        exif = image.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:
        return Header(width, height)
    orientation = exif.get(ExifTags.Base.Orientation)
    if orientation in _SIDEWAYS:
        width, height = height, width
    notes = read_notes(details.get(ExifTags.Base.MakerNote))
    return Header(
        width,
        height,
        _timestamp(exif, details),
        as_text(exif.get(ExifTags.Base.Make)),
        as_text(exif.get(ExifTags.Base.Model)),
        as_text(details.get(ExifTags.Base.BodySerialNumber)) or as_text(notes.serial),
        orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else None,
        next((it for it in map(_celsius, (details.get(_TEMPERATURE), notes.temperature)) if it is not None), None),
    )


def _timestamp(exif: Mapping[int, Any], details: Mapping[int, Any]) -> datetime | None:
    """When the frame was taken, else when it was digitised, else when the file was written last.

    Some cameras write the detailed tags among the main ones.
    """
    tags = (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized, ExifTags.Base.DateTime)
    texts = (part.get(tag) for tag in tags for part in (details, exif))
    times = [time for time in map(parse_time, texts) if time]
    # One of a clock that was never set only where there is no other: `clocks` tells of it.
    return next((time for time in times if time >= FIRST), times[0] if times else None)


def parse_time(text: object) -> datetime | None:
    """EXIF's `2024:05:31 23:59:58`, or with the dashes and the T that some write; None where it is no date."""
    if not isinstance(text, str):
        return None
    plain = text.strip("\0 ")[:19].replace("-", ":").replace("/", ":").replace("T", " ")
    try:
        return datetime.strptime(plain, "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None


def as_text(value: object) -> str | None:
    """A text of a header without what cameras pad with; None where nothing is left."""
    if not isinstance(value, str):
        return None
    # Cameras pad with NULs, and some write bytes that are no text.
    return "".join(letter for letter in value if letter.isprintable()).strip() or None


def _celsius(value: Any) -> float | None:
    try:
        degrees = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # An unknown temperature is written as 0/0 or as a number that no weather has.
    return degrees if math.isfinite(degrees) and _COLDEST_C <= degrees <= _HOTTEST_C else None
