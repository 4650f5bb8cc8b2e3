"""Taxa known by a few labelled pictures of one's own: SimpleShot prototypes (arXiv:1911.04623, CL2N) beside the text
vectors, or instead of them. Knows nothing of files or models.

Shapes: B vectors, D their width, N taxa, E taxa with examples, S examples, W weights that are tried.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

DEFAULT_WEIGHT = 8.0
"""Of a similarity to a prototype, where no taxon has two examples to measure it on."""

_WEIGHT_W = np.geomspace(1, 64, 25)
_DOUBT = np.log(4.0)
"""How far the logarithm of the weight may be from its default's before anything is measured: few examples move it
little."""

_MOST_JUDGED = 2000

TextScores = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Vectors (B, D) and taxa (E,) to the scores that texts give these taxa (B, E), and the log of the summed exponentials
of all other taxa's (B,), -inf where there are none."""


@dataclass(frozen=True)
class Prototypes:
    """What examples say of some of N taxa.

    Vectors are centred on `mean_D` and brought to unit length; `centroid_ED` are the means of each taxon's examples
    after that, and `taxon_E` its position in the tree. To the score of such a taxon comes
    `weight · (v·c − |c|²/2)`: how much more likely the vector is about its centroid than about the centre of all, both
    of them round clouds. It orders taxa as the distance to the centroids does, and is 0 for one without examples.
    """

    mean_D: np.ndarray
    centroid_ED: np.ndarray
    taxon_E: np.ndarray
    num_taxa: int
    weight: float

    @classmethod
    def of(
        cls,
        vector_SD: np.ndarray,
        taxon_S: np.ndarray,
        group_S: np.ndarray,
        archive_D: np.ndarray,
        num_taxa: int,
        text_scores: TextScores,
    ) -> "Prototypes":
        """From the examples' vectors and taxa, and the mean vector of the archive's own crops.

        The weight is the one under which an example is least surprising to prototypes without it. Examples of one
        group are nearly copies, as the frames of a burst are: they are left out together.
        """
        taxon_E, class_S = np.unique(taxon_S, return_inverse=True)
        means_ED = _means(vector_SD, class_S, len(taxon_E))
        # Halfway between what all crops share and what the examples share: neither an archive of cows nor examples of
        # a single species leaves a centre that is the animal itself.
        mean_D = (archive_D + means_ED.mean(0)) / 2
        unit_SD = _unit(vector_SD - mean_D)
        centroid_ED = _means(unit_SD, class_S, len(taxon_E))
        rows, close_RE = _left_out(unit_SD, class_S, group_S, centroid_ED)
        text_RE, rest_R = text_scores(vector_SD[rows], taxon_E)
        weight = _fit(close_RE, text_RE, rest_R, class_S[rows])
        return cls(mean_D, centroid_ED, taxon_E, num_taxa, weight)

    def centred(self, vector_BD: np.ndarray) -> np.ndarray:
        """Vectors as the prototypes see them: (B, D)."""
        return _unit(vector_BD - self.mean_D).astype(np.float32)

    def add_to(self, score_BN: np.ndarray, centred_BD: np.ndarray) -> None:
        """Add what the examples say to the scores of their taxa."""
        score_BN[:, self.taxon_E] += np.float32(self.weight) * _closeness(centred_BD, self.centroid_ED)

    @cached_property
    def has_examples(self) -> np.ndarray:
        """Which taxa have examples: (N,) bool."""
        found_N = np.zeros(self.num_taxa, bool)
        found_N[self.taxon_E] = True
        return found_N


def _left_out(
    unit_SD: np.ndarray, class_S: np.ndarray, group_S: np.ndarray, centroid_ED: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Examples whose taxon has others in another group, evenly chosen where they are many, and how close they are to
    all prototypes (R, E), to their own without their group."""
    _, of_group_S = np.unique(np.stack([class_S, group_S]), axis=1, return_inverse=True)
    of_group_S = of_group_S.reshape(-1)
    num_E, num_G = np.bincount(class_S), np.bincount(of_group_S)
    rows = np.flatnonzero(num_E[class_S] > num_G[of_group_S])
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_JUDGED)).astype(int))]
    own_R, group_R = class_S[rows], of_group_S[rows]
    group_GD = _means(unit_SD, of_group_S, len(num_G)) * num_G[:, None]
    others_RD = centroid_ED[own_R] * num_E[own_R, None] - group_GD[group_R]
    others_RD /= np.maximum(num_E[own_R] - num_G[group_R], 1)[:, None]
    close_RE = _closeness(unit_SD[rows], centroid_ED)
    own = (unit_SD[rows] * others_RD).sum(1) - (others_RD**2).sum(1) / 2
    close_RE[np.arange(len(rows)), own_R] = own
    return rows, close_RE


def _fit(close_RE: np.ndarray, text_RE: np.ndarray, rest_R: np.ndarray, own_R: np.ndarray) -> float:
    """The weight with the least cross-entropy, less what speaks for the default."""
    loss_W = (np.log(_WEIGHT_W / DEFAULT_WEIGHT) / _DOUBT) ** 2 / 2
    for place, weight in enumerate(_WEIGHT_W):
        score_RE = text_RE + weight * close_RE
        total_R = np.logaddexp(np.logaddexp.reduce(score_RE, axis=1), rest_R)
        loss_W[place] += (total_R - score_RE[np.arange(len(own_R)), own_R]).sum()
    return float(_WEIGHT_W[int(np.argmin(loss_W))])


def _closeness(unit_BD: np.ndarray, centroid_ED: np.ndarray) -> np.ndarray:
    """|v - c|² = 1 - 2 v·c + |c|²: less its constant, by -1/2."""
    return unit_BD @ centroid_ED.T - (centroid_ED**2).sum(1) / 2


def _means(vector_SD: np.ndarray, class_S: np.ndarray, num: int) -> np.ndarray:
    total_ED = np.zeros((num, vector_SD.shape[1]), np.float32)
    np.add.at(total_ED, class_S, vector_SD)
    return total_ED / np.bincount(class_S, minlength=num)[:, None]


def _unit(vector_BD: np.ndarray) -> np.ndarray:
    return vector_BD / np.maximum(np.linalg.norm(vector_BD, axis=1, keepdims=True), 1e-12)
