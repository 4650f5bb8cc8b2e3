"""The tree of a label set, to search and to browse. Whole columns at once; a page of the result."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.taxonomy.clade_names import clade_slices, path_of
from trygon.taxonomy.taxon import Rank
from trygon.taxonomy.tree import TaxonTree
from trygon_serving.answers import RANK_NAMES
from trygon_serving.naming import scientific_names
from trygon_serving.problem import Problem
from trygon_serving.wire import TaxaPage, TaxonItem

Found = tuple[Rank, np.ndarray]
"""A rank, and the numbers of some of its clades."""


def page_of(tree: TaxonTree, found: Iterable[Found], labels: str, offset: int, limit: int) -> TaxaPage:
    """A page of clades, in the order in which they were found."""
    pairs = [(rank, clades) for rank, clades in found if len(clades)]
    total = sum(len(clades) for _, clades in pairs)
    items: list[TaxonItem] = []
    skipped = offset
    for rank, clades in pairs:
        chosen = clades[skipped : skipped + limit - len(items)]
        skipped = max(0, skipped - len(clades))
        items += [_item(tree, rank, int(clade)) for clade in chosen]
    after = offset + len(items)
    return TaxaPage(taxa=items, total=total, next=after if items and after < total else None, labels=labels)


def children(tree: TaxonTree, path: str) -> list[Found]:
    """The clades right below one, or the kingdoms for a blank path; where a rank is blank, those of the next one."""
    inside, above = slice(0, len(tree)), -1
    if path := path.strip():
        slices = clade_slices(tree, path)
        if not slices:
            raise Problem(404, "No such clade", f"{path!r} is not in the label set")
        inside = slices[0]
        above = _rank_of(tree, inside, path)
    uncovered_N = np.ones(inside.stop - inside.start, bool)
    found: list[Found] = []
    for rank in list(Rank)[above + 1 :]:
        ids_N = tree.clade_ids[rank][inside]
        clades = np.unique(ids_N[uncovered_N])
        clades = clades[tree.clade_named[rank][clades]]
        uncovered_N &= ~np.isin(ids_N, clades)
        found.append((rank, clades))
    return found


def search(tree: TaxonTree, text: str, rank: Rank | None) -> list[Found]:
    """Clades whose scientific or common name is, begins with or holds a text, in this order; case does not matter."""
    wanted = text.strip().lower()
    found: list[list[Found]] = [[], [], []]
    for at in Rank if rank is None else [rank]:
        starts = tree.clade_starts[at]
        names = pc.utf8_lower(scientific_names(tree.table, at).take(pa.array(starts)))
        grade_C = _grades(names, wanted)
        if at is Rank.SPECIES:
            grade_C = np.minimum(grade_C, _grades(pc.utf8_lower(tree.table["common"]), wanted))
        grade_C[~tree.clade_named[at]] = len(found)
        for grade, ranks in enumerate(found):
            ranks.append((at, np.flatnonzero(grade_C == grade)))
    return [it for ranks in found for it in ranks]


def _grades(names: pa.ChunkedArray, wanted: str) -> np.ndarray:
    """0 where a name is the text, 1 where it begins with it, 2 where it holds it, else 3."""
    tests = (pc.equal(names, wanted), pc.starts_with(names, wanted), pc.match_substring(names, wanted))
    return np.select([it.to_numpy() for it in tests], [0, 1, 2], 3)


def _rank_of(tree: TaxonTree, inside: slice, path: str) -> Rank:
    """The rank of a clade that carries a name: the one at which it is called so, and is no wider."""
    name = path.rsplit("/", 1)[-1]
    taxon = tree.taxon(inside.start)
    for rank in reversed(Rank):
        is_it = name in (taxon.lineage[rank], taxon.at(rank).scientific)
        if is_it and tree.clade_slice(rank, int(tree.clade_ids[rank][inside.start])) == inside:
            return rank
    raise Problem(404, "No such clade", f"{path!r} is not in the label set")


def _item(tree: TaxonTree, rank: Rank, clade: int) -> TaxonItem:
    inside = tree.clade_slice(rank, clade)
    taxon = tree.taxon(inside.start).at(rank)
    return TaxonItem(
        rank=RANK_NAMES[rank],
        scientific=taxon.scientific,
        common=taxon.common,
        path=path_of(taxon),
        num_taxa=inside.stop - inside.start,
    )
