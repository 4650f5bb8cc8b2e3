"""An encoder inside Triton's Python backend: a copy of this file is `model.py` in the model repository, once for
pictures and once for captions.

Nothing of trygon or torch is imported at the top: the backend's interpreter finds them only after `_extend_path`.
Tensors travel by DLPack: with numpy 2, the backend's own numpy conversions give tensors of zero bytes and no error.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import triton_python_backend_utils as pb_utils  # pyright: ignore[reportMissingImports]

Encode = Callable[[Any], Any]


class TritonPythonModel:
    """uint8 images (B, 3, S, S), or texts as bytes (B, L), to unit vectors (B, D) float32."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model, check that it is what the configuration says, and warm it up."""
        config = json.loads(args["model_config"])
        parameters = {name: entry["string_value"] for name, entry in config["parameters"].items()}
        _extend_path(parameters["python_path"])
        # OpenMP's threads spin where they wait for each other: with the decoding of pictures on the same CPUs, one
        # that was put aside makes all others burn theirs. torch reads this when it is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import numpy as np

        (entry,) = config["input"]
        self.input = entry["name"]
        if parameters["encoder_place"]:
            self.encode, found = _openvino(parameters)
        else:
            on_gpu = args["model_instance_kind"] == "GPU"
            device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
            self.encode, found = _torch(parameters["model"], self.input, device)
        vector_BD = self.encode(np.zeros((1, *entry["dims"]), np.uint8))
        if not np.isfinite(vector_BD).all():
            raise pb_utils.TritonModelException("the encoder is damaged: its vectors are no numbers")
        found |= {"dim": vector_BD.shape[1]}
        wanted = {name: parameters.get(name) for name in found} | {"dim": config["output"][0]["dims"][0]}
        if found != wanted:
            raise pb_utils.TritonModelException(f"the model is not the one of the configuration: {found}, {wanted}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Encode what all requests hold in one batch."""
        import numpy as np

        tensors = [pb_utils.get_input_tensor_by_name(request, self.input) for request in requests]
        arrays = [_array(tensor) for tensor in tensors]
        vector_BD = self.encode(np.concatenate(arrays))
        ends = np.cumsum([len(array) for array in arrays])[:-1]
        return [_response(part) for part in np.split(vector_BD, ends)]


def _torch(model_ref: str, input_name: str, device: str) -> tuple[Encode, dict[str, Any]]:
    """One tower of the model itself, and what is to be as in the configuration."""
    from trygon.models.model import load_model

    model = load_model(model_ref, device)
    is_text = input_name == "text"
    other_tower = "visual" if is_text else "text"
    if hasattr(model.net, other_tower):
        delattr(model.net, other_tower)  # nothing for it comes here, and it can be the larger half

    def encode_texts(byte_BL: Any) -> Any:
        return model.encode_texts([row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in byte_BL])

    found = {"digest": model.digest, "resize_mode": str(model.resize_mode), "side": str(model.side)}
    return encode_texts if is_text else model.encode_images, found


def _openvino(parameters: dict[str, str]) -> tuple[Encode, dict[str, Any]]:
    """The exported image tower, without torch."""
    from trygon.models.encoder_folder import read_card
    from trygon.models.encoders.openvino import GRAPH, OpenVinoEncoder

    place = parameters["encoder_place"]
    card = read_card(place)
    encoder = OpenVinoEncoder(os.path.join(place, GRAPH), os.cpu_count() or 1, num_streams=1)
    return encoder.encode_images, {"digest": card and card.model_digest}


def _array(tensor: Any) -> Any:
    import numpy as np

    if tensor.is_cpu():
        return np.from_dlpack(tensor)
    from torch import from_dlpack

    return from_dlpack(tensor).cpu().numpy()


def _response(vector_BD: Any) -> Any:
    return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("vector", vector_BD.copy())])


def _extend_path(python_path: str) -> None:
    """The backend ignores PYTHONPATH and knows nothing of virtual environments."""
    known = [entry for entry in python_path.split(os.pathsep) if entry and entry not in sys.path]
    # Behind the standard library, before the packages of the base installation.
    packages = ("site-packages", "dist-packages")
    place = next((at for at, entry in enumerate(sys.path) if entry.endswith(packages)), len(sys.path))
    sys.path[place:place] = known
