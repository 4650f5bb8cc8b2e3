"""What training does to a picture: a crop and, where that is wanted, its mirror image half the time. Knows what a crop
is, how it is drawn and how to cut it out; not what it is drawn from. The rest is as in `images`.

Shapes: S the model's side, H height, W width.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate, pad

from trygon.data.images import ResizeMode, decode

_ATTEMPTS = 10
"""As torchvision's RandomResizedCrop has them."""


@dataclass(frozen=True)
class Crop:
    """A part of a picture: the root of its share of the area, where in the room that is left, and the ratio of its
    width to its height beside the picture's own."""

    share: float = 1.0
    x: float = 0.5
    y: float = 0.5
    mirrored: bool = False
    ratio: float = 1.0

    @property
    def width(self) -> float:
        """Share of the picture's width."""
        return self.share * self.ratio**0.5

    @property
    def height(self) -> float:
        """Share of the picture's height."""
        return self.share / self.ratio**0.5


def draw_crop(area: tuple[float, float], ratio: tuple[float, float], mirror: bool, rng: random.Random) -> Crop:
    """A crop whose share of the area and whose ratio lie between the two of each; its mirror image half the time.

    Of a square it is drawn as RandomResizedCrop does, which open_clip trains with: what would not fit is drawn again.
    """
    share, stretch = area[1] ** 0.5, 1.0
    for _ in range(_ATTEMPTS):
        drawn = Crop(rng.uniform(*area) ** 0.5, ratio=_between(ratio, rng))
        if max(drawn.width, drawn.height) <= 1:
            share, stretch = drawn.share, drawn.ratio
            break
    return Crop(share, rng.random(), rng.random(), mirror and rng.random() < 0.5, stretch)


def _between(ratio: tuple[float, float], rng: random.Random) -> float:
    least, most = ratio
    return math.exp(rng.uniform(math.log(least), math.log(most))) if least < most else least


def augment(data: bytes, side: int, mode: ResizeMode, crop: Crop) -> np.ndarray:
    """Encoded bytes to the crop, as a model is fed: (3, S, S) uint8. Raises `BadImage`.

    A crop of another ratio than the picture's is stretched to that, and then fitted as the picture would be. The whole
    picture as a crop is what `images.preprocess` gives, but for one grey level of rounding and for the half pixel at
    which that may cut. Bicubic with antialiasing as Pillow has it, which torch does in a third of the time.
    """
    # A reduced decode, too, leaves the crop at least as large as what is made of it.
    image = decode(data, min_side=math.ceil(side / min(crop.width, crop.height)))
    width, height = round(image.width * crop.width) or 1, round(image.height * crop.height) or 1
    left, top = round((image.width - width) * crop.x), round((image.height - height) * crop.y)
    target_height = target_width = side
    stretch = crop.ratio**0.5
    if mode is ResizeMode.SHORTEST:
        short = min(width / stretch, height * stretch)
        cut_width, cut_height = round(short * stretch) or 1, round(short / stretch) or 1
        left, top = left + (width - cut_width) // 2, top + (height - cut_height) // 2
        width, height = cut_width, cut_height
    elif mode is ResizeMode.LONGEST:
        scale = side / max(width / stretch, height * stretch)
        target_height, target_width = round(height * stretch * scale) or 1, round(width / stretch * scale) or 1
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
