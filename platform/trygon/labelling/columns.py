"""Names as columns of a table: clades of a tree to texts, without a Python object a row."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.labelling.decisions import ANIMAL, DECIDED_BY, TYPES, UNKNOWN
from trygon.taxonomy.taxon import RANKS, Rank
from trygon.taxonomy.tree import TaxonTree


@dataclass(frozen=True)
class TaxonTexts:
    """The texts of a tree's clades, each made once."""

    tree: TaxonTree

    def clades(self, rank_B: np.ndarray, clade_B: np.ndarray) -> dict[str, pa.Array]:
        """`rank`, the seven ranks, `scientific` and `common` of clades; null throughout where the rank is -1."""
        named_B = rank_B >= 0
        at_B = np.where(named_B, rank_B, 0)
        position_B = np.zeros(len(rank_B), np.int64)
        for rank in np.unique(at_B):
            rows = at_B == rank
            position_B[rows] = self.tree.clade_starts[rank][clade_B[rows]]
        columns = {"rank": pa.array(RANKS).take(pa.array(at_B, mask=~named_B))}
        for rank, name in enumerate(RANKS):
            columns[name] = self._lineage[rank].take(pa.array(position_B, mask=rank_B < rank))
        place_B = self._offsets[at_B] + self.tree.clade_ids[at_B, position_B]
        columns["scientific"] = self._scientific.take(pa.array(place_B, mask=~named_B))
        whole_B = named_B & (self.tree.deepest[position_B] == rank_B)
        columns["common"] = self._common.take(pa.array(position_B, mask=~whole_B))
        return columns

    def taxa(self, position_M: np.ndarray) -> pa.Array:
        """Scientific names of taxa at positions of the tree."""
        rank_M = np.maximum(self.tree.deepest[position_M], 0)
        return self._scientific.take(pa.array(self._offsets[rank_M] + self.tree.clade_ids[rank_M, position_M]))

    @cached_property
    def _lineage(self) -> list[pa.Array]:
        return [_without_blanks(self.tree.table[rank]) for rank in RANKS]

    @cached_property
    def _common(self) -> pa.Array:
        return _without_blanks(self.tree.table["common"])

    @cached_property
    def _scientific(self) -> pa.Array:
        """Of the clades of all ranks, one after the other: the name at that rank, at species the binomial."""
        names = [
            names.take(pa.array(starts)) for names, starts in zip(self._lineage, self.tree.clade_starts, strict=True)
        ]
        above = [self._lineage[rank] for rank in list(Rank)[: Rank.SPECIES]]
        binomial = pc.binary_join_element_wise(self._lineage[Rank.GENUS], self._lineage[Rank.SPECIES], " ")
        names[Rank.SPECIES] = pc.coalesce(binomial, *above[::-1])
        return pa.concat_arrays(names)

    @cached_property
    def _offsets(self) -> np.ndarray:
        counts = [len(starts) for starts in self.tree.clade_starts]
        return np.cumsum([0, *counts[:-1]])


def type_texts(type_B: np.ndarray) -> pa.Array:
    """Places in `TYPES` to texts."""
    return pa.array(TYPES).take(pa.array(type_B))


def reason_texts(decided_B: np.ndarray) -> pa.Array:
    """Places in `DECIDED_BY` to texts."""
    return pa.array(DECIDED_BY).take(pa.array(decided_B))


def keeps_name(type_B: np.ndarray) -> np.ndarray:
    """Which types have a taxon: (B,) bool."""
    return (type_B == ANIMAL) | (type_B == UNKNOWN)


def _without_blanks(column: pa.ChunkedArray) -> pa.Array:
    texts = column.combine_chunks()
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
