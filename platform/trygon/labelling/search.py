"""Nearest vectors among millions: an index in a folder, memory-mapped. Knows nothing of what the vectors stand for.

Few vectors are compared one by one. Many are sorted into cells around centres, of which a query visits the nearest
(inverted file, with 8 bits a dimension: Jégou et al. 2011, doi:10.1109/TPAMI.2010.57), as faiss has it.

Shapes: N vectors, D their width, K neighbours.
"""

import importlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trygon.errors import UserError
from trygon.ids import Ids

Batches = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
"""Ids (B,) int64 and unit vectors (B, D) of any float type, the same in the same order whenever called."""

_INDEX, _IDS = "vectors.faiss", "ids.npy"
_ONE_BY_ONE = 20_000
"""Up to so many vectors are all compared: it takes a few milliseconds and misses none."""

_CELLS_PER_ROOT = 2
_SAMPLES_PER_CELL = 40
_VISITED = 40
_RARE = 0.1
"""Where less than this share of the vectors is allowed, all cells are visited: they may lie in far ones."""


def _faiss() -> Any:
    # Its functions take other arguments than their signatures say.
    return importlib.import_module("faiss")


@dataclass(frozen=True)
class VectorIndex:
    """Vectors by inner product. `id_N` (N,) int64 are the ids in the order of the rows."""

    id_N: np.ndarray
    index: Any

    @classmethod
    def build(
        cls, folder: Path, batches: Batches, dim: int, num: int, progress: Callable[[int], None] = lambda num: None
    ) -> None:
        """Write an index of `num` vectors of width `dim`. Holds a byte a dimension of each, and a sample."""
        faiss = _faiss()
        index, trained = _empty(faiss, dim, num)
        if trained:
            index.train(_sample(batches(), dim, num, index.nlist * _SAMPLES_PER_CELL))
        ids = np.empty(num, np.int64)
        done = 0
        for id_B, vector_BD in batches():
            index.add(np.ascontiguousarray(vector_BD, np.float32))
            ids[done : done + len(id_B)] = id_B
            done += len(id_B)
            progress(len(id_B))
        assert done == num, "the batches hold as many vectors as was said"
        folder.mkdir(parents=True, exist_ok=True)
        faiss.write_index(index, str(folder / _INDEX))
        np.save(folder / _IDS, ids)

    @classmethod
    def load(cls, folder: Path) -> "VectorIndex":
        """Open what `build` wrote; vectors are read when a query visits them."""
        faiss = _faiss()
        ids = np.load(folder / _IDS, mmap_mode="r", allow_pickle=False)
        index = faiss.read_index(str(folder / _INDEX), faiss.IO_FLAG_MMAP)
        if hasattr(index, "make_direct_map"):
            index.make_direct_map()
        return cls(ids, index)

    def __len__(self) -> int:
        return len(self.id_N)

    @property
    def dim(self) -> int:
        """D."""
        return self.index.d

    @cached_property
    def _ids(self) -> Ids:
        return Ids(np.asarray(self.id_N))

    def row(self, vector_id: int) -> int | None:
        """Where a vector stands, None where it is not there."""
        return self._ids.position(vector_id)

    def vector(self, row: int) -> np.ndarray:
        """A stored vector (D,) float32, to eight bits a dimension where the index is big."""
        return self.index.reconstruct(row)

    def nearest(self, vector_D: np.ndarray, k: int, allowed_N: np.ndarray | None = None) -> list[tuple[int, float]]:
        """Rows and cosines of the K nearest, best first; of those that `allowed_N` (N,) bool lets in. Thread-safe."""
        faiss = _faiss()
        vector_D = np.asarray(vector_D, np.float32)
        if vector_D.shape != (self.dim,):
            raise UserError(f"the query has {vector_D.size} dimensions, the run's vectors have {self.dim}")
        options: dict[str, Any] = {}
        share = 1.0
        if allowed_N is not None:
            if not allowed_N.any():
                return []
            share = float(np.mean(allowed_N))
            bits = np.packbits(allowed_N, bitorder="little")  # faiss keeps a pointer to it
            options["sel"] = faiss.IDSelectorBitmap(bits)
        if hasattr(self.index, "nlist"):
            cells = self.index.nlist
            params = faiss.SearchParametersIVF(**options, nprobe=cells if share < _RARE else min(_VISITED, cells))
        else:
            params = faiss.SearchParameters(**options)
        score_1K, row_1K = self.index.search(vector_D[None], min(k, len(self)), params=params)
        pairs = zip(row_1K[0].tolist(), score_1K[0].tolist(), strict=True)
        return [(row, score) for row, score in pairs if row >= 0]


def _empty(faiss: Any, dim: int, num: int) -> tuple[Any, bool]:
    """An index for so many vectors, and whether it has to be trained."""
    if num <= _ONE_BY_ONE:
        return faiss.IndexFlatIP(dim), False
    cells = _CELLS_PER_ROOT * math.isqrt(num)
    return faiss.index_factory(dim, f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT), True


def _sample(batches: Iterable[tuple[np.ndarray, np.ndarray]], dim: int, num: int, wanted: int) -> np.ndarray:
    """About `wanted` of the vectors, evenly spread over them: neighbouring ones show the same animal."""
    step = max(1, num // wanted)

    def chosen() -> Iterator[np.ndarray]:
        start = 0
        for id_B, vector_BD in batches:
            yield np.asarray(vector_BD[-start % step :: step], np.float32)
            start += len(id_B)

    return np.concatenate([np.empty((0, dim), np.float32), *chosen()])
