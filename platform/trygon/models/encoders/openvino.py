"""The image tower as OpenVINO runs it on CPUs, in fp32, bf16 or INT8, from the folder of `trygon export-model`.

In bf16 runs what was exported as fp32, on CPUs that compute in it.
"""

from queue import SimpleQueue
from typing import Any

import numpy as np

from trygon.errors import UserError
from trygon.mirror import local_folder
from trygon.models.encoder_folder import find_exported
from trygon.models.encoders.choice import EncoderChoice
from trygon.models.folder import ImageTower

GRAPH, WEIGHTS = "encoder.xml", "encoder.bin"
_BF16 = "-bf16"
_BATCH = 8
"""Larger ones are not faster, and each size is compiled once: there are at most eight."""


def find(name: str, tower: ImageTower, place: str) -> EncoderChoice:
    """The exported encoder beside the model, or in the folder that was named."""
    if name.endswith(_BF16):  # before a long run begins, and before anybody exports for nothing
        _require_bf16(_runtime().Core())
    choice = find_exported(name, name.removesuffix(_BF16), tower, place)
    _runtime()
    return choice


def load(choice: EncoderChoice, num_threads: int) -> "OpenVinoEncoder":
    """Compile the graph for this machine."""
    graph = str(local_folder(choice.place) / GRAPH)
    return OpenVinoEncoder(graph, num_threads, in_bf16=choice.name.endswith(_BF16))


class OpenVinoEncoder:
    """A compiled graph with a request for each of the threads that call it.

    By default each call runs on a CPU of its own; with fewer streams than threads, on several. `UserError` for bf16
    where the CPU does not compute in it: it would be slower there than fp32.
    """

    def __init__(self, graph: str, num_threads: int, num_streams: int = 0, in_bf16: bool = False) -> None:
        core = _runtime().Core()
        if in_bf16:
            _require_bf16(core)
        num_streams = num_streams or num_threads
        properties = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": num_streams,
            "INFERENCE_NUM_THREADS": num_threads,
            # Newer CPUs would compute in bf16 what was exported as fp32.
            "INFERENCE_PRECISION_HINT": "bf16" if in_bf16 else "f32",
            # Several workers of a machine would pin their threads to the same CPUs.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(graph, "CPU", properties)
        self._in_bf16 = in_bf16
        self._dim = compiled.output(0).get_partial_shape()[1].get_length()
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(num_streams):
            self._requests.put(compiled.create_infer_request())
        # The first pictures go through alone: two threads that are the first at once wait for each other for ever, one
        # with the interpreter's lock, the other with that of a constant in OpenVINO's Python module.
        self.encode_images(np.zeros((_BATCH, *compiled.input(0).get_partial_shape().get_max_shape()[1:]), np.uint8))

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
        if self._in_bf16:  # a length in eight bits is none
            vector_BD /= np.linalg.norm(vector_BD, axis=1, keepdims=True)
        return vector_BD


def _require_bf16(core: Any) -> None:
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UserError("--encoder openvino-bf16: this CPU does not compute in bf16; give openvino or openvino-int8")


def _runtime() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise UserError("OpenVINO is not installed: pip install 'trygon[openvino]'") from error
    return openvino
