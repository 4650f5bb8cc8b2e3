"""Headers as cameras write them, and as broken ones do."""

import io
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from trygon.archive.media.exif import Header, parse_time, read_header
from trygon.archive.media.maker_notes import read_notes


def _jpeg(orientation: int = 1, time: str = "2024:05:31 23:59:58", make: str = "Bushnell\0\0") -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = make
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = time
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def test_size_clock_and_maker() -> None:
    header = read_header(_jpeg())
    assert header == Header(40, 30, datetime(2024, 5, 31, 23, 59, 58), "Bushnell", None, None, 1)


def test_size_is_that_of_the_upright_frame() -> None:
    header = read_header(_jpeg(orientation=6))
    assert (header.width, header.height) == (30, 40)


def test_truncated_file_still_has_its_header() -> None:
    data = _jpeg()
    header = read_header(data[:-5])
    assert header.timestamp == datetime(2024, 5, 31, 23, 59, 58)


def _with(details: Mapping[Any, object], main: Mapping[Any, object] | None = None) -> Header:
    exif = Image.Exif()
    exif.update(main or {})
    exif.get_ifd(ExifTags.IFD.Exif).update(details)
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "JPEG", exif=exif)
    return read_header(buffer.getvalue())


def _exif(time: datetime) -> str:
    return f"{time:%Y:%m:%d %H:%M:%S}"


def test_time_is_the_one_that_is_nearest_to_the_shot() -> None:
    base = ExifTags.Base
    first, second, third = (datetime(2024, 6, day) for day in (1, 2, 3))
    written, digitised = {base.DateTime: _exif(third)}, {base.DateTimeDigitized: _exif(second)}
    assert _with({base.DateTimeOriginal: _exif(first), **digitised}, written).timestamp == first
    assert _with({base.DateTimeOriginal: "2000:01:01 00:00:00", **digitised}, written).timestamp == second
    assert _with({}, written).timestamp == third
    assert _with({}, {base.DateTimeOriginal: _exif(first)} | written).timestamp == first
    assert parse_time("2024-06-01T10:20:30+02:00") == datetime(2024, 6, 1, 10, 20, 30)


def test_temperature_and_serial_of_exif() -> None:
    header = _with({0x9400: IFDRational(-75, 10), ExifTags.Base.BodySerialNumber: " H500\0"})
    assert (header.temperature, header.serial) == (-7.5, "H500")
    for unknown in (IFDRational(0, 0), IFDRational(9999, 1)):
        assert _with({0x9400: unknown}).temperature is None


def test_temperature_and_serial_of_reconyx() -> None:
    hyperfire = bytearray(b"\x01\xf1".ljust(0x60, b"\0"))
    struct.pack_into("<h", hyperfire, 0x28, -12)
    hyperfire[0x2A : 0x2A + 18] = "H500HF012".encode("utf-16-le")
    ultrafire = bytearray(b"RECONYXUF\0".ljust(0x70, b"\0"))
    struct.pack_into("<h", ultrafire, 0x46, 21)
    ultrafire[0x4B : 0x4B + 7] = b"XR6-123"
    second = bytearray(b"RECONYXH2\0".ljust(0xA0, b"\0"))
    struct.pack_into("<h", second, 0x50, 3)
    second[0x7E : 0x7E + 12] = "HF2-77".encode("utf-16-le")
    for notes, found in ((hyperfire, (-12, "H500HF012")), (ultrafire, (21, "XR6-123")), (second, (3, "HF2-77"))):
        header = _with({ExifTags.Base.MakerNote: bytes(notes)})
        assert (header.temperature, header.serial) == found
        cut = _with({ExifTags.Base.MakerNote: bytes(notes[:20])})
        assert (cut.temperature, cut.serial) == (None, None)


@given(st.sampled_from([b"\x01\xf1", b"RECONYXUF\0", b"RECONYXH2\0", b"Nikon"]), st.binary(max_size=200))
def test_any_maker_notes_are_read(begin: bytes, rest: bytes) -> None:
    read_notes(begin + rest)


@pytest.mark.parametrize("text", ["0000:00:00 00:00:00", "", "soon", None, "2024:13:01 00:00:00"])
def test_what_is_no_date_is_none(text: str | None) -> None:
    assert parse_time(text) is None


@given(st.binary(max_size=200))
def test_any_bytes_have_some_header(data: bytes) -> None:
    assert read_header(data).timestamp is None
    read_header(_jpeg()[:200] + data)
