"""Colours and patterns of a body: the palette that genes make, and how a pattern lies on a tube."""

import colorsys
from dataclasses import dataclass

import numpy as np

from trygon.data.synthetic.genes import Genome
from trygon.data.synthetic.strokes import Canvas, Colour, Tube

PATTERNS = ("plain", "bands", "stripes", "spots", "saddles", "speckles", "tip")


def colour(hue: float, saturation: float, value: float) -> Colour:
    """A colour from hue (turns), saturation and value (0..1)."""
    bright = (min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1, *bright))


def shaded(base: Colour, factor: float) -> Colour:
    """The colour lighter (over 1) or darker (below 1); alpha stays."""
    return (*(min(255, int(channel * factor)) for channel in base[:3]), *base[3:])


@dataclass(frozen=True)
class Coat:
    """The palette and the pattern of one individual."""

    base: Colour
    second: Colour
    accent: Colour
    pattern: str
    density: float
    share: float
    place: float

    @classmethod
    def of(cls, genome: Genome) -> "Coat":
        """The coat that genes make."""
        hue, value = genome["hue"], genome.between("value", 0.35, 0.95)
        # The pattern stands out from the ground: dark on light, light on dark.
        contrast = genome.between("second_value", 0.4, 0.65)
        second_value = value - contrast if value > 0.62 else value + contrast
        return cls(
            base=colour(hue, genome.between("saturation", 0.15, 0.85), value),
            second=colour(hue + genome.between("second_hue", -0.3, 0.3), 0.6, second_value),
            accent=colour(genome["accent_hue"], 0.85, 0.9),
            pattern=PATTERNS[genome.choice("pattern", len(PATTERNS))],
            density=genome["density"],
            share=genome["share"],
            place=genome["place"],
        )


def paint(canvas: Canvas, tube: Tube, coat: Coat, rng: np.random.Generator) -> None:
    """Fill the tube with its ground, its pattern, and a highlight on one side."""
    base, second = coat.base, coat.second
    canvas.polygon(tube.outline(), base)
    canvas.polygon(tube.patch((0.03, 0.97), (0.55, 1.0)), shaded(base, 0.8))
    canvas.polygon(tube.patch((0.12, 0.88), (-0.75, -0.45)), shaded(base, 1.18))
    match coat.pattern:
        case "bands":
            number = 3 + round(8 * coat.density)
            for index in range(number):
                start = (index + 0.3 * coat.place) / number
                canvas.polygon(tube.patch((start, start + (0.3 + 0.4 * coat.share) / number), (-1, 1)), second)
        case "stripes":
            number = 1 + round(3 * coat.density)
            for index in range(number):
                middle = (index + 0.5) / number * 1.7 - 0.85
                half = (0.2 + 0.35 * coat.share) / number
                canvas.polygon(tube.patch((0.04, 0.97), (middle - half, middle + half)), second)
        case "spots":
            _spot(canvas, tube, second, 2 + round(5 * coat.density), 0.25 + 0.2 * coat.share, rng)
        case "saddles":
            number = 1 + round(3 * coat.density)
            for index in range(number):
                start = (index + 0.25 + 0.3 * coat.place) / number
                width = (0.25 + 0.3 * coat.share) / number
                canvas.polygon(tube.patch((start, start + width), (-1, 0.1 + 0.5 * coat.share)), second)
        case "speckles":
            number = 25 + round(45 * coat.density)
            places = tube.at(rng.uniform(0.06, 0.94, number), rng.uniform(-0.85, 0.85, number))
            for place in places:
                canvas.polygon(place + _SPECK * (0.6 + coat.share), second)
        case "tip":
            canvas.polygon(tube.patch((1 - 0.2 - 0.35 * coat.share, 1), (-1, 1)), second)
            canvas.polygon(tube.patch((0.0, 0.05 + 0.2 * coat.density), (-1, 1)), second)


_SPECK = 0.016 * np.array([[-1, 0], [0, -1], [1, 0], [0, 1]])


def _spot(canvas: Canvas, tube: Tube, spot: Colour, columns: int, size: float, rng: np.random.Generator) -> None:
    """Rows of round spots in a jittered grid; they lie in the tube's own coordinates and bend with it."""
    for column in range(columns):
        for row in (-0.5, 0.1, 0.6) if column % 2 else (-0.25, 0.4):
            u = (column + 0.5 + rng.uniform(-0.12, 0.12)) / columns
            v = row + rng.uniform(-0.06, 0.06)
            canvas.polygon(tube.at(u + _ROUND[:, 0] * size / columns, v + _ROUND[:, 1] * size), spot)


_TURN = np.linspace(0, 2 * np.pi, 12, endpoint=False)
_ROUND = np.stack([np.cos(_TURN), 0.8 * np.sin(_TURN)], axis=1)
