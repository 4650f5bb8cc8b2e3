"""Encoded pictures to arrays, in threads of their own: a few at once, so that memory is bounded. Nothing is kept."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from trygon.data.images import BadImage, preprocess
from trygon.models.folder import ImageTower
from trygon_serving.problem import Problem

_STATUS_OF_REASON = {"too_large": 413, "not_an_image": 415, "unsupported": 415}
"""HTTP status of a `BadImage`'s reason; 422 for all others."""

_MAX_SCANS = 100
"""A progressive JPEG has some ten. Each further one costs a pass over all pixels, for a few bytes."""

_START_OF_SCAN = b"\xff\xda"


class Pictures:
    """Decodes and resizes for one model at a time."""

    def __init__(self, max_pixels: int) -> None:
        self.max_pixels = max_pixels
        self._threads = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")

    async def decode(self, images: Sequence[bytes], tower: ImageTower) -> list[np.ndarray | Problem]:
        """Each image as uint8 (3, S, S), or why it cannot be used."""
        loop = asyncio.get_running_loop()
        tasks = [loop.run_in_executor(self._threads, self._decode, data, tower) for data in images]
        return await asyncio.gather(*tasks)

    def _decode(self, data: bytes, tower: ImageTower) -> np.ndarray | Problem:
        try:
            _check(data)
            return preprocess(data, tower.side, tower.resize_mode, self.max_pixels)
        except BadImage as error:
            status = _STATUS_OF_REASON.get(error.reason, 422)
            return Problem(status, "The image cannot be used", str(error).replace("_", " "))


def _check(data: bytes) -> None:
    """`BadImage` for what is no JPEG, PNG or WebP from its first byte, and for a JPEG that is made to cost time."""
    if not data:
        raise BadImage("empty")
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    if not (is_webp or data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))):
        raise BadImage("not_an_image", "JPEG, PNG and WebP are")
    if data.startswith(b"\xff\xd8") and data.count(_START_OF_SCAN) > _MAX_SCANS:
        raise BadImage("undecodable", f"more than {_MAX_SCANS} scans")
