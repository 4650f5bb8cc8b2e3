"""Boxes with their vectors to names and types, as columns. Knows nothing of events.

Shapes: M boxes, D the width of vectors, F of features, N taxa.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from trygon.archive.naming.boxes import Boxes
from trygon.labelling.classification import Classifier, Names
from trygon.labelling.decisions import Kinds, decide
from trygon.rows import Rows

_SCORES, _LEAST = 4_000_000, 32
"""Probabilities held at once: vectors are named in chunks of this many divided by the number of taxa, which a cache
holds; but never of so few that reading the labels' vectors is what takes the time."""


@dataclass(frozen=True)
class Named(Rows):
    """Boxes, what each is, and its features, in which scores are linear. `type_M` and `decided_M` point into
    `decisions.TYPES` and `DECIDED_BY`."""

    boxes: Boxes
    names: Names
    type_M: np.ndarray
    decided_M: np.ndarray
    feature_MF: np.ndarray


@dataclass(frozen=True)
class Namer:
    """Names boxes with a classifier and the rules of `decisions`."""

    classifier: Classifier

    @cached_property
    def _kinds(self) -> Kinds:
        return Kinds(self.classifier.bank.tree)

    @property
    def chunk(self) -> int:
        """How many vectors are named at once."""
        return max(_LEAST, _SCORES // len(self.classifier.bank.tree))

    def name(self, boxes: Boxes, vector_MD: np.ndarray) -> Named:
        """Boxes with the vectors of their crops."""
        return self.name_features(boxes, self.classifier.features(vector_MD))

    def name_features(self, boxes: Boxes, feature_MF: np.ndarray) -> Named:
        """Boxes with `Classifier.features`, or means of them."""
        rows = range(0, max(1, len(boxes)), self.chunk)
        return Named.concat([self._name(boxes, feature_MF, slice(row, row + self.chunk)) for row in rows])

    def _name(self, boxes: Boxes, feature_MF: np.ndarray, rows: slice) -> Named:
        boxes, feature_MF = boxes.take(np.arange(len(boxes))[rows]), feature_MF[rows]
        probability_MN = self.classifier.softmax(feature_MF)
        names = self._kinds.animal_names(self.classifier.name(probability_MN))
        of_kind_M4 = self._kinds.probabilities(names, probability_MN)
        type_M, decided_M = decide(boxes.category_M, boxes.confidence_M, names, of_kind_M4)
        return Named(boxes, names, type_M, decided_M, feature_MF)


def vectors_of(column: pa.Array, dim: int) -> np.ndarray:
    """A column of vectors as an array (M, D) float32; zeros where there is none."""
    flat = column.flatten().to_numpy(zero_copy_only=False)
    if not column.null_count:
        return flat.reshape(len(column), dim).astype(np.float32)
    vector_MD = np.zeros((len(column), dim), np.float32)
    vector_MD[column.is_valid().to_numpy(zero_copy_only=False)] = flat.reshape(-1, dim)
    return vector_MD
