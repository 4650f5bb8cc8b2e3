"""The image tower behind a Triton server, over gRPC."""

import time
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from trygon.errors import TrygonError, UserError
from trygon.models.encoders.choice import EncoderChoice
from trygon.models.folder import ImageTower
from trygon.models.triton_config import ENCODER, INPUT, MAX_BATCH, OUTPUT

_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]
_ASK_S, _ANSWER_S = 5.0, 60.0
_PATIENCE_S = 120.0
"""How long a server may be away or full before the run ends; given again, it goes on."""


def find(name: str, tower: ImageTower, place: str) -> EncoderChoice:
    """The server at `HOST:PORT`, which must hold that model."""
    if not place:
        raise UserError("--encoder triton: say where it is: triton:HOST:PORT, the port of its gRPC")
    client = triton.InferenceServerClient(place, channel_args=_CHANNEL)
    try:
        answer: Any = client.get_model_config(ENCODER, client_timeout=_ASK_S)
    except InferenceServerException as error:
        raise UserError(f"--encoder triton:{place} does not answer for {ENCODER}: {error.message()}") from error
    finally:
        client.close()
    parameters = {key: value.string_value for key, value in answer.config.parameters.items()}
    digest, ref = parameters.get("digest", ""), parameters.get("ref", "")
    if (digest or ref) != (tower.digest or tower.ref):
        raise UserError(f"--encoder triton:{place} serves {ref or 'another model'}, not --model {tower.ref}")
    return EncoderChoice(name, tower, place, name)


def load(choice: EncoderChoice, num_threads: int) -> "TritonEncoder":
    """A client of the server."""
    return TritonEncoder(choice.place, choice.tower.dim)


class TritonEncoder:
    """Batches to a server and back. What it refuses for being full or away is sent again for a while."""

    def __init__(self, address: str, dim: int) -> None:
        self._address, self._dim = address, dim
        self._client = triton.InferenceServerClient(address, channel_args=_CHANNEL)

    def encode_images(self, image_BCHW: np.ndarray) -> np.ndarray:
        """uint8 images to unit vectors. `TrygonError` where the server stays away or answers something else."""
        batches = np.split(image_BCHW, range(MAX_BATCH, len(image_BCHW), MAX_BATCH))
        vectors = [self._encode(batch) for batch in batches if len(batch)]
        return np.concatenate(vectors) if vectors else np.zeros((0, self._dim), np.float32)

    def _encode(self, image_BCHW: np.ndarray) -> np.ndarray:
        tensor = triton.InferInput(INPUT, list(image_BCHW.shape), "UINT8")
        tensor.set_data_from_numpy(image_BCHW)
        deadline, pause_s = time.monotonic() + _PATIENCE_S, 0.1
        while True:
            try:
                answer = self._client.infer(ENCODER, [tensor], client_timeout=_ANSWER_S)
                break
            except InferenceServerException as error:
                if time.monotonic() > deadline or "INVALID_ARGUMENT" in str(error.status()):
                    raise TrygonError(f"--encoder triton:{self._address}: {error.message()}") from error
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 5.0)
        vector_BD = answer.as_numpy(OUTPUT) if answer else None
        if vector_BD is None or vector_BD.shape != (len(image_BCHW), self._dim):
            raise TrygonError(f"--encoder triton:{self._address} gave no vectors of the model's width")
        return vector_BD
