"""How long each stage of a request takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from trygon_serving.traces import Traces


class Stopwatch:
    """Milliseconds spent in each stage of a request, which are spans where there are traces."""

    def __init__(self, path: str, traces: Traces | None) -> None:
        """`path` is the one that was asked."""
        self.path, self._traces = path, traces
        self._start = time.perf_counter()
        self._spent: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        try:
            with self._traces.stage(name) if self._traces else nullcontext():
                yield
        finally:
            self._spent[name] = 1000 * (time.perf_counter() - start)

    @property
    def timings_ms(self) -> dict[str, float]:
        """The stages and the total."""
        total = 1000 * (time.perf_counter() - self._start)
        return {name: round(value, 2) for name, value in (self._spent | {"total": total}).items()}
