"""The image tower behind a Triton server, over gRPC."""

import time
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from trygon.errors import TrygonError, UserError
from trygon.models.encoders.choice import EncoderChoice
from trygon.models.folder import ImageTower, model_key
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
    """The server at `HOST:PORT` (or a socket, `unix:PATH:1`), which must hold that model: under any name, or under
    that of `HOST:PORT/NAME`.

    The identity is that of the encoder which the server runs: its vectors are those that it gives without a server.
    """
    if not place:
        raise UserError("--encoder triton: say where it is: triton:HOST:PORT, the port of its gRPC")
    address, wanted = _parted(place)
    client = triton.InferenceServerClient(address, channel_args=_CHANNEL)
    try:
        held = [(it, _parameters(client, it)) for it in ([wanted] if wanted else _loaded(client))]
    except InferenceServerException as error:
        raise UserError(
            f"--encoder triton:{place} does not answer for {wanted or ENCODER}: {error.message()}"
        ) from error
    finally:
        client.close()
    fitting = {it: about for it, about in held if _key(about) == model_key(tower)}
    if not fitting:
        served = ", ".join(about.get("ref") or it for it, about in held)
        raise UserError(f"--encoder triton:{place} serves {served or 'no encoder'}, not --model {tower.ref}")
    identities = {about.get("encoder") or name for about in fitting.values()}
    if len(identities) > 1:
        raise UserError(
            f"--encoder triton:{place} runs --model {tower.ref} in several ways: choose one with "
            f"{' or '.join(f'triton:{address}/{it}' for it in fitting)}"
        )
    return EncoderChoice(name, tower, f"{address}/{min(fitting)}", identities.pop())


def load(choice: EncoderChoice, num_threads: int) -> "TritonEncoder":
    """A client of the server."""
    address, encoder = _parted(choice.place)
    return TritonEncoder(address, encoder, choice.tower.dim)


def _parted(place: str) -> tuple[str, str]:
    """Address, and what stands behind its port."""
    host, colon, port_and_name = place.rpartition(":")
    port, _, name = port_and_name.partition("/")
    return f"{host}{colon}{port}", name


def _loaded(client: triton.InferenceServerClient) -> list[str]:
    """The image encoders that are ready, whatever stands behind `ENCODER` in their names."""
    index: Any = client.get_model_repository_index(client_timeout=_ASK_S)
    return sorted(it.name for it in index.models if it.state == "READY" and it.name.startswith(ENCODER))


def _parameters(client: triton.InferenceServerClient, encoder: str) -> dict[str, str]:
    answer: Any = client.get_model_config(encoder, client_timeout=_ASK_S)
    return {key: value.string_value for key, value in answer.config.parameters.items()}


def _key(about: dict[str, str]) -> str:
    return about.get("digest") or about.get("ref", "")


class TritonEncoder:
    """Batches to a server and back. What it refuses for being full or away is sent again for a while."""

    def __init__(self, address: str, name: str, dim: int) -> None:
        self._address, self._name, self._dim = address, name, dim
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
                answer = self._client.infer(self._name, [tensor], client_timeout=_ANSWER_S)
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
