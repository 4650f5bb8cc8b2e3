"""A Triton's own figures for Prometheus, and what they say of how many requests wait in it."""

import asyncio

import httpx
from prometheus_client.parser import text_string_to_metric_families

from trygon.errors import UserError
from trygon.models.triton_config import ENCODER

_FIGURE = "nv_inference_pending_request_count"
_ASK_S = 2.0
_MOST_BYTES = 1_000_000
"""Triton has some 10 KB to say of each model."""


class TritonFigures:
    """What one Triton tells Prometheus."""

    def __init__(self, address: str) -> None:
        """`address` is that of Triton's metrics, like http://127.0.0.1:8002/metrics. `UserError` where it is none."""
        try:
            self._address = httpx.URL(address)
        except httpx.InvalidURL as error:
            raise UserError(
                f"metrics of Triton {address}: {error}; it is like http://127.0.0.1:8002/metrics"
            ) from error

    async def text(self) -> str:
        """All of it; blank where Triton does not answer in time."""
        try:
            async with asyncio.timeout(_ASK_S):
                return await self._text()
        except (httpx.HTTPError, TimeoutError, ValueError):
            return ""

    async def pending(self) -> int | None:
        """Requests that no image encoder has begun; None where Triton does not say so in time."""
        try:
            return pending_in(await self.text())
        except (ValueError, OverflowError):
            return None

    async def _text(self) -> str:
        # No proxy of the environment lies between, and nothing is encrypted: certificates take time to load.
        client = httpx.AsyncClient(verify=False, trust_env=False, timeout=_ASK_S)
        async with client, client.stream("GET", self._address) as response:
            response.raise_for_status()
            text = bytearray()
            async for part in response.aiter_bytes():
                text += part
                if len(text) > _MOST_BYTES:
                    raise ValueError(f"{self._address} says too much for a Triton")
        return text.decode()


def pending_in(text: str) -> int:
    """The sum over all image encoders. `ValueError` where this is not what a Triton says."""
    families = [it for it in text_string_to_metric_families(text) if it.name == _FIGURE]
    if not families:
        raise ValueError(f"no {_FIGURE}")
    samples = [it for family in families for it in family.samples]
    return int(sum(it.value for it in samples if it.labels.get("model", "").startswith(ENCODER)))
