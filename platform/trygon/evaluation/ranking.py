"""Scores of candidates to the places that clades come in. Knows nothing of models.

Shapes: B samples, N candidates, C clades of a rank, D the width of the shared space, R = 7 ranks.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trygon.taxonomy.taxon import RANKS, Rank, Taxon

NONE = -1
"""In place of the number of a clade that no candidate is of."""
NEVER = int(np.iinfo(np.int64).max)
"""The place of such a clade."""
_SCORES = 1 << 25
"""Scores that are held at once: 128 MB."""


class Clades:
    """Candidates in the order of their lineages, in which the clades of each rank are runs of neighbours."""

    def __init__(self, candidates: Sequence[Taxon]) -> None:
        self.candidates = tuple(sorted(candidates, key=lambda taxon: taxon.lineage))
        self._lineages = [taxon.lineage for taxon in self.candidates]
        apart_N = np.zeros(len(self._lineages), np.int8)
        for number in range(1, len(self._lineages)):
            apart_N[number] = _first_difference(self._lineages[number - 1], self._lineages[number])
        self._first = [np.flatnonzero(apart_N <= rank) for rank in Rank]
        self.sizes = [tuple(np.diff(first_C, append=len(apart_N)).tolist()) for first_C in self._first]
        """Of each rank, how many candidates its clades have."""

    def numbers(self, taxa: Sequence[Taxon]) -> np.ndarray:
        """The clade of each taxon at each rank (B, R), by its number, or `NONE`."""
        number_BR = np.full((len(taxa), len(RANKS)), NONE, np.int64)
        for row, taxon in enumerate(taxa):
            for rank in Rank:
                clade = taxon.lineage[: rank + 1]
                first = bisect_left(self._lineages, clade)  # a clade comes before all that is in it
                if first < len(self._lineages) and self._lineages[first][: rank + 1] == clade:
                    number_BR[row, rank] = np.searchsorted(self._first[rank], first)
        return number_BR

    def places(self, score_BN: np.ndarray, number_BR: np.ndarray) -> np.ndarray:
        """How many clades come before each of these (B, R), or `NEVER`.

        A clade comes where its best candidate does; of two with the same score, the one whose lineage does.
        """
        place_BR = np.full(number_BR.shape, NEVER, np.int64)
        best_BC, first = score_BN, np.arange(score_BN.shape[1])
        for rank in reversed(Rank):  # the best of a clade is the best of those within it
            if len(self._first[rank]) < len(first):
                best_BC = np.maximum.reduceat(best_BC, np.searchsorted(first, self._first[rank]), axis=1)
                first = self._first[rank]
            for row in np.flatnonzero(number_BR[:, rank] != NONE):
                number, best_C = number_BR[row, rank], best_BC[row]
                before = np.count_nonzero(best_C > best_C[number])
                place_BR[row, rank] = before + np.count_nonzero(best_C[:number] == best_C[number])
        return place_BR


def _first_difference(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    return next((rank for rank in range(len(RANKS)) if one[rank] != other[rank]), len(RANKS))


@dataclass(frozen=True)
class Ranking:
    """What scores say of samples."""

    number_BR: np.ndarray
    """The clades that they are of."""
    place_BR: np.ndarray
    """How many clades come before each of these."""
    best_B: np.ndarray
    """The candidate that comes first, among those of `Clades`."""


def rank_clades(image_BD: np.ndarray, text_ND: np.ndarray, truths: Sequence[Taxon], clades: Clades) -> Ranking:
    """Where the clades of samples come by the product of their vectors with those of `clades.candidates`.

    Beside the vectors it takes some 300 MB, however many samples and candidates there are, and some 20 ms a sample
    among 400,000 on two cores, most of it for the product. A score that is no number is less than all others.
    """
    number_BR = clades.numbers(truths)
    place_BR, best_B = np.empty_like(number_BR), np.empty(len(truths), np.int64)
    chunk = max(1, _SCORES // max(1, len(text_ND)))
    for start in range(0, len(truths), chunk):
        rows = slice(start, start + chunk)
        score_BN = image_BD[rows] @ text_ND.T
        np.fmax(score_BN, -np.inf, out=score_BN)
        place_BR[rows] = clades.places(score_BN, number_BR[rows])
        best_B[rows] = score_BN.argmax(1)
    return Ranking(number_BR, place_BR, best_B)
