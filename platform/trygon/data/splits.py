"""Which pictures train, which are held back, and which clades training never sees: from hashes and the seed alone.

A picture's split does not depend on what else is curated, on an order, or on a run; only stratified validation looks
at the other pictures of a species. Knows nothing of pixels. Shapes: N pictures.
"""

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


def prefix_ids(lineages: pa.Table) -> np.ndarray:
    """For each rank, a number for the lineage down to it: (7, N). Homonyms differ: their lineages do."""
    ids = np.zeros((len(RANKS), lineages.num_rows), np.int64)
    above = np.zeros(lineages.num_rows, np.int64)
    for rank, name in enumerate(RANKS):
        codes = lineages[name].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        _, above = np.unique(above * (codes.max(initial=0) + 1) + codes, return_inverse=True)
        ids[rank] = above
    return ids


def depths(lineages: pa.Table) -> np.ndarray:
    """The deepest named rank: (N,), -1 for a blank lineage."""
    depth = np.full(lineages.num_rows, -1)
    for rank, name in enumerate(RANKS):
        depth[pc.not_equal(lineages[name], "").to_numpy()] = rank
    return depth


def held_out(lineages: pa.Table, rule: SplitRule) -> np.ndarray:
    """Pictures of clades that training never sees: (N,) bool. `UserError` for a clade that nothing belongs to."""
    held_N = np.zeros(lineages.num_rows, bool)
    if rule.holdout:
        ids_N = prefix_ids(lineages)[rule.holdout_rank]
        _, first, inverse = np.unique(ids_N, return_index=True, return_inverse=True)
        rows = lineages.select(RANKS).take(first).to_pylist()
        clades = [tuple(row.values())[: rule.holdout_rank + 1] for row in rows]
        word = str(rule.holdout_rank)
        # A clade without a name at the rank is none: what belongs to it is not known.
        chosen = [bool(clade[-1]) and share_of(rule.seed, word, *clade) < rule.holdout for clade in clades]
        held_N |= _of_same_name(lineages, rule.holdout_rank, np.asarray(chosen, bool)[inverse])
    for name in rule.clades:
        shown_N = of_clade(lineages, name)
        if not shown_N.any():
            raise UserError(f"no picture belongs to the held-out clade {name}: see its spelling in the sources' names")
        held_N |= shown_N
    return held_N


def _of_same_name(lineages: pa.Table, rank: Rank, held_N: np.ndarray) -> np.ndarray:
    """All pictures of a name that is held out for some: sources disagree on what stands above it. (N,) bool."""
    names = lineages[RANKS[rank]] if rank < Rank.SPECIES else _binomials(lineages)
    named_N = pc.not_equal(lineages[RANKS[rank]], "").to_numpy()
    held = pc.unique(names.filter(pa.array(held_N)))
    return named_N & pc.is_in(names, value_set=held).to_numpy()


def _binomials(lineages: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(lineages[RANKS[Rank.GENUS]], lineages[RANKS[Rank.SPECIES]], " ")


def of_clade(lineages: pa.Table, name: str) -> np.ndarray:
    """Pictures of the clades that carry a name at any rank, or of a binomial: (N,) bool."""
    hits = [pc.equal(lineages[rank], name) for rank in RANKS[: Rank.SPECIES]]
    return np.logical_or.reduce([hit.to_numpy() for hit in (*hits, pc.equal(_binomials(lineages), name))])


def may_show(lineages: pa.Table, held_N: np.ndarray) -> np.ndarray:
    """Pictures named above a held-out clade that might show it: (N,) bool. They are for no split."""
    if not held_N.any():
        return np.zeros(len(held_N), bool)
    ids, depth_N = prefix_ids(lineages), depths(lineages)
    doubt_N = np.zeros(len(held_N), bool)
    for rank in Rank:
        at_rank_N = (depth_N == rank) & ~held_N
        doubt_N |= at_rank_N & np.isin(ids[rank], np.unique(ids[rank][held_N & (depth_N > rank)]))
    return doubt_N


def assign_splits(pictures: pa.Table, held_N: np.ndarray, rule: SplitRule) -> np.ndarray:
    """The split of each picture: (N,) of str. `pictures` has source, source_id and the rank columns."""
    sources, ids = pictures["source"].to_pylist(), pictures["source_id"].to_pylist()
    shares_N = np.asarray([share_of(rule.seed, "photo", *pair) for pair in zip(sources, ids, strict=True)])
    val_N = _stratified(pictures, shares_N, rule.val) if rule.stratify else shares_N < rule.val
    return np.where(held_N, UNSEEN, np.where(val_N, VAL, TRAIN))


def _stratified(pictures: pa.Table, shares_N: np.ndarray, val: float) -> np.ndarray:
    """The share `val` of each species, at least one picture of those with two; only pictures named to the species."""
    species_N = prefix_ids(pictures)[Rank.SPECIES]
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
