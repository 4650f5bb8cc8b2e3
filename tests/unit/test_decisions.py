"""Human, vehicle, blank or animal: what is said of a box by the detector and of its crop by the classifier."""

import numpy as np
import pytest

from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.labelling.decisions import CATEGORIES, DECIDED_BY, MOTORS, NOTHING, PEOPLE, TYPES, UNKNOWN, Kinds, decide
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree

FOX = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Vulpes", "vulpes"), "fox")
WREN = Taxon(("Animalia", "Chordata", "Aves", "Passeriformes", "Troglodytidae", "Troglodytes", "troglodytes"), "wren")
TREE = TaxonTree.from_taxa([FOX, WREN, PEOPLE, MOTORS, NOTHING])
CLASSIFIER = Classifier(
    LabelBank(TREE, np.eye(len(TREE), dtype=np.float32), 20.0, "model", "digest", TextType.SCI), floor=0.6
)


def _decided(category: str, confidence: float, **probabilities: float) -> tuple[str, str]:
    row = np.asarray([[probabilities.get(taxon.common, 0.0) for taxon in TREE.taxa]], np.float32)
    names = CLASSIFIER.name(row)
    codes = np.asarray([CATEGORIES.get(category, UNKNOWN)])
    types, decided = decide(codes, np.asarray([confidence]), names, Kinds(TREE).probabilities(names, row))
    return TYPES[types[0]], DECIDED_BY[decided[0]]


@pytest.mark.parametrize(
    ("category", "confidence", "probabilities", "expected"),
    [
        ("person", 0.8, {"fox": 1.0}, ("human", "detector")),
        ("person", 0.3, {"human": 0.6, "fox": 0.4}, ("human", "classifier")),
        ("person", 0.3, {"fox": 0.6, "wren": 0.4}, ("human", "detector")),
        ("person", 0.3, {"fox": 0.95, "wren": 0.05}, ("animal", "classifier")),
        ("vehicle", 0.3, {"human": 0.6, "fox": 0.4}, ("human", "classifier")),
        ("vehicle", 0.8, {"fox": 1.0}, ("vehicle", "detector")),
        ("vehicle", 0.3, {"vehicle": 0.6, "fox": 0.4}, ("vehicle", "classifier")),
        ("animal", 0.9, {"human": 0.6, "fox": 0.4}, ("human", "classifier")),
        ("animal", 0.9, {"fox": 0.8, "wren": 0.2}, ("animal", "classifier")),
        ("animal", 0.9, {"fox": 0.5, "wren": 0.5}, ("animal", "rollup")),
        ("animal", 0.9, {"fox": 0.3, "blank": 0.4, "vehicle": 0.3}, ("animal", "detector")),
        ("animal", 0.3, {"fox": 0.3, "blank": 0.4, "vehicle": 0.3}, ("unknown", "detector")),
        ("animal", 0.3, {"blank": 0.7, "fox": 0.3}, ("blank", "classifier")),
        ("animal", 0.9, {"blank": 0.7, "fox": 0.3}, ("animal", "classifier")),
        ("animal", 0.9, {"blank": 0.95, "fox": 0.05}, ("blank", "classifier")),
        ("frame", 1.0, {"blank": 0.7, "fox": 0.3}, ("blank", "classifier")),
        ("frame", 1.0, {"fox": 0.3, "blank": 0.4, "vehicle": 0.3}, ("unknown", "classifier")),
    ],
)
def test_first_rule_that_holds_decides(
    category: str, confidence: float, probabilities: dict[str, float], expected: tuple[str, str]
) -> None:
    assert _decided(category, confidence, **probabilities) == expected
