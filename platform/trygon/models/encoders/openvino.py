"""The image tower as OpenVINO runs it on CPUs, in fp32 or INT8, from the folder that `trygon export-model` wrote."""

from queue import SimpleQueue
from typing import Any

import numpy as np

from trygon.errors import UserError
from trygon.mirror import local_folder
from trygon.models.encoders.choice import EncoderChoice
from trygon.models.folder import ImageTower
from trygon.models.openvino_folder import GRAPH, encoder_place, read_card
from trygon.storage import absolute

_BATCH = 8
"""Larger ones are not faster, and each size is compiled once: there are at most eight."""


def find(name: str, tower: ImageTower, place: str) -> EncoderChoice:
    """The exported encoder beside the model, or in the folder that was named."""
    folder = absolute(place) if place else encoder_place(tower.ref, name)
    hint = f"trygon export-model --model {tower.ref} --encoder {name}"
    if not folder:
        raise UserError(f"--encoder {name}: say where it lies, {name}:FOLDER; {hint} --out FOLDER makes it")
    card = read_card(folder)
    if card is None:
        raise UserError(f"--encoder {name}: there is none in {folder}; make it: {hint}")
    if card.encoder != name:
        raise UserError(f"--encoder {name}: what lies in {folder} is {card.encoder}")
    if (card.model_digest or card.model) != (tower.digest or tower.ref):
        raise UserError(f"--encoder {name}: {folder} was made of another model; make it again: {hint}")
    _runtime()
    return EncoderChoice(name, tower, folder, f"{name}:{card.digest}")


def load(choice: EncoderChoice, num_threads: int) -> "OpenVinoEncoder":
    """Compile the graph for this machine."""
    return OpenVinoEncoder(str(local_folder(choice.place) / GRAPH), num_threads)


class OpenVinoEncoder:
    """A compiled graph with a request for each of the threads that call it, each on a CPU of its own."""

    def __init__(self, graph: str, num_threads: int) -> None:
        properties = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": num_threads,
            "INFERENCE_NUM_THREADS": num_threads,
            # Newer CPUs would compute in bf16 what was exported as fp32.
            "INFERENCE_PRECISION_HINT": "f32",
            # Several workers of a machine would pin their threads to the same CPUs.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = _runtime().Core().compile_model(graph, "CPU", properties)
        self._dim = compiled.output(0).get_partial_shape()[1].get_length()
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(num_threads):
            self._requests.put(compiled.create_infer_request())

    def encode_images(self, image_BCHW: np.ndarray) -> np.ndarray:
        """uint8 images to unit vectors."""
        vector_BD = np.empty((len(image_BCHW), self._dim), np.float32)
        request = self._requests.get()
        try:
            for start in range(0, len(image_BCHW), _BATCH):
                batch = np.ascontiguousarray(image_BCHW[start : start + _BATCH])
                vector_BD[start : start + len(batch)] = request.infer([batch])[0]
        finally:
            self._requests.put(request)
        return vector_BD


def _runtime() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise UserError("OpenVINO is not installed: pip install 'trygon[openvino]'") from error
    return openvino
