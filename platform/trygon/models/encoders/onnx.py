"""The image tower as ONNX Runtime runs it on CPUs, from the folder of `trygon export-model`."""

from pathlib import Path

import numpy as np

from trygon.errors import UserError
from trygon.mirror import local_folder
from trygon.models.encoder_folder import find_exported
from trygon.models.encoders.choice import EncoderChoice
from trygon.models.folder import ImageTower

GRAPH, WEIGHTS = "model.onnx", "model.onnx.data"
"""As Triton looks for the graph, which knows its weights by their name where they lie beside it."""

_BATCH = 8
"""The session keeps the memory that the largest one took, for each thread."""


def find(name: str, tower: ImageTower, place: str) -> EncoderChoice:
    """The exported encoder beside the model, or in the folder that was named."""
    return find_exported(name, name, tower, place)


def load(choice: EncoderChoice, num_threads: int) -> "OnnxEncoder":
    """Read the graph, and make it ready for this machine."""
    return OnnxEncoder(local_folder(choice.place) / GRAPH)


class OnnxEncoder:
    """A session that any number of threads call, each of which runs the whole graph on a CPU of its own."""

    def __init__(self, graph: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{graph} cannot be loaded: {reason}; remove its folder and export it again") from error
        self._input = self._session.get_inputs()[0].name
        self._dim = int(self._session.get_outputs()[0].shape[1])

    def encode_images(self, image_BCHW: np.ndarray) -> np.ndarray:
        """uint8 images to unit vectors."""
        vector_BD = np.empty((len(image_BCHW), self._dim), np.float32)
        for start in range(0, len(image_BCHW), _BATCH):
            batch = image_BCHW[start : start + _BATCH]
            (found_BD,) = self._session.run(None, {self._input: batch})
            vector_BD[start : start + len(batch)] = np.asarray(found_BD)
        return vector_BD
