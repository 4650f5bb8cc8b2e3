"""What can still be seen of a picture that was cut off: its upper part, and how large that is."""

import numpy as np
from PIL import Image

from trygon.data.images import BadImage, opened, upright_rgb

_GREY = 128


def salvage(data: bytes, min_side: int = 0) -> tuple[Image.Image, float]:
    """What was decoded of a truncated picture, upright RGB with one colour for the missing rows, and its share (0..1).

    The decoder fills a canvas of noise: rows that are still noise were never reached. Of a progressive JPEG no row is
    whole before the last one: its share is 0. Raises `BadImage` where not even the header can be read.
    """
    image = opened(data, min_side)
    try:
        # What a format knows only when it loads (a palette, a reduced scale) is set before the canvas is laid.
        image.load_prepare()  # pyright: ignore[reportAttributeAccessIssue]
        canvas = _noise(image.mode, image.size)
        image.im.paste(canvas.im, (0, 0, *image.size))
        try:
            image.load()
        except (OSError, SyntaxError):
            image.tile = []  # pyright: ignore[reportAttributeAccessIssue]  # what was decoded is all there is
        missing_H = (_rows(image) == _rows(canvas)).all(1)
        image.paste(Image.new(image.mode, image.size, _grey(image)), (0, 0), _mask(missing_H, image.width))
        return upright_rgb(image), 1 - float(missing_H.mean())
    except Exception as error:
        raise BadImage("truncated", str(error)) from error


def _noise(mode: str, size: tuple[int, int]) -> Image.Image:
    """The same noise for the same size, in any mode."""
    count = len(Image.new(mode, (1, 1)).tobytes()) * size[0] * size[1]
    if mode == "1":
        count = (size[0] + 7) // 8 * size[1]
    return Image.frombytes(mode, size, np.random.default_rng(0).integers(1, 255, count, np.uint8).tobytes())


def _rows(image: Image.Image) -> np.ndarray:
    """(H, bytes of a row) uint8."""
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, -1)


def _grey(image: Image.Image) -> int | tuple[int, ...]:
    return _GREY if len(image.getbands()) == 1 else (_GREY,) * len(image.getbands())


def _mask(row_H: np.ndarray, width: int) -> Image.Image:
    return Image.fromarray(np.repeat(row_H[:, None], width, 1).astype(np.uint8) * 255)
