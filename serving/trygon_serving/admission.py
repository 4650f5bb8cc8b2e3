"""How much may be in work at once: what comes on top is refused at once, so that those inside are answered in time."""

from collections.abc import Iterator
from contextlib import contextmanager

from trygon_serving.limits import Limits
from trygon_serving.problem import Problem

_RETRY_AFTER_S = 1


class Admission:
    """Counts images and bytes of all requests of one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.images = 0
        self.bytes = 0

    @contextmanager
    def body(self, declared_bytes: int | None) -> Iterator[None]:
        """Room for a body, before it is read: for as much as it may become where it does not say. `Problem` 503."""
        wanted = min(declared_bytes or self._limits.body_bytes, self._limits.body_bytes)
        if self.images >= self._limits.waiting_images or self.bytes + wanted > self._limits.held_bytes:
            raise _busy()
        self.bytes += wanted
        try:
            yield
        finally:
            self.bytes -= wanted

    @contextmanager
    def work(self, num_images: int) -> Iterator[None]:
        """Room for the images of a request. `Problem` 503."""
        if self.images + num_images > self._limits.waiting_images:
            raise _busy()
        self.images += num_images
        try:
            yield
        finally:
            self.images -= num_images


def _busy() -> Problem:
    return Problem(503, "Too many requests wait", "come again in a moment", retry_after_s=_RETRY_AFTER_S)
