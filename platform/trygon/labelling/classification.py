"""Vectors to names: softmax over the taxa, summed up the tree, cut at the deepest rank that can be trusted.

Shapes: B vectors, N taxa, D their width, K alternatives, R = 7 ranks.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trygon.labelling.bank import LabelBank
from trygon.taxonomy.taxon import Rank, Taxon


@dataclass(frozen=True)
class Answer:
    """What one image was found to be.

    `taxon` is cut at the deepest rank whose probability reaches the floor; it is None where not even the kingdom does.
    `ranks` holds the best clade of every rank with its probability, whatever the floor; `top` the best taxa.
    """

    taxon: Taxon | None
    rank: Rank | None
    probability: float
    ranks: tuple[tuple[Taxon, float], ...]
    top: tuple[tuple[Taxon, float], ...]


@dataclass(frozen=True)
class Classifier:
    """A LabelBank ready for products. `floor` is the least probability of a rank that is reported."""

    bank: LabelBank
    floor: float = 0.5
    k: int = 5

    @cached_property
    def _vector_DN(self) -> np.ndarray:
        return np.ascontiguousarray(np.asarray(self.bank.vector_ND, np.float32).T)

    def probabilities(self, vector_BD: np.ndarray) -> np.ndarray:
        """Softmax of the scaled similarities: (B, N) float32."""
        logits_BN = self.bank.logit_scale * (np.asarray(vector_BD, np.float32) @ self._vector_DN)
        logits_BN -= logits_BN.max(1, keepdims=True)
        np.exp(logits_BN, out=logits_BN)
        return logits_BN / logits_BN.sum(1, keepdims=True)

    def classify(self, vector_BD: np.ndarray) -> list[Answer]:
        """One answer a vector."""
        if not len(vector_BD):
            return []
        return self.answers(self.probabilities(vector_BD))

    def answers(self, probability_BN: np.ndarray) -> list[Answer]:
        """From probabilities of all taxa, e.g. pooled over an event, to answers.

        The ranks follow the path of the best clade from the kingdom down, so that they form one lineage.
        """
        k = min(self.k, probability_BN.shape[1])
        sums = self.bank.tree.roll_up_all(probability_BN)
        best = np.argpartition(-probability_BN, k - 1, axis=1)[:, :k]
        return [
            self._answer(row, [sum_BC[row] for sum_BC in sums], best[row], probability_BN) for row in range(len(best))
        ]

    def _answer(self, row: int, sums: list[np.ndarray], best: np.ndarray, probability_BN: np.ndarray) -> Answer:
        path = self._path(sums)
        trusted = [
            (taxon, p, rank)
            for rank, (taxon, p) in zip(Rank, path, strict=False)
            if taxon.lineage[rank] and p >= self.floor
        ]
        order = best[np.argsort(-probability_BN[row, best], kind="stable")]
        top = tuple((self.bank.tree.taxon(int(index)), float(probability_BN[row, index])) for index in order)
        if not trusted:
            return Answer(None, None, path[0][1], path, top)
        taxon, probability, rank = trusted[-1]
        return Answer(taxon, rank, probability, path, top)

    def _path(self, sums: list[np.ndarray]) -> tuple[tuple[Taxon, float], ...]:
        """From the best kingdom down, at every rank the best clade within the one above."""
        tree = self.bank.tree
        inside, path = slice(0, len(tree)), []
        for rank in Rank:
            first, last = tree.clade_ids[rank][inside.start], tree.clade_ids[rank][inside.stop - 1]
            clade = int(first + np.argmax(sums[rank][first : last + 1]))
            inside = tree.clade_slice(rank, clade)
            path.append((tree.taxon(inside.start).at(rank), float(sums[rank][clade])))
        return tuple(path)
