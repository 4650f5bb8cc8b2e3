"""The image encoder behind Triton, over gRPC, from within an event loop."""

from typing import Any

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from trygon.data.images import ResizeMode
from trygon.models.export import ENCODER, INPUT, OUTPUT
from trygon.models.folder import ImageTower
from trygon_serving.wire import Problem

_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is to be found within a second, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.enable_http_proxy", 0),
]

_EXPIRED = "Deadline Exceeded"


class TritonEncoder:
    """A client of one Triton. Make it in the event loop that uses it: its channel belongs to that loop."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._client = triton.InferenceServerClient(address, channel_args=_CHANNEL)
        self._tower: ImageTower | None = None

    async def is_ready(self) -> bool:
        """Whether the encoder would answer now."""
        try:
            return bool(await self._client.is_model_ready(ENCODER, client_timeout=2))
        except InferenceServerException:
            return False

    async def tower(self) -> ImageTower:
        """What the encoder wants and gives, as its configuration says; asked once."""
        if self._tower is None:
            try:
                answer: Any = await self._client.get_model_config(ENCODER, client_timeout=5)
            except InferenceServerException as error:
                raise self._problem(error) from error
            self._tower = _read_config(answer.config)
        return self._tower

    async def encode(self, image_CHW: np.ndarray, timeout_s: float) -> np.ndarray:
        """One uint8 image (3, S, S) to a unit vector (1, D). Raises `Problem` 503 or 504."""
        tensor = triton.InferInput(INPUT, [1, *image_CHW.shape], "UINT8")
        tensor.set_data_from_numpy(image_CHW[None])
        try:
            answer = await self._client.infer(ENCODER, [tensor], client_timeout=timeout_s)
        except InferenceServerException as error:
            raise self._problem(error) from error
        vector_BD = answer.as_numpy(OUTPUT) if answer else None
        if vector_BD is None or vector_BD.shape != (1, (await self.tower()).dim):
            raise Problem(502, "The encoder's answer is broken", f"{ENCODER} gave no vector of the width it declares")
        return vector_BD

    async def close(self) -> None:
        """Close the channel."""
        await self._client.close()

    def _problem(self, error: InferenceServerException) -> Problem:
        if _EXPIRED.lower() in str(error).lower() or "DEADLINE_EXCEEDED" in str(error.status()):
            return Problem(504, "The encoder was too slow", retry_after_s=2)
        if "INVALID_ARGUMENT" in str(error.status()):
            self._tower = None  # another model may have taken its place
        # Starting, stopping, or its queue is full.
        return Problem(503, "The encoder is not available", error.message() or "", retry_after_s=2)


def _read_config(config: Any) -> ImageTower:
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    return ImageTower(
        ref=parameters["ref"],
        digest=parameters["digest"],
        side=int(config.input[0].dims[-1]),
        dim=int(config.output[0].dims[0]),
        resize_mode=ResizeMode(parameters["resize_mode"]),
    )
