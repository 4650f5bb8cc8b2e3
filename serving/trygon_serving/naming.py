"""Which taxa a request means by its names: rows of a tree, found in whole columns at once."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.taxonomy.taxon import RANKS, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree


def taxa_of_names(tree: TaxonTree, names: Sequence[str]) -> list[Taxon | None]:
    """For each name the one taxon that it is the scientific or common name of, whatever its case; None where there is
    none, or several."""
    asked = pa.array([name.strip().lower() for name in names])
    found: list[Taxon | None] = [None] * len(names)
    seen = np.zeros(len(names), bool)
    for rank in (*reversed(Rank), None):
        starts = tree.clade_starts[Rank.SPECIES if rank is None else rank]
        column = tree.table["common"] if rank is None else scientific_names(tree.table.take(pa.array(starts)), rank)
        index_C = pc.index_in(pc.utf8_lower(column), value_set=asked).to_numpy(zero_copy_only=False)
        clades = np.flatnonzero(~np.isnan(index_C.astype(float)))
        hits, counts = np.unique(index_C[clades].astype(int), return_counts=True)
        first = dict(zip(index_C[clades[::-1]].astype(int), clades[::-1], strict=True))
        for hit, count in zip(hits.tolist(), counts.tolist(), strict=True):
            if not seen[hit] and count == 1:
                taxon = tree.taxon(int(starts[first[hit]]))
                found[hit] = taxon if rank is None else taxon.at(rank)
            seen[hit] = True
    # `index_in` tells the first of equal names.
    firsts = {name: place for place, name in reversed(list(enumerate(asked.to_pylist())))}
    return [found[firsts[name]] for name in asked.to_pylist()]


def scientific_names(taxa: pa.Table, rank: Rank) -> pa.ChunkedArray:
    """Scientific names at a rank: binomials at species; blank where a part is missing."""
    if rank is not Rank.SPECIES:
        return taxa[RANKS[rank]]
    whole = pc.and_(pc.not_equal(taxa["genus"], ""), pc.not_equal(taxa["species"], ""))
    return pc.if_else(whole, pc.binary_join_element_wise(taxa["genus"], taxa["species"], " "), "")
