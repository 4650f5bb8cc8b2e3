"""Taxa by what a person types: any rank, scientific or common, the beginning of a word or something within."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.taxonomy.taxon import RANKS, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree

_MOST_LETTERS = 100


@dataclass(frozen=True)
class TaxonSearch:
    """The named clades of a tree, species included, each known by a key like `5:42`: its rank and number there."""

    tree: TaxonTree

    def find(self, text: str, limit: int = 12) -> list[dict[str, Any]]:
        """The clades that the text calls, the best first: by the whole name, its beginning, a word's, a part of it."""
        wanted = " ".join(text.lower().split())[:_MOST_LETTERS]
        if not wanted:
            return []
        scientific, common = self._texts
        scores = np.zeros(len(scientific), np.int8)
        for names in (scientific, common):
            for score, match in (
                (1, pc.match_substring(names, wanted)),
                (2, pc.match_substring(names, f" {wanted}")),
                (3, pc.starts_with(names, wanted)),
                (4, pc.equal(names, wanted)),
            ):
                np.maximum(scores, np.where(match.to_numpy(zero_copy_only=False), score, 0), out=scores)
        found = np.flatnonzero(scores)
        # Of equal ones the higher clade, then the shorter name: the longer ones appear with a few more letters.
        lengths = pc.utf8_length(scientific).to_numpy()[found]
        best = found[np.lexsort((found, lengths, self._rank_C[found], -scores[found]))][:limit]
        return [self.told(self.taxon_at(int(row)), self._key(int(row))) for row in best]

    def taxon(self, key: str) -> Taxon | None:
        """The clade of a key, None where it is none."""
        rank, _, clade = key.partition(":")
        if not (rank.isdecimal() and clade.isdecimal() and int(rank) < len(RANKS)):
            return None
        starts = self.tree.clade_starts[int(rank)]
        return self.tree.taxon(int(starts[int(clade)])).at(Rank(int(rank))) if int(clade) < len(starts) else None

    def called(self, scientific: str, beside: Taxon) -> dict[str, Any] | None:
        """The clade with exactly that scientific name; of homonyms the one that shares most ranks with `beside`."""
        rows = np.flatnonzero(pc.equal(self._texts[0], scientific.lower()).to_numpy(zero_copy_only=False))
        if not rows.size:
            return None
        row = max(rows.tolist(), key=lambda it: _num_shared(self.taxon_at(it), beside))
        return self.told(self.taxon_at(row), self._key(row))

    def lineage(self, names: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The clades above what a row with rank columns names, and itself, from the kingdom down."""
        taxon = Taxon.from_row(names)
        slices = self.tree.find(taxon.scientific, taxon.rank)
        if not slices:
            return []
        start = next((it.start for it in slices if _is_within(self.tree.taxon(it.start), taxon)), slices[0].start)
        ranks = [rank for rank in Rank if taxon.lineage[rank]]
        return [
            self.told(self.tree.taxon(start).at(rank), f"{rank.value}:{self._number(rank, start)}") for rank in ranks
        ]

    @staticmethod
    def told(taxon: Taxon, key: str) -> dict[str, Any]:
        """A clade as the page has it."""
        return {
            "key": key,
            "scientific": taxon.scientific,
            "common": taxon.common,
            "rank": str(taxon.rank),
            "within": " › ".join(
                taxon.lineage[rank]
                for rank in (Rank.CLASS, Rank.ORDER, Rank.FAMILY)
                if taxon.lineage[rank] and rank != taxon.rank
            ),
        }

    def taxon_at(self, row: int) -> Taxon:
        """The clade in a row of the search's own table."""
        return self.tree.taxon(int(self._start_C[row])).at(Rank(int(self._rank_C[row])))

    def _key(self, row: int) -> str:
        rank = Rank(int(self._rank_C[row]))
        return f"{rank.value}:{self._number(rank, int(self._start_C[row]))}"

    def _number(self, rank: Rank, start: int) -> int:
        return int(self.tree.clade_ids[rank][start])

    @cached_property
    def _clades(self) -> tuple[np.ndarray, np.ndarray]:
        """Of all named clades the rank and the first taxon: two (C,) arrays."""
        starts = [starts[named] for starts, named in zip(self.tree.clade_starts, self.tree.clade_named, strict=True)]
        ranks = [np.full(len(some), rank, np.int8) for rank, some in zip(Rank, starts, strict=True)]
        return np.concatenate(ranks), np.concatenate(starts)

    @property
    def _rank_C(self) -> np.ndarray:
        return self._clades[0]

    @property
    def _start_C(self) -> np.ndarray:
        return self._clades[1]

    @cached_property
    def _texts(self) -> tuple[pa.Array, pa.Array]:
        """Scientific and common names of all clades, in lower case."""
        table = self.tree.table
        scientific, common = [], []
        for rank in Rank:
            rows = pa.array(self._start_C[self._rank_C == rank])
            names = table[RANKS[rank]].take(rows).combine_chunks()
            if rank is Rank.SPECIES:
                names = pc.binary_join_element_wise(table["genus"].take(rows).combine_chunks(), names, " ")
                names = pc.utf8_trim(names, " ")
            # A row of the tree that ends at this rank has the clade's own common name.
            deeper = table[RANKS[rank + 1]].take(rows).combine_chunks() if rank < Rank.SPECIES else None
            own = table["common"].take(rows).combine_chunks()
            common.append(own if deeper is None else pc.if_else(pc.equal(deeper, ""), own, ""))
            scientific.append(names)
        return tuple(pc.utf8_lower(pa.concat_arrays(part)) for part in (scientific, common))  # pyright: ignore[reportReturnType]


def _is_within(taxon: Taxon, wanted: Taxon) -> bool:
    return all(name in ("", other) for name, other in zip(wanted.lineage, taxon.lineage, strict=True))


def _num_shared(taxon: Taxon, other: Taxon) -> int:
    return sum(a == b != "" for a, b in zip(taxon.lineage, other.lineage, strict=True))
