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
        best = found[np.lexsort((found, lengths, self._clades[0][found], -scores[found]))][:limit]
        return [self._told(*self._clade(row)) for row in best.tolist()]

    def taxon(self, key: str) -> Taxon | None:
        """The clade of a key, None where it is none."""
        rank, _, clade = key.partition(":")
        if not (rank.isdecimal() and clade.isdecimal() and int(rank) < len(RANKS)):
            return None
        starts = self.tree.clade_starts[int(rank)]
        return self._taxon(Rank(int(rank)), int(starts[int(clade)])) if int(clade) < len(starts) else None

    def called(self, scientific: str, beside: Taxon) -> dict[str, Any] | None:
        """The clade with exactly that scientific name; of homonyms the one that shares most ranks with `beside`."""
        rows = np.flatnonzero(pc.equal(self._texts[0], scientific.lower()).to_numpy(zero_copy_only=False))
        if not rows.size:
            return None
        clades = [self._clade(row) for row in rows.tolist()]
        return self._told(*max(clades, key=lambda it: _num_shared(self._taxon(*it), beside)))

    def lineage(self, names: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The clades above what a row with rank columns names, and itself, from the kingdom down."""
        taxon = Taxon.from_row(names)
        slices = self.tree.find(taxon.scientific, taxon.rank)
        if not slices:
            return []
        start = next((it.start for it in slices if _is_within(self.tree.taxon(it.start), taxon)), slices[0].start)
        return [self._told(rank, start) for rank in Rank if taxon.lineage[rank]]

    def _taxon(self, rank: Rank, start: int) -> Taxon:
        """A clade by its rank and its first taxon."""
        return self.tree.taxon(start).at(rank)

    def _told(self, rank: Rank, start: int) -> dict[str, Any]:
        """The same as the page has it."""
        taxon = self._taxon(rank, start)
        return {
            "key": f"{rank.value}:{self.tree.clade_ids[rank][start]}",
            "scientific": taxon.scientific,
            "common": taxon.common,
            "rank": str(taxon.rank),
            "within": " › ".join(
                taxon.lineage[rank]
                for rank in (Rank.CLASS, Rank.ORDER, Rank.FAMILY)
                if taxon.lineage[rank] and rank != taxon.rank
            ),
        }

    def _clade(self, row: int) -> tuple[Rank, int]:
        rank_C, start_C = self._clades
        return Rank(int(rank_C[row])), int(start_C[row])

    @cached_property
    def _clades(self) -> tuple[np.ndarray, np.ndarray]:
        """Of all named clades the rank and the first taxon: two (C,) arrays."""
        starts = [starts[named] for starts, named in zip(self.tree.clade_starts, self.tree.clade_named, strict=True)]
        ranks = [np.full(len(some), rank, np.int8) for rank, some in zip(Rank, starts, strict=True)]
        return np.concatenate(ranks), np.concatenate(starts)

    @cached_property
    def _texts(self) -> tuple[pa.Array, pa.Array]:
        """Scientific and common names of all clades, in lower case."""
        rank_C, start_C = self._clades
        scientific, common = [], []
        for rank in Rank:
            taxa = self.tree.table.take(pa.array(start_C[rank_C == rank])).combine_chunks()
            names, own = taxa[RANKS[rank]], taxa["common"]
            if rank is Rank.SPECIES:
                names = pc.utf8_trim(pc.binary_join_element_wise(taxa["genus"], names, " "), " ")
            else:  # a row of the tree that ends at this rank has the clade's own common name
                own = pc.if_else(pc.equal(taxa[RANKS[rank + 1]], ""), own, "")
            scientific += names.chunks
            common += own.chunks
        return tuple(pc.utf8_lower(pa.concat_arrays(part)) for part in (scientific, common))  # pyright: ignore[reportReturnType]


def _is_within(taxon: Taxon, wanted: Taxon) -> bool:
    return all(name in ("", other) for name, other in zip(wanted.lineage, taxon.lineage, strict=True))


def _num_shared(taxon: Taxon, other: Taxon) -> int:
    return sum(a == b != "" for a, b in zip(taxon.lineage, other.lineage, strict=True))
