"""Human, vehicle, blank or animal: what is said of a box by the detector and of its crop by the classifier."""

from collections.abc import Sequence

import numpy as np
import pytest

from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.labelling.decisions import CATEGORIES, DECIDED_BY, MOTORS, NOTHING, PEOPLE, TYPES, UNKNOWN, Kinds, decide
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.taxonomy.tree import TaxonTree

FOX = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Vulpes", "vulpes"), "fox")
WREN = Taxon(("Animalia", "Chordata", "Aves", "Passeriformes", "Troglodytidae", "Troglodytes", "troglodytes"), "wren")
WOLF = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Canis", "lupus"), "wolf")
DOGS = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "", ""), "dogs")
SNAIL = Taxon(("Animalia", "Mollusca", "Gastropoda", "Stylommatophora", "Helicidae", "Helix", "pomatia"), "snail")
ALL = (FOX, WREN, SNAIL, PEOPLE, MOTORS, NOTHING)


def _classifier(labels: Sequence[Taxon], allowed: Sequence[Taxon] | None = None) -> Classifier:
    tree = TaxonTree.from_taxa(labels)
    bank = LabelBank(tree, np.eye(len(tree), dtype=np.float32), 20.0, "model", "digest", TextType.SCI)
    return Classifier(
        bank, 0.6, allowed_N=None if allowed is None else np.isin(np.arange(len(tree)), tree.locate(allowed))
    )


def _named(
    classifier: Classifier, category: str, confidence: float, probabilities: dict[str, float]
) -> tuple[str, str, str]:
    """Type, what decided it, and the rank of the name."""
    tree = classifier.bank.tree
    row = np.asarray([[probabilities.get(taxon.common, 0.0) for taxon in tree.taxa]], np.float32)
    kinds = Kinds(tree)
    names = kinds.animal_names(classifier.name(row))
    codes = np.asarray([CATEGORIES.get(category, UNKNOWN)])
    types, decided = decide(codes, np.asarray([confidence]), names, kinds.probabilities(names, row))
    return TYPES[types[0]], DECIDED_BY[decided[0]], ("none", *RANKS)[names.rank_B[0] + 1]


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
        ("animal", 0.9, {"blank": 0.7, "fox": 0.3}, ("animal", "detector")),
        ("animal", 0.9, {"blank": 0.95, "fox": 0.05}, ("blank", "classifier")),
        ("frame", 1.0, {"blank": 0.7, "fox": 0.3}, ("blank", "classifier")),
        ("frame", 1.0, {"fox": 0.3, "blank": 0.4, "vehicle": 0.3}, ("unknown", "classifier")),
    ],
)
def test_first_rule_that_holds_decides(
    category: str, confidence: float, probabilities: dict[str, float], expected: tuple[str, str]
) -> None:
    assert _named(_classifier(ALL), category, confidence, probabilities)[:2] == expected


@pytest.mark.parametrize(
    ("labels", "category", "confidence", "probabilities", "expected"),
    [
        # What all animals among the labels share has a probability of 1 in a stump, too.
        ((FOX, WREN, SNAIL), "animal", 0.9, {"fox": 0.5, "snail": 0.5}, ("animal", "detector", "none")),
        ((FOX, WREN, SNAIL), "animal", 0.2, {"fox": 0.5, "snail": 0.5}, ("unknown", "detector", "none")),
        ((FOX, WREN, SNAIL), "frame", 1.0, {"fox": 0.5, "snail": 0.5}, ("unknown", "classifier", "none")),
        ((FOX, WOLF), "animal", 0.2, {"fox": 0.5, "wolf": 0.5}, ("unknown", "detector", "none")),
        # People and blanks are no animals that it could be told from.
        ((FOX, WOLF, PEOPLE, NOTHING), "animal", 0.9, {"fox": 0.4, "wolf": 0.4}, ("animal", "detector", "none")),
        ((PEOPLE, NOTHING), "animal", 0.9, {"blank": 0.7, "human": 0.3}, ("animal", "detector", "none")),
        # What only some of them share says something.
        ((FOX, WOLF, WREN), "animal", 0.2, {"fox": 0.5, "wolf": 0.5}, ("animal", "rollup", "family")),
        # A single label, and a clade that is a label itself, are names.
        ((FOX,), "animal", 0.2, {"fox": 1.0}, ("animal", "classifier", "species")),
        ((FOX, NOTHING), "animal", 0.2, {"fox": 0.7, "blank": 0.3}, ("animal", "classifier", "species")),
        ((FOX, DOGS), "animal", 0.2, {"dogs": 0.7, "fox": 0.3}, ("animal", "classifier", "family")),
        ((FOX, DOGS), "animal", 0.2, {"dogs": 0.5, "fox": 0.5}, ("animal", "classifier", "family")),
    ],
)
def test_a_clade_that_all_animals_share_names_none(
    labels: Sequence[Taxon],
    category: str,
    confidence: float,
    probabilities: dict[str, float],
    expected: tuple[str, str, str],
) -> None:
    assert _named(_classifier(labels), category, confidence, probabilities) == expected


def test_a_name_that_moved_up_to_what_all_animals_share_is_none() -> None:
    """Whether it was too unsure, or a checklist allows no other clade of its own."""
    allowing = _classifier((FOX, WOLF, WREN), allowed=[WREN])
    assert _named(allowing, "animal", 0.9, {"fox": 1.0}) == ("animal", "geofence", "none")
    assert _named(allowing, "animal", 0.2, {"fox": 1.0}) == ("unknown", "geofence", "none")
    assert _named(_classifier((FOX, WOLF, WREN), allowed=[WOLF]), "animal", 0.2, {"fox": 1.0}) == (
        *("animal", "geofence"),
        "family",
    )
