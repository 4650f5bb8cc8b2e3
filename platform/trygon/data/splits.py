"""Which pictures train, which are held back, and which clades training never sees: from hashes and the seed alone.

A picture's split does not depend on what else is curated, on an order, or on a run, with two exceptions: stratified
validation looks at the other pictures of a species, and what belongs to a held-out clade is what any picture's names
say. Knows nothing of pixels. Shapes: N pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.errors import UserError
from trygon.storage import stable_id
from trygon.taxonomy.taxon import RANKS, Rank

TRAIN, VAL, UNSEEN, TRAIN_SMALL = "train", "val", "unseen", "train_small"


@dataclass(frozen=True)
class SplitRule:
    """What is held back. Shares are of 1; `clades` are names at any rank, or binomials."""

    seed: int = 0
    val: float = 0.05
    stratify: bool = False
    holdout: float = 0.0
    holdout_rank: Rank = Rank.SPECIES
    clades: tuple[str, ...] = ()


def share_of(seed: int, *parts: str) -> float:
    """A number in 0..1 made of a seed and texts: what is held out stays so when other things come or go."""
    return stable_id(str(seed), *parts) / 2**63


def lineage_ids(lineages: pa.Table) -> np.ndarray:
    """A number for each distinct lineage: (N,) int64. Homonyms differ: their lineages do."""
    ids_N = np.zeros(lineages.num_rows, np.int64)
    for name in RANKS:
        codes_N = lineages[name].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        _, ids_N = np.unique(ids_N * (codes_N.max(initial=0) + 1) + codes_N, return_inverse=True)
    return ids_N


def depths(lineages: pa.Table) -> np.ndarray:
    """The deepest named rank: (N,), -1 for a blank lineage."""
    depth = np.full(lineages.num_rows, -1)
    for rank, name in enumerate(RANKS):
        depth[pc.not_equal(lineages[name], "").to_numpy()] = rank
    return depth


def names_at(lineages: pa.Table, rank: Rank) -> pa.ChunkedArray:
    """The names at a rank, of species the binomials: (N,), null where there is none."""
    columns = [lineages[name] for name in RANKS[min(rank, Rank.GENUS) : rank + 1]]
    nothing = pa.scalar(None, pa.string())
    return pc.binary_join_element_wise(*(pc.if_else(pc.equal(it, ""), nothing, it) for it in columns), " ")


def held_out(lineages: pa.Table, rule: SplitRule) -> np.ndarray:
    """Pictures of clades that training never sees: (N,) bool. `UserError` for a clade that nothing belongs to."""
    held_N = np.zeros(lineages.num_rows, bool)
    if rule.holdout:
        rank, word = rule.holdout_rank, str(rule.holdout_rank)
        # By the name alone: with a draw for each lineage, a clade that sources place differently would be drawn often.
        names = pc.unique(names_at(lineages, rank)).drop_null().to_pylist()
        held_N |= _within(lineages, rank, [it for it in names if share_of(rule.seed, word, it) < rule.holdout])
    for name in rule.clades:
        shown_N = of_clade(lineages, name)
        if not shown_N.any():
            raise UserError(f"no picture belongs to the held-out clade {name}: see its spelling in the sources' names")
        held_N |= shown_N
    return held_N


def of_clade(lineages: pa.Table, name: str) -> np.ndarray:
    """Pictures of the clades that carry a name at any rank, or of a binomial: (N,) bool."""
    return np.logical_or.reduce([_within(lineages, rank, [name]) for rank in Rank])


def _within(lineages: pa.Table, rank: Rank, names: Sequence[str]) -> np.ndarray:
    """Pictures of the clades with these names at a rank, and of all that any picture puts into them: (N,) bool.

    One source leaves a family blank or names another where the next says Felidae: all have its genera and species.
    """
    within_N = _are_among(names_at(lineages, rank), pa.array(names, pa.string()))
    for below in list(Rank)[rank + 1 :] if within_N.any() else ():
        own = names_at(lineages, below)
        within_N |= _are_among(own, own.filter(pa.array(within_N)))
    return within_N


def _are_among(names: pa.ChunkedArray, wanted: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Which names are among the wanted ones; what has no name never is: (N,) bool."""
    return pc.is_in(names, value_set=pc.unique(wanted), skip_nulls=True).to_numpy()


def may_show(lineages: pa.Table, held_N: np.ndarray) -> np.ndarray:
    """Pictures named above a held-out clade that might show it, by their deepest name: (N,) bool. They are for no
    split."""
    doubt_N, depth_N = np.zeros(len(held_N), bool), depths(lineages)
    for rank in Rank if held_N.any() else ():
        names = names_at(lineages, rank)
        doubt_N |= (depth_N == rank) & _are_among(names, names.filter(pa.array(held_N)))
    return doubt_N & ~held_N


def assign_splits(pictures: pa.Table, held_N: np.ndarray, rule: SplitRule) -> np.ndarray:
    """The split of each picture: (N,) of str. `pictures` has source, source_id and the rank columns."""
    sources, ids = pictures["source"].to_pylist(), pictures["source_id"].to_pylist()
    shares_N = np.asarray([share_of(rule.seed, "photo", *pair) for pair in zip(sources, ids, strict=True)])
    val_N = _stratified(pictures, shares_N, rule.val) if rule.stratify else shares_N < rule.val
    return np.where(held_N, UNSEEN, np.where(val_N, VAL, TRAIN))


def _stratified(pictures: pa.Table, shares_N: np.ndarray, val: float) -> np.ndarray:
    """The share `val` of each species, at least one picture of those with two; only pictures named to the species."""
    species_N = lineage_ids(pictures)
    order = np.lexsort((shares_N, species_N))
    _, starts, counts = np.unique(species_N[order], return_index=True, return_counts=True)
    place_N = np.empty(len(order), np.int64)
    place_N[order] = np.arange(len(order)) - np.repeat(starts, counts)
    wanted = np.where(counts > 1, np.maximum(np.rint(val * counts), 1), 0)
    named_N = depths(pictures) == Rank.SPECIES
    return named_N & (place_N < np.repeat(wanted, counts)[np.argsort(order)]) & (val > 0)


def subset(pictures: pa.Table, splits_N: np.ndarray, size: int, seed: int) -> np.ndarray:
    """The `size` training pictures with the lowest hashes, in all their views: (N,) bool; all of them where there
    are fewer."""
    train = np.flatnonzero(splits_N == TRAIN)
    ids = pc.binary_join_element_wise(pictures["source"], pictures["source_id"], "\0").take(pa.array(train))
    distinct = ids.combine_chunks().dictionary_encode()
    shares = np.asarray([share_of(seed, "subset", name) for name in distinct.dictionary.to_pylist()])
    is_low = np.zeros(len(shares), bool)
    is_low[np.argsort(shares, kind="stable")[:size]] = True
    chosen_N = np.zeros(len(splits_N), bool)
    chosen_N[train] = is_low[distinct.indices.to_numpy()]
    return chosen_N
