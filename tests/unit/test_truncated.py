"""Pictures that were cut off: what is left of them, and how much that is."""

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trygon.data.images import BadImage, decode
from trygon.data.truncated import salvage

GRID = np.random.default_rng(1).integers(0, 255, (15, 20, 3), np.uint8)
PHOTO = Image.fromarray(GRID).resize((800, 600), Image.Resampling.BICUBIC)


def _encode(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    PHOTO.convert(mode).save(buffer, kind, **options)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


JPEG = _encode("JPEG", quality=90)


@pytest.mark.parametrize("min_side", [0, 150])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [*(("JPEG", mode) for mode in ("RGB", "L", "CMYK")), *(("PNG", mode) for mode in ("RGB", "P", "RGBA", "1", "L"))],
)
def test_rows_before_the_cut_are_those_of_the_whole_picture(kind: str, mode: str, min_side: int) -> None:
    data = _encode(kind, mode)
    cut = data[: int(0.6 * len(data))]
    with pytest.raises(BadImage, match="truncated"):
        decode(cut, min_side)
    image, share = salvage(cut, min_side)
    whole = decode(data, min_side)
    assert image.size == whole.size
    assert share == pytest.approx(0.6, abs=0.1)
    num_rows = round(share * image.height)
    assert np.array_equal(np.asarray(image)[:num_rows], np.asarray(whole)[:num_rows])
    assert np.ptp(np.asarray(image)[num_rows:], axis=(0, 1)).max() == 0


def test_black_and_grey_rows_are_not_taken_for_missing_ones() -> None:
    for grey in (0, 128):
        buffer = io.BytesIO()
        Image.new("L", (320, 240), grey).save(buffer, "PNG", compress_level=0)
        assert salvage(buffer.getvalue()[:40_000])[1] == pytest.approx(40_000 / (321 * 240), abs=0.02)


def test_share_follows_the_frame_when_it_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _encode("JPEG", quality=90, exif=exif)
    image, share = salvage(data[: len(data) // 2])
    assert image.size == (600, 800)
    assert share == pytest.approx(0.5, abs=0.1)
    assert np.ptp(np.asarray(image)[:, :200]) == 0  # the lower rows are on the left now


def test_of_a_progressive_picture_no_row_is_whole() -> None:
    data = _encode("JPEG", progressive=True)
    assert salvage(data[: int(0.9 * len(data))])[1] == 0


def test_what_is_cut_in_its_header_cannot_be_salvaged() -> None:
    for data in (b"", JPEG[:50], b"no picture"):
        with pytest.raises(BadImage):
            salvage(data)


@given(st.integers(200, len(JPEG) - 1))
def test_any_cut_gives_a_share_or_a_reason(length: int) -> None:
    with suppress(BadImage):
        assert 0 <= salvage(JPEG[:length], min_side=75)[1] <= 1
