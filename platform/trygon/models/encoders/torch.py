"""The image tower as PyTorch runs it, on a GPU where this process has one: in fp32, or in bf16."""

from typing import TYPE_CHECKING, Any

import numpy as np

from trygon.errors import UserError
from trygon.models.encoders.choice import EncoderChoice
from trygon.models.folder import ImageTower

if TYPE_CHECKING:
    from trygon.models.model import Model

# torch is imported by what loads: a command that only names this encoder answers at once.
_BATCH = 32


def find(name: str, tower: ImageTower, place: str) -> EncoderChoice:
    """The model itself."""
    if place:
        raise UserError(f"--encoder {name}:{place}: {name} runs the model itself and takes no place")
    return EncoderChoice(name, tower, "", name)


def load(choice: EncoderChoice, num_threads: int) -> "TorchEncoder":
    """Load the model's image tower."""
    import torch

    from trygon.models.model import load_described

    # Each of the threads that call is busy with its own batch: more threads in an operation would only wait for them.
    torch.set_num_threads(1)
    return TorchEncoder(load_described(choice.tower), choice.name == "torch-bf16")


class TorchEncoder:
    """A model of which only the image tower is kept."""

    def __init__(self, model: "Model", bf16: bool) -> None:
        net: Any = model.net
        if hasattr(net, "text"):
            del net.text  # the larger half of some models
        self._model, self._bf16 = model, bf16

    def encode_images(self, image_BCHW: np.ndarray) -> np.ndarray:
        """uint8 images to unit vectors."""
        import torch

        if not len(image_BCHW):
            return np.zeros((0, 0), np.float32)
        # Entered here: autocast belongs to a thread.
        with torch.autocast(self._model.device.type, torch.bfloat16, enabled=self._bf16):
            return self._model.encode_images(image_BCHW, _BATCH)
