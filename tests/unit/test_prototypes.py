"""What a few labelled examples of a taxon add to its text vector, or say without it."""

import numpy as np

from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import REASONS, Classifier
from trygon.labelling.examples import text_scores
from trygon.labelling.few_shot import DEFAULT_WEIGHT, Prototypes
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree

_CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae")
TREE = TaxonTree.from_taxa([Taxon((*_CAT, f"Genus{number}", "one")) for number in range(6)])
DIM = 32
_RNG = np.random.default_rng(0)
_COMMON = _RNG.standard_normal(DIM)
_LOOKS = _RNG.standard_normal((6, DIM))
# Texts that say nothing of how the taxa look: only examples can tell them apart.
BANK = LabelBank(TREE, np.full((6, DIM), DIM**-0.5, np.float32), 20.0, "model", "digest", TextType.SCI)


def _pictures(taxon: int, count: int) -> np.ndarray:
    vector_BD = 2 * _COMMON + _LOOKS[taxon] + 0.3 * _RNG.standard_normal((count, DIM))
    return (vector_BD / np.linalg.norm(vector_BD, axis=1, keepdims=True)).astype(np.float32)


def _classifier(shots: dict[int, int], per_group: int = 1) -> Classifier:
    vector_SD = np.concatenate([_pictures(taxon, count) for taxon, count in shots.items()])
    taxon_S = np.repeat(list(shots), list(shots.values()))
    archive_D = np.concatenate([_pictures(taxon, 20) for taxon in range(6)]).mean(0)
    group_S = np.arange(len(taxon_S)) // per_group
    prototypes = Prototypes.of(vector_SD, taxon_S, group_S, archive_D, len(TREE), text_scores(BANK))
    return Classifier(BANK, prototypes=prototypes)


def _found(classifier: Classifier, taxon: int) -> float:
    """Share of pictures of a taxon that are named so."""
    names = classifier.name(classifier.probabilities(_pictures(taxon, 50)))
    return float((names.top_BK[:, 0] == taxon).mean())


def test_examples_tell_apart_what_texts_do_not() -> None:
    classifier = _classifier(dict.fromkeys(range(6), 5))
    assert min(_found(classifier, taxon) for taxon in range(6)) > 0.9
    names = classifier.name(classifier.probabilities(_pictures(2, 20)))
    assert {REASONS[reason] for reason in names.reason_B} == {"few_shot"}


def test_weight_is_measured_on_examples_of_other_groups() -> None:
    alike, apart = _classifier({1: 5, 4: 5}, per_group=5), _classifier({1: 5, 4: 5})
    assert alike.prototypes is not None
    assert apart.prototypes is not None
    assert abs(np.log(alike.prototypes.weight / DEFAULT_WEIGHT)) < 0.1  # nothing to measure it on
    assert apart.prototypes.weight > 1.1 * DEFAULT_WEIGHT


def test_one_example_of_one_taxon_draws_its_own_pictures_alone() -> None:
    classifier = _classifier({2: 1})
    assert _found(classifier, 2) > 0.9
    others = classifier.name(classifier.probabilities(_pictures(5, 50)))
    assert (others.top_BK[:, 0] == 2).mean() < 0.1


def test_mean_of_features_has_the_mean_of_scores() -> None:
    """What pooling over an event stands on."""
    classifier = _classifier({1: 5, 4: 5})
    vector_BD = _pictures(1, 3)
    pooled = np.exp(np.log(classifier.probabilities(vector_BD)).mean(0))
    mean = classifier.softmax(classifier.features(vector_BD).mean(0, keepdims=True))[0]
    np.testing.assert_allclose(pooled / pooled.sum(), mean, atol=1e-4)
