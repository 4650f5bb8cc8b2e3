"""What stands behind an organism: ground, leaves, bark, water, sky, drawn by chance alone.

It never depends on the taxon, so that a model has nothing to learn from it.
"""

from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from trygon.data.synthetic.coat import colour, shaded
from trygon.data.synthetic.strokes import Colour

_TILE = 640
KINDS = ("ground", "leaves", "bark", "water", "sky")
_HUES = {"ground": 0.09, "leaves": 0.28, "bark": 0.07, "water": 0.5, "sky": 0.57, "meadow": 0.22}


def background(size: tuple[int, int], rng: np.random.Generator, kind: str = "") -> Image.Image:
    """A scene without organisms, of any of KINDS unless one is named: RGB. `meadow` is ground where nothing lies.

    `size` is (width, height) in pixels, each side at most 600.
    """
    kind = kind or KINDS[rng.integers(len(KINDS))]
    hue = _HUES[kind] + rng.uniform(-0.05, 0.05)
    base = colour(hue, rng.uniform(0.08, 0.4), rng.uniform(0.25, 0.85))
    columns, rows = {"bark": (16, 3), "water": (3, 14), "sky": (3, 3)}.get(kind, (12, 9))
    image = _clouds(size, columns, rows, base, {"sky": 18}.get(kind, 45), rng)
    if kind in ("ground", "leaves"):
        _strew(image, base, kind == "leaves", rng)
    return _grained(image, rng)


def pale_ground(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """The even pale ground of a specimen: RGB."""
    base = colour(rng.uniform(0.1, 0.6), rng.uniform(0.0, 0.06), rng.uniform(0.86, 0.97))
    return _grained(_clouds(size, 3, 3, base, 8, rng), rng, 4)


def lit(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The picture with more or less light and contrast, warmer or colder: RGB."""
    strength, contrast, warmth = rng.uniform(0.75, 1.1), rng.uniform(0.85, 1.1), rng.uniform(-0.06, 0.06)
    factors = strength * np.array([1 + warmth, 1.0, 1 - warmth])
    curve_C256 = ((np.arange(256) - 128) * contrast + 128) * factors[:, None]
    return image.point(np.clip(np.rint(curve_C256), 0, 255).astype(int).ravel().tolist())


def _clouds(
    size: tuple[int, int], columns: int, rows: int, base: Colour, spread: float, rng: np.random.Generator
) -> Image.Image:
    """Soft noise around a colour, brighter towards one side."""
    tone_HW1 = rng.uniform(-spread, spread, (rows, columns, 1))
    left, right = rng.uniform(-spread / 2, spread / 2, 2)
    slope_HW1 = np.linspace(left, right, columns)[None, :, None]
    noise_HWC = np.array(base) + tone_HW1 + slope_HW1 + rng.uniform(-spread / 4, spread / 4, (rows, columns, 3))
    small = Image.fromarray(np.clip(np.rint(noise_HWC), 0, 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.BILINEAR)


def _strew(image: Image.Image, base: Colour, leaves: bool, rng: np.random.Generator) -> None:
    """Blades or stones, all over."""
    draw = ImageDraw.Draw(image)
    number = int(rng.integers(12, 30))
    centre_N2 = rng.uniform(0, image.size, (number, 2))
    length_N1 = rng.uniform(12, 60 if leaves else 22, (number, 1))
    turn_N = rng.uniform(0, 2 * np.pi, number)
    along_N2 = np.stack([np.cos(turn_N), np.sin(turn_N)], axis=1) * length_N1
    across_N2 = np.stack([-np.sin(turn_N), np.cos(turn_N)], axis=1) * length_N1 * (0.2 if leaves else 0.7)
    corners_N42 = np.rint(
        np.stack([centre_N2 - along_N2, centre_N2 - across_N2, centre_N2 + along_N2, centre_N2 + across_N2], axis=1)
    )
    for corners_42, tone in zip(corners_N42, rng.uniform(0.6, 1.3, number), strict=True):
        draw.polygon(corners_42.ravel().tolist(), fill=shaded(base, tone))


def _grained(image: Image.Image, rng: np.random.Generator, strength: int = 14) -> Image.Image:
    """With fine grain: a piece of a noise tile that a process makes once."""
    left, top = (int(rng.integers(_TILE - side + 1)) for side in image.size)
    grain = _noise(strength).crop((left, top, left + image.width, top + image.height))
    return ImageChops.add(image, grain, offset=-strength)


@cache
def _noise(strength: int) -> Image.Image:
    values_HW = np.random.default_rng(7).integers(0, 2 * strength + 1, (_TILE, _TILE), np.uint8)
    return Image.fromarray(values_HW).convert("RGB")
