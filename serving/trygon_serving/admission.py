"""How much may be in work at once: what comes on top is refused at once, so that those inside are answered in time.

A slow model gets fewer: no more than it answers within a third of the time that an answer may take.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trygon.limits import Limits
from trygon_serving.problem import Problem

_TITLE, _AGAIN, _RETRY_AFTER_S = "Too many requests wait", "come again in a moment", 1
_LEAST_IMAGES = 8
"""Enough for Triton's next batch."""
_REMEMBERED = 32
"""Images over which the time for one is averaged: they come by the batch."""


class Admission:
    """Counts images and bytes of all requests of one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.requests = 0
        self.images = 0
        self.bytes = 0
        self._image_s = 0.0
        """Between the ends of two images, where something is in work."""
        self._last_s = 0.0
        """When the last image ended."""

    @property
    def most_images(self) -> int:
        """How many images may be in work now."""
        most, wait_s = self._limits.waiting_images, self._limits.answer_s / 3
        if most * self._image_s <= wait_s:
            return most
        return max(min(_LEAST_IMAGES, most), int(wait_s / self._image_s))

    def share_of(self, num_requests: int) -> float:
        """The images of some requests, as a share of those that may be in work now. They have as many each as those
        in work have on average."""
        images_each = self.images / self.requests if self.requests else 1.0
        return num_requests * images_each / self.most_images

    @contextmanager
    def body(self, declared_bytes: int) -> Iterator[Callable[[int], None]]:
        """Room for a body, which grows as it is told of the parts that come: who is slow holds no room for the rest.
        `Problem` 503, at once where the declared size has no room now."""
        if self.images >= self.most_images:
            raise _refusal(is_full=True)
        self._require_room(min(declared_bytes, self._limits.body_bytes))
        held = 0

        def take(num_bytes: int) -> None:
            nonlocal held
            self._require_room(num_bytes)
            self.bytes += num_bytes
            held += num_bytes

        try:
            yield take
        finally:
            self.bytes -= held

    @contextmanager
    def work(self, num_images: int) -> Iterator[None]:
        """Room for the images of a request, where nothing else is in work for any. `Problem` 503."""
        num_free = self.most_images - self.images
        if self.images and num_images > num_free:
            # Or it would come again for ever, while others bring single images.
            fewer = f"images that have room now: {num_free}; send fewer at once, or {_AGAIN}"
            raise _refusal(num_free <= 0, fewer if num_free > 0 else _AGAIN)
        self.requests += 1
        self.images += num_images
        start_s = time.perf_counter()
        try:
            yield
            self._learn(self._since(start_s) / num_images, num_images)
        except (Problem, asyncio.CancelledError) as error:
            # What took too long tells most: without it, as many would be let in again, and none answered in time. It
            # would have taken longer than it did: who goes away early does not make the model a fast one.
            if not isinstance(error, Problem) or error.status == 504:
                self._learn(max(self._image_s, self._since(start_s) / num_images), num_images)
            raise
        finally:
            self.requests -= 1
            self.images -= num_images
            self._last_s = time.perf_counter()

    def _require_room(self, num_bytes: int) -> None:
        if self.bytes + num_bytes > self._limits.held_bytes:
            raise _refusal(is_full=False)

    def _since(self, start_s: float) -> float:
        """Seconds in which no other image ended."""
        return time.perf_counter() - max(self._last_s, start_s)

    def _learn(self, image_s: float, num_images: int) -> None:
        self._image_s += (image_s - self._image_s) * min(1.0, num_images / _REMEMBERED)


def _refusal(is_full: bool, detail: str = _AGAIN) -> Problem:
    """Where it is full, nobody gets in before an image has ended; else there may be room for a smaller request."""
    return Problem(503, _TITLE, detail, retry_after_s=_RETRY_AFTER_S, is_full=is_full)
