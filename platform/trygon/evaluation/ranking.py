"""Scores of candidates to the places that clades come in. Knows nothing of models.

Shapes: B samples, N candidates, C clades of a rank, D the width of the shared space, R = 7 ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trygon.taxonomy.taxon import Rank, Taxon
from trygon.taxonomy.tree import TaxonTree

_SCORES = 1 << 25
"""Scores that are held at once: 128 MB."""


@dataclass(frozen=True)
class Ranking:
    """What scores say of samples."""

    clade_BR: np.ndarray
    """The clades that they are of."""
    place_BR: np.ndarray
    """How many clades come before each of these."""
    best_B: np.ndarray
    """The candidate that comes first, by its position in the tree."""


def rank_clades(image_BD: np.ndarray, text_ND: np.ndarray, truths: Sequence[Taxon], candidates: TaxonTree) -> Ranking:
    """Where the clades of samples come by the product of their vectors with those of the candidates, among which the
    truths are.

    Beside the vectors it takes some 300 MB, however many samples and candidates there are, and some 20 ms a sample
    among 400,000 on two cores, most of it for the product. A score that is no number is less than all others.
    """
    position_B = candidates.locate(truths)
    assert (position_B >= 0).all(), "a sample is named from candidates that hold its own taxon"
    clade_BR = candidates.clade_ids[:, position_B].T
    place_BR, best_B = np.empty(clade_BR.shape, np.int64), np.empty(len(truths), np.int64)
    chunk = max(1, _SCORES // len(text_ND))
    for start in range(0, len(truths), chunk):
        rows = slice(start, start + chunk)
        score_BN = image_BD[rows] @ text_ND.T
        np.fmax(score_BN, -np.inf, out=score_BN)
        place_BR[rows] = _places(candidates, score_BN, clade_BR[rows])
        best_B[rows] = score_BN.argmax(1)
    return Ranking(clade_BR, place_BR, best_B)


def _places(candidates: TaxonTree, score_BN: np.ndarray, clade_BR: np.ndarray) -> np.ndarray:
    """How many clades come before each of these: (B, R).

    A clade comes where its best candidate does; of two with the same score, the one whose lineage does.
    """
    place_BR, best_BC = np.empty(clade_BR.shape, np.int64), score_BN
    for rank in reversed(Rank):  # the best of a clade is the best of those within it
        if rank < Rank.SPECIES:
            best_BC = np.maximum.reduceat(best_BC, candidates.nested_starts[rank], axis=1)
        for row, (clade, best_C) in enumerate(zip(clade_BR[:, rank], best_BC, strict=True)):
            before = np.count_nonzero(best_C > best_C[clade])
            place_BR[row, rank] = before + np.count_nonzero(best_C[:clade] == best_C[clade])
    return place_BR
