"""What training does to a picture: a crop and, half the time, its mirror image. Knows what a crop is and how to cut it
out; not who draws it. The rest is as in `images`.

Shapes: S the model's side, H height, W width.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate, pad

from trygon.data.images import ResizeMode, decode


@dataclass(frozen=True)
class Crop:
    """A part of a picture at the picture's own aspect: the share of both sides, and where in the room that is left."""

    share: float = 1.0
    x: float = 0.5
    y: float = 0.5
    mirrored: bool = False


def draw_crop(area: tuple[float, float], rng: random.Random) -> Crop:
    """A crop whose share of the area lies between the two."""
    return Crop(rng.uniform(*area) ** 0.5, rng.random(), rng.random(), rng.random() < 0.5)


def augment(data: bytes, side: int, mode: ResizeMode, crop: Crop) -> np.ndarray:
    """Encoded bytes to the crop, as a model is fed: (3, S, S) uint8. Raises `BadImage`.

    The whole picture as a crop is what `images.preprocess` gives, but for one grey level of rounding and for the half
    pixel at which that may cut. Bicubic with antialiasing as Pillow has it, which torch does in a third of the time.
    """
    # A reduced decode, too, leaves the crop at least as large as what is made of it.
    image = decode(data, min_side=math.ceil(side / crop.share))
    width, height = round(image.width * crop.share) or 1, round(image.height * crop.share) or 1
    left, top = round((image.width - width) * crop.x), round((image.height - height) * crop.y)
    target_height = target_width = side
    if mode is ResizeMode.SHORTEST:
        short = min(width, height)
        left, top, width, height = left + (width - short) // 2, top + (height - short) // 2, short, short
    elif mode is ResizeMode.LONGEST:
        scale = side / max(width, height)
        target_height, target_width = round(height * scale) or 1, round(width * scale) or 1
    # A copy, for torch wants to own what it reads.
    pixels_HWC = np.array(np.asarray(image)[top : top + height, left : left + width])
    planes_1CHW = torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None]
    if (height, width) != (target_height, target_width):
        planes_1CHW = interpolate(planes_1CHW, (target_height, target_width), mode="bicubic", antialias=True)
    if crop.mirrored:
        planes_1CHW = planes_1CHW.flip(3)
    if mode is ResizeMode.LONGEST:
        before, above = round((side - target_width) / 2), round((side - target_height) / 2)
        planes_1CHW = pad(planes_1CHW, (before, side - target_width - before, above, side - target_height - above))
    return planes_1CHW[0].numpy()
