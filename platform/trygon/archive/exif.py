"""What a frame's header says: size, the camera's clock, its maker. Decodes no pixel: it serves broken files too."""

import io
from dataclasses import dataclass
from datetime import datetime

from PIL import ExifTags, Image

_FIRST_YEAR = 2001
"""Cameras whose clock was never set start at 2000: an earlier date is no date."""

_SIDEWAYS = {5, 6, 7, 8}


@dataclass(frozen=True, slots=True)
class Header:
    """Size as the upright frame has it; the camera's own local time, which has no zone."""

    width: int | None = None
    height: int | None = None
    timestamp: datetime | None = None
    make: str | None = None
    model: str | None = None


def read_header(data: bytes) -> Header:
    """The header of an encoded picture; blank where there is none."""
    try:
        image = Image.open(io.BytesIO(data))
        width, height = image.size
    except Exception:  # whatever a decoder makes of foreign bytes, the frame is a row
        return Header()
    try:
        exif = image.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:
        return Header(width, height)
    if exif.get(ExifTags.Base.Orientation) in _SIDEWAYS:
        width, height = height, width
    tags = (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized)
    texts = [*(details.get(tag) for tag in tags), exif.get(ExifTags.Base.DateTime)]
    timestamp = next((time for time in map(parse_time, texts) if time), None)
    return Header(width, height, timestamp, _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model)))


def parse_time(text: object) -> datetime | None:
    """EXIF's `2024:05:31 23:59:58`; None where it is no date, or one of a clock that was never set."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.strptime(text.strip("\0 ")[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return time if time.year >= _FIRST_YEAR else None


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    # Cameras pad with NULs, and some write bytes that are no text.
    return "".join(letter for letter in value if letter.isprintable()).strip() or None
