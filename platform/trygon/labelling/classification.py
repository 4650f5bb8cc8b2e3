"""Vectors to names: softmax over the taxa, summed up the tree, cut at the deepest rank that can be trusted.

Shapes: B vectors, N taxa, D their width, K alternatives, R = 7 ranks, C clades of a rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from trygon.labelling.bank import LabelBank, LabelPart
from trygon.labelling.few_shot import Prototypes
from trygon.rows import Rows
from trygon.taxonomy.taxon import RANKS, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree

CLASSIFIER, ROLLUP, GEOFENCE, FEW_SHOT = "classifier", "rollup", "geofence", "few_shot"
REASONS = (CLASSIFIER, ROLLUP, GEOFENCE, FEW_SHOT)
"""What a name rests on: see `decided_by` of OBSERVATION."""

_NUM_RANKS = len(RANKS)
_MANY = 5000
"""From so many taxa on the best ones are looked for by blocks."""


@dataclass(frozen=True)
class Names(Rows):
    """What B vectors were found to be, as columns.

    `clade_BR` are the clades of the most probable path through the tree, and `probability_BR` their probabilities,
    whatever the floor. `rank_B` is the deepest rank of it that can be trusted, -1 where none can; `reason_B` points
    into `REASONS`. `top_BK` are the best taxa's positions in the tree, best first.
    """

    clade_BR: np.ndarray
    probability_BR: np.ndarray
    rank_B: np.ndarray
    reason_B: np.ndarray
    top_BK: np.ndarray
    top_probability_BK: np.ndarray

    def __len__(self) -> int:
        return len(self.rank_B)


@dataclass(frozen=True)
class Answer:
    """What one image was found to be.

    `taxon` is cut at the deepest rank whose probability reaches the floor; it is None where not even the kingdom does.
    `reason` is what that rests on, one of `REASONS`.
    `ranks` holds the best clade of every rank with its probability, whatever the floor; `top` the best taxa.
    """

    taxon: Taxon | None
    rank: Rank | None
    probability: float
    reason: str
    ranks: tuple[tuple[Taxon, float], ...]
    top: tuple[tuple[Taxon, float], ...]


@dataclass(frozen=True)
class Classifier:
    """Products with a LabelBank, or a part of one. `floor` is the least probability of a rank that is reported.

    `allowed_N`: which taxa may be reported; a name outside moves up to the deepest clade that holds one of them, as
    SpeciesNet's geofence does. `prototypes`: what labelled examples add to the scores of their taxa.
    """

    bank: LabelBank | LabelPart
    floor: float = 0.5
    k: int = 5
    allowed_N: np.ndarray | None = None
    prototypes: Prototypes | None = None

    @cached_property
    def _allowed(self) -> list[np.ndarray] | None:
        """For each rank, which clades hold a taxon that is allowed: (C,) bool."""
        if self.allowed_N is None:
            return None
        return [np.logical_or.reduceat(self.allowed_N, starts) for starts in self.bank.tree.clade_starts]

    def features(self, vector_BD: np.ndarray) -> np.ndarray:
        """What scores are linear in: the mean of features has the mean of logits. (B, D), with prototypes (B, 2 D)."""
        vector_BD = np.asarray(vector_BD, np.float32)
        if self.prototypes is None:
            return vector_BD
        return np.concatenate([vector_BD, self.prototypes.centred(vector_BD)], axis=1)

    def probabilities(self, vector_BD: np.ndarray) -> np.ndarray:
        """Softmax of the scaled similarities: (B, N) float32."""
        return self.softmax(self.features(vector_BD))

    def softmax(self, feature_BF: np.ndarray) -> np.ndarray:
        """Probabilities of all taxa (B, N) from `features`, or from means of them."""
        dim = self.bank.dim
        # The factor goes to the few: the vectors of a million taxa stay in the pages that all processes share.
        score_BN = self.bank.products(feature_BF[:, :dim] * np.float32(self.bank.logit_scale))
        if self.prototypes is not None:
            self.prototypes.add_to(score_BN, feature_BF[:, dim:])
        score_BN -= score_BN.max(1, keepdims=True)
        np.exp(score_BN, out=score_BN)
        score_BN *= 1 / score_BN.sum(1, keepdims=True)
        return score_BN

    def name(self, probability_BN: np.ndarray) -> Names:
        """From probabilities of all taxa to names.

        The ranks follow the path of the best clade from the kingdom down, so that they form one lineage.
        """
        tree = self.bank.tree
        sums = tree.roll_up_all(probability_BN)
        clade_BR = _paths(tree, sums)
        rows_B = np.arange(len(probability_BN))
        probability_BR = np.stack([sums[rank][rows_B, clade_BR[:, rank]] for rank in Rank], axis=1)
        named_BR = np.stack([tree.clade_named[rank][clade_BR[:, rank]] for rank in Rank], axis=1)
        sure_BR = named_BR & (probability_BR >= self.floor)
        rank_B, reason_B = self._cut(clade_BR, named_BR, sure_BR)
        top_BK = top(probability_BN, self.k)
        return Names(clade_BR, probability_BR, rank_B, reason_B, top_BK, probability_BN[rows_B[:, None], top_BK])

    def _cut(self, clade_BR: np.ndarray, named_BR: np.ndarray, sure_BR: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The deepest rank that is sure and allowed, -1 where none is, and what it rests on: two (B,) int8."""
        sure_B = _deepest(sure_BR)
        reason_B = np.where(sure_B == _deepest(named_BR), REASONS.index(CLASSIFIER), REASONS.index(ROLLUP))
        if self.prototypes is not None:
            shown_B = (sure_B >= 0) & self.prototypes.has_examples[clade_BR[:, Rank.SPECIES]]
            reason_B[shown_B] = REASONS.index(FEW_SHOT)
        if self._allowed is None:
            return sure_B, reason_B.astype(np.int8)
        allowed_BR = np.stack([allowed[clade_BR[:, rank]] for rank, allowed in enumerate(self._allowed)], axis=1)
        rank_B = _deepest(sure_BR & allowed_BR)
        reason_B[rank_B < sure_B] = REASONS.index(GEOFENCE)
        return rank_B, reason_B.astype(np.int8)

    def classify(self, vector_BD: np.ndarray) -> list[Answer]:
        """One answer a vector."""
        return self.answers(self.probabilities(vector_BD)) if len(vector_BD) else []

    def answers(self, probability_BN: np.ndarray) -> list[Answer]:
        """From probabilities of all taxa to answers, an object each: for few."""
        names = self.name(probability_BN)
        return [self._answer(names, row) for row in range(len(names))]

    def _answer(self, names: Names, row: int) -> Answer:
        tree = self.bank.tree
        path = tuple(
            (tree.taxon(int(tree.clade_starts[rank][names.clade_BR[row, rank]])).at(rank), float(probability))
            for rank, probability in zip(Rank, names.probability_BR[row], strict=True)
        )
        best = zip(names.top_BK[row].tolist(), names.top_probability_BK[row].tolist(), strict=True)
        taxa = tuple((tree.taxon(position), probability) for position, probability in best)
        reason = REASONS[names.reason_B[row]]
        if names.rank_B[row] < 0:
            return Answer(None, None, path[0][1], reason, path, taxa)
        rank = Rank(int(names.rank_B[row]))
        return Answer(path[rank][0], rank, path[rank][1], reason, path, taxa)


def _deepest(holds_BR: np.ndarray) -> np.ndarray:
    """The last rank at which something holds, -1 where it nowhere does: (B,) int8."""
    last_B = _NUM_RANKS - 1 - np.argmax(holds_BR[:, ::-1], axis=1)
    return np.where(holds_BR.any(1), last_B, -1).astype(np.int8)


def _paths(tree: TaxonTree, sums: Sequence[np.ndarray]) -> np.ndarray:
    """From the best kingdom down, at every rank the best clade within the one above: (B, R) int32."""
    clade_BR = np.empty((len(sums[0]), _NUM_RANKS), np.int32)
    clade_BR[:, 0] = sums[0].argmax(1)
    for rank in Rank:
        if rank:
            clade_BR[:, rank] = _best_within(sums[rank], clade_BR[:, rank - 1], tree.nested_starts[rank - 1])
    return clade_BR


def _best_within(sum_BC: np.ndarray, parent_B: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The best clade of each row among those that begin where its parent does. Rows of one parent go together."""
    best_B = starts[parent_B].astype(np.int32)
    ends = np.append(starts[1:], sum_BC.shape[1])
    rows = np.flatnonzero(ends[parent_B] - starts[parent_B] > 1)
    rows = rows[np.argsort(parent_B[rows], kind="stable")]
    parents = parent_B[rows]
    cuts = [0, *(np.flatnonzero(np.diff(parents)) + 1).tolist(), len(rows)]
    for low, high in pairwise(cuts):
        if low < high:
            first, last = starts[parents[low]], ends[parents[low]]
            best_B[rows[low:high]] += sum_BC[rows[low:high], first:last].argmax(1).astype(np.int32)
    return best_B


def top(probability_BN: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest of each row, the largest first, of equal ones the first: (B, K) int64.

    Of many taxa they lie in the k blocks of columns with the largest maxima: only those are searched.
    """
    num_rows, num_taxa = probability_BN.shape
    k = min(k, num_taxa)
    width = int(np.sqrt(num_taxa / max(k, 1)))
    num_blocks = num_taxa // max(width, 1)
    if num_taxa < _MANY or num_blocks <= k:
        return _largest(probability_BN, k)
    whole = num_blocks * width
    block_BK = _largest(probability_BN[:, :whole].reshape(num_rows, num_blocks, width).max(2), k)
    block_BK.sort(axis=1)
    inside = (block_BK[:, :, None] * width + np.arange(width)).reshape(num_rows, -1)
    rest = np.broadcast_to(np.arange(whole, num_taxa), (num_rows, num_taxa - whole))
    column_BM = np.concatenate([inside, rest], axis=1)
    place_BK = _largest(np.take_along_axis(probability_BN, column_BM, axis=1), k)
    return np.take_along_axis(column_BM, place_BK, axis=1)


def _largest(value_BM: np.ndarray, k: int) -> np.ndarray:
    """The same by looking k times for the largest, which for few columns and a small k is less work than sorting."""
    left_BM, rows_B = value_BM.copy(), np.arange(len(value_BM))
    place_BK = np.empty((len(value_BM), k), np.int64)
    for number in range(k):
        place_BK[:, number] = left_BM.argmax(axis=1)
        left_BM[rows_B, place_BK[:, number]] = -np.inf
    return place_BK
