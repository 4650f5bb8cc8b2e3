"""Text vectors of names in any words: made on Triton, kept for the next request. Bounded."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from trygon.models.triton_config import MAX_BATCH
from trygon.taxonomy.captions import TextType, caption
from trygon.taxonomy.taxon import Taxon
from trygon_serving.triton import TritonEncoder

_MAX_KEPT = 50_000


class Vocabulary:
    """Vectors by model and name, the least lately used forgotten first. For one event loop."""

    def __init__(self, encoder: TritonEncoder) -> None:
        self._encoder = encoder
        self._kept: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()

    async def vectors(self, names: Sequence[str], timeout_s: float) -> np.ndarray:
        """Unit vectors (N, D) of `a photo of NAME.`. What is made is kept even where the rest takes too long."""
        digest = (await self._encoder.tower()).digest
        known = {name: self._kept[digest, name] for name in names if (digest, name) in self._kept}
        missing = [name for name in dict.fromkeys(names) if name not in known]
        for start in range(0, len(missing), MAX_BATCH):
            batch = missing[start : start + MAX_BATCH]
            vector_BD = await self._encoder.encode_texts([_caption(name) for name in batch], timeout_s)
            fresh = dict(zip(batch, vector_BD, strict=True))
            known |= fresh
            self._kept |= {(digest, name): vector for name, vector in fresh.items()}
        for name in names:
            if (digest, name) in self._kept:
                self._kept.move_to_end((digest, name))
        while len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return np.stack([known[name] for name in names])


def _caption(name: str) -> str:
    # What has no lineage is called by its common name, whatever the name is.
    nameless = Taxon.from_row({"common": " ".join(name.split())})
    return caption(nameless, TextType.COM)
