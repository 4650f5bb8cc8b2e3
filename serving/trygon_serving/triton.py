"""The encoders behind Triton, over gRPC, from within an event loop."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from trygon.data.images import ResizeMode
from trygon.models.folder import ImageTower
from trygon.models.triton_config import ENCODER, INPUT, OUTPUT, TEXT_ENCODER, TEXT_INPUT, text_array
from trygon_serving.journal import LOGGER
from trygon_serving.problem import Problem

CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is to be found within a second, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.enable_http_proxy", 0),
]
"""How a channel to Triton behaves."""

LOAD_S, _LOAD_TEXT_S = 600.0, 120.0
"""A load that Triton has not answered by then is asked for anew. Our own Triton is started again long before, where it
hangs: see `stall`. Another one may hang as well, and whoever gives names waits for the text encoder."""
_LOAD_WAIT_S = 10
_BROKEN = "The encoder's answer is broken"
_EXPIRED = "Deadline Exceeded"

log = logging.getLogger(LOGGER)


class Connected:
    """A client of a Triton. Its channel belongs to the event loop that first uses it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._opened: triton.InferenceServerClient | None = None

    @property
    def _client(self) -> triton.InferenceServerClient:
        if self._opened is None:
            self._opened = triton.InferenceServerClient(self.address, channel_args=CHANNEL)
        return self._opened

    async def close(self) -> None:
        """Close the channel."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None


class TritonEncoder(Connected):
    """A client of one model, which gives vectors of width `dim`."""

    def __init__(self, address: str, dim: int, name: str = ENCODER) -> None:
        super().__init__(address)
        self.dim, self.name = dim, name
        self._loading: asyncio.Task[None] | None = None

    async def is_ready(self) -> bool:
        """Whether an image would be encoded now."""
        try:
            return bool(await self._client.is_model_ready(self.name, client_timeout=2))
        except InferenceServerException:
            return False

    async def encode(self, image_BCHW: np.ndarray, timeout_s: float) -> np.ndarray:
        """uint8 images (B, 3, S, S), at most `MAX_BATCH`, to unit vectors (B, D). Raises `Problem` 502, 503 or 504."""
        return await self._infer(self.name, INPUT, image_BCHW, timeout_s)

    async def encode_texts(self, texts: Sequence[str], timeout_s: float) -> np.ndarray:
        """Captions, at most `MAX_BATCH`, to unit vectors (B, D). Raises `Problem` 502, 503 or 504."""
        await self._require_texts()
        return await self._infer(text_name(self.name), TEXT_INPUT, text_array(texts), timeout_s)

    async def close(self) -> None:
        """End a load that goes on, and close the channel."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        await super().close()

    async def _require_texts(self) -> None:
        """Have the text encoder loaded, which our own Triton leaves out when it starts. `Problem` 503 meanwhile."""
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load(text_name(self.name)))
        try:
            # Who asked goes away in the end; the loading goes on.
            await asyncio.wait_for(asyncio.shield(self._loading), _LOAD_WAIT_S)
        except TimeoutError as error:
            raise Problem(503, "The text encoder is being loaded", retry_after_s=5) from error
        except InferenceServerException as error:
            if is_expired(error):
                title, detail = "The text encoder is not available", "Triton has not answered in time"
                raise Problem(503, title, detail, retry_after_s=5) from error
            raise _problem(error) from error

    async def _load(self, model: str) -> None:
        if not await self._client.is_model_ready(model, client_timeout=5):
            await self._client.load_model(model, client_timeout=_LOAD_TEXT_S)

    async def _infer(self, model: str, input_name: str, array: np.ndarray, timeout_s: float) -> np.ndarray:
        tensor = triton.InferInput(input_name, list(array.shape), "UINT8")
        tensor.set_data_from_numpy(array)
        try:
            answer = await self._client.infer(model, [tensor], client_timeout=timeout_s)
        except InferenceServerException as error:
            raise _problem(error) from error
        vector_BD = answer.as_numpy(OUTPUT) if answer else None
        if vector_BD is None or vector_BD.shape != (len(array), self.dim):
            raise Problem(502, _BROKEN, f"{model} gave no vector of the width it declares")
        if not np.isfinite(vector_BD).all():
            raise Problem(502, _BROKEN, f"{model} gave a vector that is no numbers")
        return vector_BD


def _problem(error: InferenceServerException) -> Problem:
    if is_expired(error):
        return Problem(504, "The encoder was too slow", retry_after_s=2)
    # Starting, stopping, or its queue is full. What it says names addresses and folders, which are no client's affair.
    log.warning("Triton: %s", error.message())
    return Problem(503, "The encoder is not available", "it starts, or has too much to do", retry_after_s=2)


def is_expired(error: InferenceServerException) -> bool:
    """Whether Triton did not answer in time."""
    return _EXPIRED.lower() in str(error).lower() or "DEADLINE_EXCEEDED" in str(error.status())


def text_name(name: str) -> str:
    """The text encoder beside an image encoder."""
    return name.replace(ENCODER, TEXT_ENCODER, 1)


def tower_of(config: Any) -> ImageTower:
    """What the configuration of an image encoder says of it."""
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    return ImageTower(
        ref=parameters["ref"],
        digest=parameters["digest"],
        side=int(config.input[0].dims[-1]),
        dim=int(config.output[0].dims[0]),
        resize_mode=ResizeMode(parameters["resize_mode"]),
    )
