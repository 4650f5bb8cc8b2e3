"""Looks as genes: numbers from 0 to 1 that each node of the tree inherits and changes. Knows nothing of drawing.

What a rank governs, it changes strongly; what lies deeper, it leaves alone. So species of a genus share their palette
and the kind of their pattern, genera of a family their proportions, orders of a class the number of their parts.
"""

from functools import lru_cache

import numpy as np

from trygon.storage import stable_id
from trygon.taxonomy.taxon import Rank

# How far a node at each rank moves from its parent (standard deviations), and an individual from its species.
#            phylum class order family genus species individual
_STRUCTURE = (0.60, 0.40, 0.24, 0.05, 0.00, 0.000, 0.000)
_PROPORTION = (0.30, 0.18, 0.16, 0.22, 0.06, 0.025, 0.015)
_HUE = (0.60, 0.10, 0.08, 0.16, 0.15, 0.055, 0.008)
_TONE = (0.20, 0.08, 0.08, 0.12, 0.20, 0.090, 0.020)
_PATTERN = (0.60, 0.20, 0.20, 0.25, 0.50, 0.000, 0.000)
_DETAIL = (0.20, 0.10, 0.10, 0.15, 0.25, 0.180, 0.015)

_GROUPS = {
    _STRUCTURE: ("limbs", "wings", "parts", "form", "tail_form"),
    _PROPORTION: (
        "length",
        "girth",
        "taper",
        "head",
        "limb_length",
        "limb_width",
        "wing_length",
        "wing_width",
        "tail",
    ),
    _HUE: ("hue",),
    _TONE: ("saturation", "value", "second_hue", "second_value", "accent_hue"),
    _PATTERN: ("pattern", "mark"),
    _DETAIL: ("density", "share", "place"),
}

GENES = tuple(name for names in _GROUPS.values() for name in names)
_SPREAD = np.array([spread for spread, names in _GROUPS.items() for _ in names]).T
_CIRCULAR = np.array([name.endswith("hue") for name in GENES])


class Genome:
    """The genes of a node or an individual by name: `genome["limbs"]` is a number from 0 to 1."""

    __slots__ = ("_values",)

    def __init__(self, values_G: np.ndarray) -> None:
        self._values = dict(zip(GENES, values_G.tolist(), strict=True))

    def __getitem__(self, gene: str) -> float:
        return self._values[gene]

    def between(self, gene: str, low: float, high: float) -> float:
        """The gene as a number in a range."""
        return low + (high - low) * self._values[gene]

    def choice(self, gene: str, count: int) -> int:
        """The gene as one of `count` kinds."""
        return min(int(self._values[gene] * count), count - 1)


def _folded(values_G: np.ndarray) -> np.ndarray:
    """Back into 0..1: hues go round, what passes another border turns back at it."""
    turned_G = np.abs((values_G + 1) % 2 - 1)
    return np.where(_CIRCULAR, values_G % 1, turned_G)


@lru_cache(maxsize=8192)
def _inherited(seed: int, prefix: tuple[str, ...]) -> np.ndarray:
    """Genes of the node that a lineage prefix names: (G,). A kingdom's are all in the middle."""
    rank = len(prefix) - 1
    if rank == Rank.KINGDOM:
        return np.full(len(GENES), 0.5)
    rng = np.random.default_rng([seed, stable_id("genes", *prefix)])
    return _folded(_inherited(seed, prefix[:-1]) + rng.standard_normal(len(GENES)) * _SPREAD[rank - 1])


def individual(seed: int, lineage: tuple[str, ...], rng: np.random.Generator) -> Genome:
    """One individual of the species that the seven names are."""
    genes_G = _inherited(seed, lineage)
    return Genome(_folded(genes_G + rng.standard_normal(len(GENES)) * _SPREAD[-1]))
