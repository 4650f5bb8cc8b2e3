"""A gallery as it is searched and shown. Reads what `building` wrote, decodes no picture and runs no model.

Shapes: N pictures that can be shown, D the width of vectors.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trygon.errors import UserError
from trygon.gallery.card import PICTURES, GalleryCard, read_card
from trygon.labelling.search import VectorIndex
from trygon.mirror import local_folder
from trygon.schemas import GALLERY
from trygon.storage import join
from trygon.taxonomy.taxon import RANKS, Rank, Taxon

_TOLD = [name for name in GALLERY.names if name not in ("vector", "thumbnail")]


@dataclass(frozen=True)
class Likeness:
    """A picture, how like the query it is, and what is told of it: columns of GALLERY."""

    picture_id: int
    cosine: float
    taxon: Taxon
    row: Mapping[str, Any]


class Gallery:
    """The pictures of a folder that `trygon build-gallery` wrote. Thread-safe."""

    def __init__(self, place: str | Path) -> None:
        """Reads all but vectors and pictures, which are mapped: another state that takes the folder's place changes
        nothing here. `UserError` where it is no whole gallery."""
        self.card: GalleryCard = read_card(place)
        folder = local_folder(join(place, self.card.state))
        try:
            with pa.memory_map(str(folder / PICTURES)) as file:
                self._file = file.read_buffer()
            self._metadata = pq.read_metadata(pa.BufferReader(self._file))
            whole = self._open().read(columns=_TOLD)
            self._index = VectorIndex.load(folder)
        except (OSError, RuntimeError, ValueError, pa.ArrowException) as error:  # faiss's errors are RuntimeErrors
            raise UserError(f"the gallery {place} is damaged ({error}); build it again") from error
        is_shown = pc.is_null(whole["failure"])
        self._table = whole.filter(is_shown)
        self._place_N = np.flatnonzero(is_shown.to_numpy())
        if not np.array_equal(self._table["picture_id"].to_numpy(), self._index.id_N):
            raise UserError(f"the gallery {place} is damaged: its index is of other pictures; build it again")
        sizes = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]
        self._start_G = np.cumsum([0, *sizes])
        self._called, self._shown = _by_name(self._table)

    def __len__(self) -> int:
        return len(self._index)

    def allowed(self, names: Sequence[str]) -> np.ndarray | None:
        """Which pictures bear one of the names, scientific or common, at any rank and in any case: (N,) bool; None
        for all, where no name is given."""
        if not names:
            return None
        allowed_N = np.zeros(len(self), bool)
        for name in names:
            allowed_N[self._called.get(" ".join(name.lower().split()), [])] = True
        return allowed_N

    def showing(self, rank: int, name: str, kingdom: str) -> np.ndarray:
        """Which pictures show a taxon: (N,) bool. Namesakes in another kingdom, or at another rank, are others."""
        allowed_N = np.zeros(len(self), bool)
        for its, rows in self._shown.get((rank, name), {}).items():
            if its == kingdom or not (its and kingdom):
                allowed_N[rows] = True
        return allowed_N

    def nearest(self, vector_D: np.ndarray, k: int, allowed_N: np.ndarray | None = None) -> list[Likeness]:
        """The K pictures most like a vector, of those that `allowed` lets in, best first."""
        found = self._index.nearest(vector_D, k, allowed_N)
        rows = self._table.take(pa.array([row for row, _ in found], pa.int64())).to_pylist()
        return [
            Likeness(row["picture_id"], cosine, Taxon.from_row(row), row)
            for (_, cosine), row in zip(found, rows, strict=True)
        ]

    def thumbnail(self, picture_id: int) -> bytes | None:
        """The JPEG to show, None for an id that is not there."""
        row = self._index.row(picture_id)
        if row is None:
            return None
        place = int(self._place_N[row])
        group = int(np.searchsorted(self._start_G, place, side="right")) - 1
        column = self._open().read_row_group(group, columns=["thumbnail"])["thumbnail"]
        return column[place - int(self._start_G[group])].as_py()

    def _open(self) -> pq.ParquetFile:
        """The file of this state. For one thread: there is no saying that several may read with one."""
        return pq.ParquetFile(pa.BufferReader(self._file), metadata=self._metadata)


_Shown = Mapping[tuple[int, str], Mapping[str, Sequence[int]]]


def _by_name(table: pa.Table) -> tuple[Mapping[str, Sequence[int]], _Shown]:
    """Rows by each name that they bear, in lower case: at the ranks down to genus, binomial, and common name. And by
    rank and scientific name, then by kingdom."""
    called: defaultdict[str, list[int]] = defaultdict(list)
    shown: defaultdict[tuple[int, str], defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, row in enumerate(table.select([*RANKS, "common"]).to_pylist()):
        taxon = Taxon.from_row(row)
        at_ranks = [(rank, taxon.at(rank).scientific) for rank in Rank if taxon.lineage[rank]]
        for name in {name.lower() for name in (*(name for _, name in at_ranks), taxon.common) if name}:
            called[name].append(number)
        for at_rank in at_ranks:
            shown[at_rank][taxon.lineage[Rank.KINGDOM]].append(number)
    return called, shown
