"""Accuracy with its interval and with what guessing would reach. Knows nothing of models."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np

from trygon.evaluation.ranking import Ranking
from trygon.taxonomy.taxon import RANKS, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree

_Z95 = 1.959964
_MAX_ORDERS = 4000
"""Random orders for the chance of five guesses: it is then known to about one percent."""
_MAX_DRAWS = 20_000_000


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share seen in `count` trials (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    centre = share + _Z95**2 / (2 * count)
    half = _Z95 * sqrt(share * (1 - share) / count + _Z95**2 / (4 * count**2))
    scale = 1 + _Z95**2 / count
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


@dataclass(frozen=True)
class Prediction:
    """What a sample is, and the candidate with the best score."""

    truth: Taxon
    answer: Taxon


def rank_metrics(truths: Sequence[Taxon], ranking: Ranking, candidates: TaxonTree) -> dict[str, float]:
    """For each rank: top1, top5, their intervals, n, and what guessing among the candidates would reach: `chance` at
    once, `chance_top5` in five.

    A sample counts at a rank where its lineage agrees with the truth down to there. The k best at a rank are the first
    k distinct clades among the ranked candidates.
    """
    metrics: dict[str, float] = {}
    for rank in Rank:
        named = [row for row, truth in enumerate(truths) if truth.lineage[rank]]
        place_B, clade_B = ranking.place_BR[named, rank], ranking.clade_BR[named, rank]
        for k in (1, 5):
            share = float(np.mean(place_B < k)) if named else 0.0
            low, high = wilson(share, len(named))
            metrics |= {
                f"{RANKS[rank]}/top{k}": share,
                f"{RANKS[rank]}/top{k}_low": low,
                f"{RANKS[rank]}/top{k}_high": high,
            }
        metrics[f"{RANKS[rank]}/n"] = len(named)
        sizes = tuple(np.diff(candidates.clade_starts[rank], append=len(candidates)).tolist())
        for k, name in ((1, "chance"), (5, "chance_top5")):
            metrics[f"{RANKS[rank]}/{name}"] = float(np.mean(_chances(sizes, k)[clade_B])) if named else 0.0
    return metrics


@lru_cache(maxsize=64)
def _chances(sizes: tuple[int, ...], k: int) -> np.ndarray:
    """For each clade (C,), how often it is among the first k distinct ones when the candidates come in random order;
    from how many candidates each has."""
    size_C = np.asarray(sizes)
    if k == 1:
        return size_C / size_C.sum()
    if len(sizes) <= k:
        return np.ones(len(sizes))
    # Among exponential waiting times, the first of n comes as one that is n times as fast.
    num_orders = min(_MAX_ORDERS, max(50, _MAX_DRAWS // len(sizes)))
    rng, times_C = np.random.default_rng(0), np.zeros(len(sizes), np.int64)
    for _ in range(num_orders):
        times_C[np.argpartition(rng.standard_exponential(len(sizes)) / size_C, k)[:k]] += 1
    return times_C / num_orders
