"""What a few labelled examples of a taxon add to its text vector, or say without it."""

import numpy as np

from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import REASONS, Classifier
from trygon.labelling.few_shot import Prototypes, mean_vector
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
BANK = LabelBank(TREE, np.full((6, DIM), DIM**-0.5, np.float16), 20.0, "model", "digest", TextType.SCI)


def _pictures(taxon: int, count: int) -> np.ndarray:
    vector_BD = 2 * _COMMON + _LOOKS[taxon] + 0.3 * _RNG.standard_normal((count, DIM))
    return (vector_BD / np.linalg.norm(vector_BD, axis=1, keepdims=True)).astype(np.float32)


def _classifier(shots: dict[int, int], alone: bool = False) -> Classifier:
    vector_SD = np.concatenate([_pictures(taxon, count) for taxon, count in shots.items()])
    taxon_S = np.repeat(list(shots), list(shots.values()))
    archive_D = mean_vector([_pictures(taxon, 20) for taxon in range(6)], DIM)
    text_SN = 20.0 * vector_SD @ np.asarray(BANK.vector_ND, np.float32).T
    return Classifier(BANK, prototypes=Prototypes.of(vector_SD, taxon_S, archive_D, text_SN, alone))


def _found(classifier: Classifier, taxon: int) -> float:
    """Share of pictures of a taxon that are named so."""
    names = classifier.name(classifier.probabilities(_pictures(taxon, 50)))
    return float((names.top_BK[:, 0] == taxon).mean())


def test_examples_tell_apart_what_texts_do_not() -> None:
    classifier = _classifier(dict.fromkeys(range(6), 5))
    assert min(_found(classifier, taxon) for taxon in range(6)) > 0.9
    names = classifier.name(classifier.probabilities(_pictures(2, 20)))
    assert {REASONS[reason] for reason in names.reason_B} == {"few_shot"}


def test_alone_only_taxa_with_examples_are_named() -> None:
    classifier = _classifier({1: 5, 4: 5}, alone=True)
    probability_BN = classifier.probabilities(_pictures(3, 50))
    np.testing.assert_allclose(probability_BN[:, [1, 4]].sum(1), 1, atol=1e-5)
    assert min(_found(classifier, taxon) for taxon in (1, 4)) > 0.9


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
