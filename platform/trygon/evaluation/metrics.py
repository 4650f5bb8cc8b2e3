"""Accuracy with its interval and with what guessing would reach. Knows nothing of models."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np

from trygon.taxonomy.taxon import RANKS, Rank, Taxon

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
    """What a sample is, and the candidates in the order of their scores."""

    truth: Taxon
    ranking: tuple[Taxon, ...]


def rank_metrics(predictions: Sequence[Prediction], candidates: Sequence[Taxon]) -> dict[str, float]:
    """For each rank: top1, top5, their intervals, n, and what guessing among the candidates would reach: `chance` at
    once, `chance_top5` in five.

    A prediction counts at a rank where its lineage agrees with the truth down to there. The k best at a rank are the
    first k distinct clades among the ranked candidates.
    """
    metrics: dict[str, float] = {}
    for rank in Rank:
        named = [item for item in predictions if item.truth.lineage[rank]]
        clades = [_clade(candidate, rank) for candidate in candidates]
        for k in (1, 5):
            hits = [_clade(item.truth, rank) in _first_clades(item.ranking, rank, k) for item in named]
            share = float(np.mean(hits)) if hits else 0.0
            low, high = wilson(share, len(hits))
            metrics |= {
                f"{RANKS[rank]}/top{k}": share,
                f"{RANKS[rank]}/top{k}_low": low,
                f"{RANKS[rank]}/top{k}_high": high,
            }
        metrics[f"{RANKS[rank]}/n"] = len(named)
        for k, name in ((1, "chance"), (5, "chance_top5")):
            of_clade = _chances(tuple(clades), k)
            chances = [of_clade.get(_clade(item.truth, rank), 0.0) for item in named]
            metrics[f"{RANKS[rank]}/{name}"] = float(np.mean(chances)) if chances else 0.0
    return metrics


def _clade(taxon: Taxon, rank: Rank) -> tuple[str, ...]:
    return taxon.lineage[: rank + 1]


@lru_cache(maxsize=64)
def _chances(clades: tuple[tuple[str, ...], ...], k: int) -> dict[tuple[str, ...], float]:
    """For each clade, how often it is among the first k distinct ones when the candidates come in random order."""
    counts = Counter(clades)
    size_C = np.asarray(list(counts.values()))
    if k == 1:
        chance_C = size_C / len(clades)
    elif len(counts) <= k:
        chance_C = np.ones(len(counts))
    else:
        # Among exponential waiting times, the first of n comes as one that is n times as fast.
        num_orders = min(_MAX_ORDERS, max(50, _MAX_DRAWS // len(counts)))
        first_PC = np.random.default_rng(0).standard_exponential((num_orders, len(counts))) / size_C
        among = np.argpartition(first_PC, k, axis=1)[:, :k]
        chance_C = np.bincount(among.ravel(), minlength=len(counts)) / num_orders
    return dict(zip(counts, chance_C.tolist(), strict=True))


def _first_clades(ranking: Sequence[Taxon], rank: Rank, k: int) -> list[tuple[str, ...]]:
    found: dict[tuple[str, ...], None] = {}
    for taxon in ranking:
        found.setdefault(_clade(taxon, rank))
        if len(found) == k:
            break
    return list(found)
