"""Text vectors of names in any words: made on Triton, kept for the next request. Bounded."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from trygon.models.triton_config import MAX_BATCH
from trygon.taxonomy.captions import TextType, caption
from trygon.taxonomy.taxon import Taxon
from trygon_serving.triton import TritonEncoder

_MAX_KEPT = 50_000


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

    def __init__(self, encoder: TritonEncoder) -> None:
        self._encoder = encoder
        self._kept = Vectors(_MAX_KEPT)

    async def vectors(self, names: Sequence[str], timeout_s: float) -> np.ndarray:
        """Unit vectors (N, D) of `a photo of NAME.`. What is made is kept even where the rest takes too long."""
        known = {name: vector_D for name in names if (vector_D := self._kept.get(name)) is not None}
        missing = [name for name in dict.fromkeys(names) if name not in known]
        for start in range(0, len(missing), MAX_BATCH):
            batch = missing[start : start + MAX_BATCH]
            vector_BD = await self._encoder.encode_texts([_caption(name) for name in batch], timeout_s)
            for name, vector_D in zip(batch, vector_BD, strict=True):
                known[name] = vector_D
                self._kept.put(name, vector_D)
        return np.stack([known[name] for name in names])


def _caption(name: str) -> str:
    # What has no lineage is called by its common name, whatever the name is.
    nameless = Taxon.from_row({"common": " ".join(name.split())})
    return caption(nameless, TextType.COM)
