"""Searches in the trees of label sets, in threads of their own: those of classification are not theirs to fill."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from trygon_serving.problem import Problem

Found = TypeVar("Found")

_NUM_THREADS, _MOST = 2, 16
"""A search among 800,000 taxa keeps a CPU busy for some 0.4 s: who comes last waits for three seconds."""
_RETRY_AFTER_S = 1


class Lookups:
    """Those of one event loop. What comes on top of so many is refused at once."""

    def __init__(self, most: int = _MOST) -> None:
        self._most, self._num = most, 0
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="lookup")

    async def run(self, search: Callable[[], Found]) -> Found:
        """What a search finds, which nobody waits for any more if it has not begun when its client goes. `Problem`
        503."""
        if self._num >= self._most:
            raise Problem(503, "Too many searches wait", "come again in a moment", retry_after_s=_RETRY_AFTER_S)
        self._num += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, search)
        finally:
            self._num -= 1
