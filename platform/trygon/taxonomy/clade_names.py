"""Clades of a tree by their names, or by paths from the kingdom down, which tell them from their namesakes."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from trygon.taxonomy.taxon import RANKS, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree

_MAX_TOLD = 5


def clade_slices(tree: TaxonTree, text: str) -> list[slice]:
    """The clades of a name, or the one of a path from its kingdom down (`Animalia/Chordata`, see `path_of`)."""
    if "/" not in text:
        return tree.find(text.strip())
    inside, rank = slice(0, len(tree)), -1
    for name in text.split("/"):
        step = _below(tree, inside, rank, name)
        if step is None:
            return []
        inside, rank = step
    return [inside]


def path_of(taxon: Taxon) -> str:
    """The names from the kingdom down; blank ranks are left out."""
    return "/".join(name for name in taxon.lineage if name)


def namesake_notes(tree: TaxonTree, clades: Sequence[str]) -> Iterator[str]:
    """What a user has to know of names that clades of several ranks or kingdoms carry: which ones `clade_slices`
    takes, and how to say which is meant."""
    for name in clades:
        found = [(rank, inside) for rank in Rank for inside in tree.find(name.strip(), rank)]
        outer = [(rank, it) for at, (rank, it) in enumerate(found) if not any(_holds(up, it) for _, up in found[:at])]
        taxa = [tree.taxon(inside.start).at(rank) for rank, inside in outer]
        ranks, kingdoms = {rank for rank, _ in outer}, {taxon.lineage[Rank.KINGDOM] for taxon in taxa} - {""}
        if len(ranks) > 1 or len(kingdoms) > 1:
            paths: dict[bool, list[str]] = {True: [], False: []}
            for (rank, _), taxon in zip(outer, taxa, strict=True):
                paths[rank is outer[0][0]].append(path_of(taxon))
            others = f", and not {_told(paths[False])}" if paths[False] else ""
            yield f"--clade {name} is taken for {_told(paths[True])}{others}: give one of these to choose it alone"


def _told(paths: Sequence[str]) -> str:
    return " and ".join(paths[:_MAX_TOLD]) + f" and {len(paths) - _MAX_TOLD} more" * (len(paths) > _MAX_TOLD)


def _holds(outer: slice, inner: slice) -> bool:
    return outer.start <= inner.start and inner.stop <= outer.stop


def _below(tree: TaxonTree, inside: slice, rank: int, name: str) -> tuple[slice, int] | None:
    """The first clade of a name within a clade, at the highest rank that has one."""
    for deeper in range(rank + 1, len(RANKS)):
        first, last = tree.clade_ids[deeper][inside.start], tree.clade_ids[deeper][inside.stop - 1]
        names = tree.table[RANKS[deeper]].take(pa.array(tree.clade_starts[deeper][first : last + 1]))
        place = pc.index(names, name).as_py()
        if place >= 0:
            return tree.clade_slice(Rank(deeper), int(first) + place), deeper
    return None
