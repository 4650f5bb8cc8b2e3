"""The one image preprocessing of training, bulk labelling and serving. uint8 out: normalisation is the model's.

Shapes: H height, W width, S the model's side.
"""

import io
import re
from collections.abc import Callable, Iterator
from enum import StrEnum

import numpy as np
from PIL import ExifTags, Image, ImageOps

MAX_PIXELS = 200_000_000
"""A picture that claims more is refused before it is decoded, unless the caller says otherwise."""

MAX_SIDE = 65_535
"""A picture with a longer side is refused too: a JPEG has none. Resizing makes rows as wide as the model's side before
it makes them fewer: a column of fifty megapixels would take many gigabytes."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow warns of half as many: a hundred megapixels are a picture

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""What is opened, in Pillow's words, whatever a file is called: it would start Ghostscript for some others."""

_TILE = 512
"""The side of what is converted at once."""

_CUT_OFF = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP", re.DOTALL)
"""How pictures begin: a file that begins so and cannot be opened was cut off in its header."""

_UNSUPPORTED = re.compile(
    rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1|avif|avis|crx )"  # HEIC, AVIF, Canon's CR3
    rb"|\0\0\0\x0cJXL |\xff\x0a|\0\0\0\x0cjP  |\xff\x4f\xff\x51"  # JPEG XL, JPEG 2000
    rb"|8BPS|%!PS|\xc5\xd0\xd3\xc6|%PDF|II\*\0....CR|FUJIFILMCCD-RAW|IIU\0",  # Photoshop, PostScript, raw files
    re.DOTALL,
)
"""How pictures of formats begin that are not read here."""


class BadImage(ValueError):  # noqa: N818 - it is data, not a fault of the program
    """A picture that cannot be used; `reason` is one of the words that tables count."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class ResizeMode(StrEnum):
    """How a picture becomes square, in open_clip's words."""

    SHORTEST = "shortest"  # short side to S, then the centre
    SQUASH = "squash"  # both sides to S, as BioCLIP's shards were made
    LONGEST = "longest"  # long side to S, padded


def decode(data: bytes, min_side: int = 0, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """JPEG, PNG, WebP or another picture to an upright RGB image.

    With `min_side`, a JPEG is decoded at a reduced scale whose shorter side is still at least that. What claims more
    than `max_pixels`, or a side of more than `MAX_SIDE`, is refused before it is decoded.
    Raises `BadImage` with reason empty, not_an_image, unsupported, truncated, too_large or undecodable.
    """
    image = opened(data, min_side, max_pixels)
    try:
        image.load()
        return upright_rgb(image)
    except OSError as error:
        reason = "truncated" if "truncated" in str(error).lower() else "undecodable"
        raise BadImage(reason, str(error)) from error
    except Exception as error:
        raise BadImage("undecodable", str(error)) from error


def opened(data: bytes, min_side: int = 0, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A picture of which only the header was read, set to the reduced scale that `decode` speaks of."""
    if not data:
        raise BadImage("empty")
    if _UNSUPPORTED.match(data):
        raise BadImage("unsupported")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadImage("too_large", str(error)) from error
    except Exception as error:
        raise BadImage("truncated" if _CUT_OFF.match(data) else "not_an_image") from error
    if image.width * image.height > max_pixels or max(image.size) > MAX_SIDE:
        raise BadImage("too_large", f"{image.width}x{image.height}")
    if min_side and image.format in ("JPEG", "MPO"):
        scale = min(image.size) / min_side
        image.draft("RGB", (int(image.width / scale), int(image.height / scale)))
    return image


def upright_rgb(image: Image.Image) -> Image.Image:
    """A loaded picture as RGB with 8 bits, turned as its EXIF says, on white where it is transparent."""
    upright = _upright(image)
    if upright.mode.startswith(("I", "F")):
        return _eight_bit(upright)
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        return _by_tiles(upright, _on_white)
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says; as it is where the EXIF is broken, for the pixels are not."""
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image  # which copies what stands upright
    except Exception:
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey with 16 bits or more to 8 bits. Pillow's own conversion clips at 255 and leaves a white picture."""
    highest = np.max([0, *(np.asarray(image.crop(box)).max() for box in _tiles(image))])
    white = 255 if highest <= 255 else max(65535, float(highest))

    def scaled(tile: Image.Image) -> Image.Image:
        grey_HW = np.asarray(tile, np.float64)
        return Image.fromarray(np.clip(np.rint(grey_HW * (255 / white)), 0, 255).astype(np.uint8))

    return _by_tiles(image, scaled)


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)


def _by_tiles(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What becomes of a picture as RGB. The steps between are held of one tile: of a whole picture they would take
    several times its memory."""
    converted = Image.new("RGB", image.size)
    for box in _tiles(image):
        converted.paste(convert(image.crop(box)).convert("RGB"), box)
    return converted


def _tiles(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    for top in range(0, image.height, _TILE):
        for left in range(0, image.width, _TILE):
            yield left, top, min(left + _TILE, image.width), min(top + _TILE, image.height)


def square(image: Image.Image, side: int, mode: ResizeMode = ResizeMode.SHORTEST) -> Image.Image:
    """An RGB image to side × side, bicubic."""
    size = (side, side)
    match mode:
        case ResizeMode.SQUASH:
            return image.resize(size, Image.Resampling.BICUBIC)
        case ResizeMode.SHORTEST:
            return ImageOps.fit(image, size, Image.Resampling.BICUBIC)
        case ResizeMode.LONGEST:
            return ImageOps.pad(image, size, Image.Resampling.BICUBIC)


def to_array(image: Image.Image) -> np.ndarray:
    """An RGB image as uint8, channels first: (3, H, W)."""
    return np.ascontiguousarray(np.asarray(image, np.uint8).transpose(2, 0, 1))


def preprocess(
    data: bytes, side: int, mode: ResizeMode = ResizeMode.SHORTEST, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Encoded bytes to what a model is fed: (3, S, S) uint8. Raises `BadImage`."""
    return to_array(square(decode(data, side, max_pixels), side, mode))


def encode_jpeg(image: Image.Image, quality: int = 90) -> bytes:
    """An RGB image as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
