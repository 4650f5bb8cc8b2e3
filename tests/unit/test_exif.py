"""Headers as cameras write them, and as broken ones do."""

import io
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from trygon.archive.exif import Header, parse_time, read_header


def _jpeg(orientation: int = 1, time: str = "2024:05:31 23:59:58", make: str = "Bushnell\0\0") -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = make
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = time
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def test_size_clock_and_maker() -> None:
    assert read_header(_jpeg()) == Header(40, 30, datetime(2024, 5, 31, 23, 59, 58), "Bushnell", None)


def test_size_is_that_of_the_upright_frame() -> None:
    header = read_header(_jpeg(orientation=6))
    assert (header.width, header.height) == (30, 40)


def test_truncated_file_still_has_its_header() -> None:
    data = _jpeg()
    header = read_header(data[:-5])
    assert header.timestamp == datetime(2024, 5, 31, 23, 59, 58)


@pytest.mark.parametrize(
    "text", ["2000:01:01 00:00:00", "0000:00:00 00:00:00", "", "soon", None, "2024:13:01 00:00:00"]
)
def test_clock_that_was_never_set_is_no_date(text: str | None) -> None:
    assert parse_time(text) is None


@given(st.binary(max_size=200))
def test_any_bytes_have_some_header(data: bytes) -> None:
    assert read_header(data).timestamp is None
    read_header(_jpeg()[:200] + data)
