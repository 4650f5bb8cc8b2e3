"""A canvas in the units of a body, and the tube that limbs, petals and trunks are made of. Knows no organism."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, ...]
"""Red, green, blue and, where it is not opaque, alpha."""

OVERSAMPLING = 2
"""Pixels of a canvas for each pixel of the picture: the edges become smooth when it is reduced."""


@dataclass(frozen=True)
class Pose:
    """How a body stands before the camera. `matrix` (2, 2) turns, flips, shears; `tilt` (2,) is the perspective."""

    matrix: np.ndarray
    tilt: np.ndarray


class Canvas:
    """A transparent square that shows the body's plane from -1 to 1 in both axes, as the pose has it."""

    def __init__(self, side: int, pose: Pose, ground: Colour) -> None:
        # Not RGBA: Pillow weighs its colours with alpha when it reduces, which takes as long as all the drawing. Where
        # nothing is drawn is the ground's colour without alpha, so that edges have no dark seam.
        self.image = Image.new("RGBX", (side * OVERSAMPLING, side * OVERSAMPLING), (*ground[:3], 0))
        self._draw = ImageDraw.Draw(self.image)
        self._half = side * OVERSAMPLING / 2
        self._matrix = pose.matrix.T * self._half
        self._tilt = pose.tilt

    def _place(self, points_N2: np.ndarray) -> list[float]:
        pixels_N2 = points_N2 @ self._matrix / (1 + points_N2 @ self._tilt)[:, None] + self._half
        # Whole pixels: the last bits of a sine must not decide on which side of an edge a pixel lies.
        return np.rint(pixels_N2).ravel().tolist()

    def polygon(self, points_N2: np.ndarray, colour: Colour) -> None:
        """Fill the polygon."""
        self._draw.polygon(self._place(points_N2), fill=colour)

    def line(self, points_N2: np.ndarray, width: float, colour: Colour) -> None:
        """Draw a line, its width in body units."""
        self._draw.line(self._place(points_N2), fill=colour, width=max(2, round(width * self._half)), joint="curve")

    def disc(self, centre: Sequence[float] | np.ndarray, radius: float, colour: Colour, squash: float = 1.0) -> None:
        """Fill an ellipse; `squash` is its height by its width."""
        self.polygon(np.asarray(centre) + _CIRCLE * (radius, radius * squash), colour)

    def finished(self) -> Image.Image:
        """The picture, with smooth edges: RGBA."""
        small = self.image.reduce(OVERSAMPLING)
        return Image.frombuffer("RGBA", small.size, small.tobytes(), "raw", "RGBA", 0, 1)


_ANGLES = np.linspace(0, 2 * np.pi, 18, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_STEPS = np.linspace(0, 1, 17)


class Tube:
    """A shape around a curved spine. `u` runs along it from 0 to 1, `v` across it from -1 to 1."""

    def __init__(self, spine_N2: np.ndarray, width_N: np.ndarray) -> None:
        tangent_N2 = np.gradient(spine_N2, axis=0)
        tangent_N2 /= np.hypot(tangent_N2[:, 0], tangent_N2[:, 1])[:, None] + 1e-9
        half_N2 = np.stack([-tangent_N2[:, 1], tangent_N2[:, 0]], axis=1) * width_N[:, None]
        self._table_N4 = np.concatenate([spine_N2, half_N2], axis=1)

    @classmethod
    def grown(
        cls, start: Sequence[float] | np.ndarray, angle: float, length: float, profile_N: np.ndarray, bend: float = 0.0
    ) -> "Tube":
        """From a point in a direction (radians), bent by an angle on its way; `profile_N` is half its width."""
        angles_N = angle + bend * _STEPS
        steps_N2 = np.stack([np.cos(angles_N), np.sin(angles_N)], axis=1) * (length / (len(_STEPS) - 1))
        steps_N2[0] = start
        return cls(np.cumsum(steps_N2, axis=0), profile_N)

    def at(self, u: np.ndarray | float, v: np.ndarray | float) -> np.ndarray:
        """Points of the shape: (..., 2)."""
        place = np.clip(u, 0, 1) * (len(self._table_N4) - 1)
        low = np.minimum(place.astype(np.int64), len(self._table_N4) - 2)
        share = (place - low)[..., None]
        row = self._table_N4[low] * (1 - share) + self._table_N4[low + 1] * share
        return row[..., :2] + row[..., 2:] * np.asarray(v)[..., None]

    def outline(self) -> np.ndarray:
        """The whole shape as a polygon: (N, 2)."""
        spine_N2, half_N2 = self._table_N4[:, :2], self._table_N4[:, 2:]
        return np.concatenate([spine_N2 - half_N2, (spine_N2 + half_N2)[::-1]])

    def patch(self, u: tuple[float, float], v: tuple[float, float]) -> np.ndarray:
        """The part between two places along and two across, as a polygon: (N, 2)."""
        # A straight part needs few corners, a spiral many.
        number = max(6, round((u[1] - u[0]) * len(self._table_N4) * (1 if len(self._table_N4) > len(_STEPS) else 0.5)))
        along_M = np.linspace(*u, number)
        return np.concatenate([self.at(along_M, v[0]), self.at(along_M[::-1], v[1])])


def oval(width: float, front: float = 0.5, back: float = 0.5) -> np.ndarray:
    """Half widths of an egg-like profile; a small `front` or `back` makes that end blunt: (N,)."""
    profile_N = _STEPS**front * (1 - _STEPS) ** back
    return width * profile_N / profile_N.max()


def cone(start: float, end: float) -> np.ndarray:
    """Half widths that change evenly from one to another: (N,)."""
    return start + (end - start) * _STEPS
