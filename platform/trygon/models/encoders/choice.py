"""What an encoder is, before and after it is loaded. Knows none of them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trygon.models.folder import ImageTower


class Encoder(Protocol):
    """A loaded image encoder. Several threads may call it at once."""

    def encode_images(self, image_BCHW: np.ndarray) -> np.ndarray:
        """uint8 images (B, 3, S, S) to unit vectors (B, D) float32; B may be 0."""
        ...


@dataclass(frozen=True)
class EncoderChoice:
    """An encoder of a model, checked but not loaded.

    `place` is its folder or address, blank where the model folder is all it needs. `identity` tells encoders apart
    whose vectors differ: a run folder keeps to one.
    """

    name: str
    tower: ImageTower
    place: str
    identity: str
