"""Text vectors of names in any words: made on Triton, kept for the next request. Bounded."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np

from trygon.models.triton_config import MAX_BATCH
from trygon.taxonomy.captions import TextType, caption
from trygon.taxonomy.taxon import Taxon
from trygon_serving.problem import Problem

_MAX_KEPT = 50_000
_MOST_WAITING, _RETRY_AFTER_S = 16, 2
"""Requests with names that are new: a list of a thousand keeps the text encoder busy for half a minute on a CPU."""

Made = dict[str, np.ndarray]


class Vectors:
    """So many vectors (D,) by name, the least lately used forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()

    def get(self, name: str) -> np.ndarray | None:
        """The vector of a name, if it is still there."""
        if name in self._kept:
            self._kept.move_to_end(name)
        return self._kept.get(name)

    def put(self, name: str, vector_D: np.ndarray) -> None:
        """Keep a copy of a vector: itself, it may hold the whole batch that it is a row of."""
        self._kept[name] = vector_D.copy()
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


class Vocabulary:
    """The vectors of names under one model. For one event loop."""

    def __init__(self, encode_texts: Callable[[Sequence[str], float], Coroutine[Any, Any, np.ndarray]]) -> None:
        """`encode_texts` takes at most `MAX_BATCH` captions, and how many seconds it may take."""
        self._encode_texts = encode_texts
        self._kept = Vectors(_MAX_KEPT)
        self._making: dict[str, asyncio.Task[Made]] = {}
        """The batch that a name is encoded with now."""
        self._num_waiting = 0

    async def vectors(self, names: Sequence[str], timeout_s: float) -> np.ndarray:
        """Unit vectors (N, D) of `a photo of NAME.`. `Problem` 503 where too many requests wait for new ones.

        No name is encoded for two requests at a time: those with the same ones share their batches. What is made is
        kept, also where nobody waits for it any more.
        """
        known = self._known(names)
        if len(known) < len(set(names)):
            if self._num_waiting >= _MOST_WAITING:
                detail = "too many requests have names that are new; come again in a moment"
                raise Problem(503, "Too many names wait", detail, retry_after_s=_RETRY_AFTER_S)
            self._num_waiting += 1
            try:
                while missing := [name for name in dict.fromkeys(names) if name not in known]:
                    # Who goes away leaves the batch to the others.
                    made = await asyncio.shield(self._batch_of(missing, timeout_s))
                    known |= made | self._known(missing)
            finally:
                self._num_waiting -= 1
        return np.stack([known[name] for name in names])

    def _known(self, names: Sequence[str]) -> Made:
        return {name: vector_D for name in names if (vector_D := self._kept.get(name)) is not None}

    def _batch_of(self, missing: Sequence[str], timeout_s: float) -> asyncio.Task[Made]:
        """A batch of these names: those that nobody else has made now, or where there are none that of the first."""
        free = [name for name in missing if name not in self._making][:MAX_BATCH]
        if not free:
            return self._making[missing[0]]
        batch = asyncio.create_task(self._make(free, timeout_s))
        self._making |= dict.fromkeys(free, batch)
        return batch

    async def _make(self, names: Sequence[str], timeout_s: float) -> Made:
        try:
            vector_BD = await self._encode_texts([_caption(name) for name in names], timeout_s)
        finally:
            for name in names:
                del self._making[name]
        for name, vector_D in zip(names, vector_BD, strict=True):
            self._kept.put(name, vector_D)
        return self._known(names)


def _caption(name: str) -> str:
    # What has no lineage is called by its common name, whatever the name is.
    nameless = Taxon.from_row({"common": " ".join(name.split())})
    return caption(nameless, TextType.COM)
