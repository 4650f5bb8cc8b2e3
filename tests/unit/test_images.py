"""Pictures as cameras, phones and the web make them."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from trygon.data.images import BadImage, ResizeMode, decode, preprocess, square

# Four corners that no rotation or flip maps onto each other.
CORNERS = np.zeros((32, 48, 3), np.uint8)
CORNERS[:16, :24] = (255, 0, 0)
CORNERS[:16, 24:] = (0, 255, 0)
CORNERS[16:, :24] = (0, 0, 255)


def _encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


PHOTO = Image.fromarray(CORNERS)
JPEG = _encode(PHOTO, quality=95)


def _mean_error(image: Image.Image, expected: Image.Image) -> float:
    assert image.mode == "RGB"
    assert image.size == expected.size
    return float(np.abs(np.asarray(image, np.float64) - np.asarray(expected, np.float64)).mean())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.new("RGB", PHOTO.size)
    stored.paste(PHOTO)
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(_encode(stored, "PNG", exif=exif))))
    decoded = decode(_encode(stored, quality=95, exif=exif))
    assert decoded.size == (PHOTO.size if orientation < 5 else PHOTO.size[::-1])
    assert _mean_error(decoded, shown.convert("RGB")) < 6


def test_broken_exif_loses_the_orientation_and_not_the_picture() -> None:
    data = _encode(PHOTO, quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert _mean_error(decode(data), PHOTO) < 6


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "CMYK", "YCbCr"])
def test_modes_without_transparency_keep_their_colours(mode: str) -> None:
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    stored = PHOTO.convert(mode)
    assert _mean_error(decode(_encode(stored, kind)), stored.convert("RGB")) < 12


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_white(mode: str) -> None:
    image = PHOTO.convert("RGBA")
    image.putalpha(Image.fromarray(np.where(np.arange(48) < 24, 0, 255).astype(np.uint8)[None].repeat(32, 0)))
    options = {}
    if mode == "P":
        image, options = PHOTO.convert("P"), {"transparency": PHOTO.convert("P").getpixel((0, 0))}
    elif mode == "LA":
        image = image.convert("LA")
    pixels = np.asarray(decode(_encode(image, "PNG", **options)))
    assert (pixels[2, 2] == 255).all()
    assert not (pixels[2, 40] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, 32 * 48).reshape(32, 48).astype(np.uint16)
    pixels = np.asarray(decode(_encode(Image.fromarray(ramp), kind)))[..., 0]
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert abs(float(pixels.mean()) - 127.5) < 1


def test_large_pictures_are_converted_as_in_one_piece() -> None:
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (600, 1100, 4)).astype(np.uint8))
    expected = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    np.testing.assert_array_equal(np.asarray(decode(_encode(rgba, "PNG"))), np.asarray(expected))
    for low, high in ((0, 65536), (0, 200)):
        grey_HW = rng.integers(low, high, (600, 1100)).astype(np.uint16)
        grey_HW[-1, -1] = high - 1  # the last tile has the brightest
        scaled_HW = np.rint(grey_HW * (255 / (65535 if high > 255 else 255))).astype(np.uint8)
        pixels_HWC = np.asarray(decode(_encode(Image.fromarray(grey_HW), "PNG")))
        np.testing.assert_array_equal(pixels_HWC, np.repeat(scaled_HW[..., None], 3, 2))


_PEAK = """
import sys
from pathlib import Path
from trygon.data.images import ResizeMode, preprocess
peak_kb = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
small, large = (open(path, "rb").read() for path in sys.argv[1:])
preprocess(small, 32, ResizeMode.SQUASH)
before_kb = peak_kb()
preprocess(large, 32, ResizeMode.SQUASH)
print(1024 * (peak_kb() - before_kb))
"""


@pytest.mark.parametrize(("mode", "most_bytes"), [("I;16", 7), ("RGBA", 9), ("LA", 9), ("L", 6)])
def test_memory_for_a_picture_is_bounded(mode: str, most_bytes: int, tmp_path: Path) -> None:
    """A PNG of a few kilobytes may claim fifty megapixels: so many bytes of memory for each."""
    num_pixels = 4000 * 4000
    paths = []
    for name, size in (("small", (600, 600)), ("large", (4000, 4000))):
        paths.append(tmp_path / f"{name}.png")
        Image.new(mode, size).save(paths[-1])
    command = [sys.executable, "-c", _PEAK, *map(str, paths)]
    used_bytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert used_bytes < most_bytes * num_pixels


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats(kind: str) -> None:
    assert _mean_error(decode(_encode(PHOTO, kind)), PHOTO) < 12


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"not a picture\n", "not_an_image"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:2], "not_an_image"),
        (_encode(PHOTO, "EPS"), "unsupported"),  # Pillow would call Ghostscript for it
        (_encode(PHOTO, "AVIF"), "unsupported"),
        (_encode(PHOTO, "JPEG2000"), "unsupported"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported"),
        (_encode(PHOTO, "WEBP")[:40], "truncated"),
        (_encode(PHOTO, "PNG")[:-40], "truncated"),
    ],
)
def test_broken_files_have_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage) as caught:
        decode(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize("size", [(15_000, 15_000), (60_000, 60_000), (1, 65_536), (65_536, 1)])
def test_bomb_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    with pytest.raises(BadImage) as caught:
        decode(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    assert caught.value.reason == "too_large"


def test_reduced_decoding_keeps_the_short_side() -> None:
    large = _encode(PHOTO.resize((4800, 3200)), quality=90)
    assert 224 <= min(decode(large, min_side=224).size) < 3200
    assert decode(JPEG, min_side=224).size == PHOTO.size
    full = np.asarray(square(decode(large), 224), np.float64)
    reduced = preprocess(large, 224).transpose(1, 2, 0)
    assert np.abs(full - reduced).mean() < 2


@pytest.mark.parametrize("mode", list(ResizeMode))
@pytest.mark.parametrize("size", [(48, 32), (32, 48), (1, 1), (1000, 3)])
def test_every_shape_becomes_square(mode: ResizeMode, size: tuple[int, int]) -> None:
    image_CHW = preprocess(_encode(PHOTO.resize(size), "PNG"), 64, mode)
    assert image_CHW.shape == (3, 64, 64)
    assert image_CHW.dtype == np.uint8
    assert image_CHW.flags.c_contiguous


def test_modes_of_resizing_differ_where_they_should() -> None:
    wide = Image.new("RGB", (100, 50), "white")
    wide.paste("red", (0, 0, 20, 50))
    corners = {mode: np.asarray(square(wide, 50, mode))[25, 2].tolist() for mode in ResizeMode}
    assert corners[ResizeMode.SQUASH] == [255, 0, 0]
    assert corners[ResizeMode.SHORTEST] == [255, 255, 255]  # the red lies outside the centre
    assert np.asarray(square(wide, 50, ResizeMode.LONGEST))[2, 2].tolist() == [0, 0, 0]
