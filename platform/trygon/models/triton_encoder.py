"""An encoder inside Triton's Python backend: a copy of this file is `model.py` in the model repository, once for
pictures and once for captions.

Nothing of trygon or torch is imported at the top: the backend's interpreter finds them only after `_extend_path`.
Tensors travel by DLPack: with numpy 2, the backend's own numpy conversions give tensors of zero bytes and no error.
"""

import json
import os
import sys
from typing import Any

import triton_python_backend_utils as pb_utils  # pyright: ignore[reportMissingImports]


class TritonPythonModel:
    """uint8 images (B, 3, S, S), or texts as bytes (B, L), to unit vectors (B, D) float32."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model, check that it is what the configuration says, and warm it up."""
        config = json.loads(args["model_config"])
        parameters = {name: entry["string_value"] for name, entry in config["parameters"].items()}
        _extend_path(parameters["python_path"])
        import numpy as np

        from trygon.models.model import load_model

        on_gpu = args["model_instance_kind"] == "GPU"
        self.model = load_model(parameters["model"], f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu")
        (entry,) = config["input"]
        self.input, self.encode = entry["name"], self._encode_images
        other_tower = "text"
        if self.input == "text":
            self.encode, other_tower = self._encode_texts, "visual"
        if hasattr(self.model.net, other_tower):
            delattr(self.model.net, other_tower)  # nothing for it comes here, and it can be the larger half
        vector_BD = self.encode(np.zeros((1, *entry["dims"]), np.uint8))
        found = (self.model.digest, str(self.model.resize_mode), str(self.model.side), vector_BD.shape[1])
        wanted = (*(parameters[name] for name in ("digest", "resize_mode", "side")), config["output"][0]["dims"][0])
        if found != wanted:
            raise pb_utils.TritonModelException(f"the model is not the one of the configuration: {found}, {wanted}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Encode what all requests hold in one batch."""
        import numpy as np
        from torch import from_dlpack

        tensors = [pb_utils.get_input_tensor_by_name(request, self.input) for request in requests]
        arrays = [from_dlpack(tensor).cpu().numpy() for tensor in tensors]
        vector_BD = self.encode(np.concatenate(arrays))
        ends = np.cumsum([len(array) for array in arrays])[:-1]
        return [_response(part) for part in np.split(vector_BD, ends)]

    def _encode_images(self, image_BCHW: Any) -> Any:
        return self.model.encode_images(image_BCHW)

    def _encode_texts(self, byte_BL: Any) -> Any:
        return self.model.encode_texts([row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in byte_BL])


def _response(vector_BD: Any) -> Any:
    import torch

    tensor = torch.from_numpy(vector_BD.copy())
    return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("vector", tensor)])


def _extend_path(python_path: str) -> None:
    """The backend ignores PYTHONPATH and knows nothing of virtual environments."""
    known = [entry for entry in python_path.split(os.pathsep) if entry and entry not in sys.path]
    # Behind the standard library, before the packages of the base installation.
    packages = ("site-packages", "dist-packages")
    place = next((at for at, entry in enumerate(sys.path) if entry.endswith(packages)), len(sys.path))
    sys.path[place:place] = known
