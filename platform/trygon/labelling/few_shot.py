"""Taxa known by a few labelled pictures of one's own: SimpleShot prototypes (arXiv:1911.04623, CL2N) beside the text
vectors, or instead of them. Knows nothing of files or models.

Shapes: B vectors, D their width, N taxa, E taxa with examples, S examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_WEIGHTS = np.asarray([0.5, 1, 2, 4, 8, 16, 32, 64], np.float32)
DEFAULT_WEIGHT = 16.0
"""Of a similarity to a prototype, where no taxon has two examples to measure it on."""


@dataclass(frozen=True)
class Prototypes:
    """What examples say of some of N taxa.

    Vectors are centred on `mean_D` and brought to unit length; `centroid_ED` are the means of each taxon's examples
    after that, and `taxon_E` its position in the tree. To the score of such a taxon comes
    `weight · (v·c − |c|²/2)`, which orders taxa as the distance to the centroids does. `alone`: the text vectors do
    not count, and no other taxon is a choice.
    """

    mean_D: np.ndarray
    centroid_ED: np.ndarray
    taxon_E: np.ndarray
    num_taxa: int
    weight: float
    alone: bool = False

    @classmethod
    def of(
        cls,
        vector_SD: np.ndarray,
        taxon_S: np.ndarray,
        archive_D: np.ndarray,
        text_SN: np.ndarray,
        alone: bool = False,
    ) -> "Prototypes":
        """From the examples' vectors and taxa, the mean vector of the archive's own crops, and the scores that the
        texts give the examples (S, N).

        The weight is the one under which each example, left out of its prototype, is least surprising.
        """
        taxon_E, class_S = np.unique(taxon_S, return_inverse=True)
        means_ED = _means(vector_SD, class_S, len(taxon_E))
        # Halfway between what all crops share and what the examples share: neither an archive of cows nor examples of
        # a single species leaves a centre that is the animal itself.
        mean_D = (archive_D + means_ED.mean(0)) / 2
        unit_SD = _unit(vector_SD - mean_D)
        weight = _fit(unit_SD, class_S, taxon_E, np.zeros_like(text_SN) if alone else text_SN, alone)
        return cls(mean_D, _means(unit_SD, class_S, len(taxon_E)), taxon_E, text_SN.shape[1], weight, alone)

    def centred(self, vector_BD: np.ndarray) -> np.ndarray:
        """Vectors as the prototypes see them: (B, D)."""
        return _unit(vector_BD - self.mean_D).astype(np.float32)

    def add_to(self, score_BN: np.ndarray, centred_BD: np.ndarray) -> None:
        """Add what the examples say to the scores of their taxa; `alone` leaves the others none."""
        if self.alone:
            score_BN[:, ~self.has_examples] = -np.inf
        score_BN[:, self.taxon_E] += self.weight * _closeness(centred_BD, self.centroid_ED)

    @cached_property
    def has_examples(self) -> np.ndarray:
        """Which taxa have examples: (N,) bool."""
        found_N = np.zeros(self.num_taxa, bool)
        found_N[self.taxon_E] = True
        return found_N


def _fit(unit_SD: np.ndarray, class_S: np.ndarray, taxon_E: np.ndarray, text_SN: np.ndarray, alone: bool) -> float:
    """The weight with the least cross-entropy over the examples whose taxon has another one, each left out in turn."""
    count_E = np.bincount(class_S, minlength=len(taxon_E))
    total_ED = _means(unit_SD, class_S, len(taxon_E)) * count_E[:, None]
    judged = np.flatnonzero(count_E[class_S] > 1)
    if not len(judged) or (alone and len(taxon_E) < 2):
        return DEFAULT_WEIGHT
    losses = np.zeros(len(_WEIGHTS))
    for row in judged:
        centroid_ED = total_ED / count_E[:, None]
        own = class_S[row]
        centroid_ED[own] = (total_ED[own] - unit_SD[row]) / (count_E[own] - 1)
        close_E = _closeness(unit_SD[row : row + 1], centroid_ED)[0]
        for place, weight in enumerate(_WEIGHTS):
            score_N = np.full(text_SN.shape[1], -np.inf) if alone else text_SN[row].astype(np.float64)
            score_N[taxon_E] = text_SN[row, taxon_E] + weight * close_E
            losses[place] += np.logaddexp.reduce(score_N) - score_N[taxon_E[own]]
    return float(_WEIGHTS[int(np.argmin(losses))])


def _closeness(unit_BD: np.ndarray, centroid_ED: np.ndarray) -> np.ndarray:
    """|v - c|² = 1 - 2 v·c + |c|²: less its constant, by -1/2."""
    return unit_BD @ centroid_ED.T - (centroid_ED**2).sum(1) / 2


def _means(vector_SD: np.ndarray, class_S: np.ndarray, num: int) -> np.ndarray:
    total_ED = np.zeros((num, vector_SD.shape[1]), np.float32)
    np.add.at(total_ED, class_S, vector_SD)
    return total_ED / np.bincount(class_S, minlength=num)[:, None]


def _unit(vector_BD: np.ndarray) -> np.ndarray:
    return vector_BD / np.maximum(np.linalg.norm(vector_BD, axis=1, keepdims=True), 1e-12)


def mean_vector(batches: Sequence[np.ndarray], dim: int) -> np.ndarray:
    """The mean of all vectors, zero for none: (D,) float32."""
    num = sum(map(len, batches))
    total_D = sum((batch.astype(np.float32).sum(0) for batch in batches if len(batch)), np.zeros(dim, np.float32))
    return total_D / max(num, 1)
