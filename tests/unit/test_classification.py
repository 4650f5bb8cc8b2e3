"""Vectors to names, with roll-up to the rank that can be trusted."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Answer, Classifier, top
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Rank, Taxon
from trygon.taxonomy.tree import TaxonTree

_CARNIVORE = ("Animalia", "Chordata", "Mammalia", "Carnivora")
TREE = TaxonTree.from_taxa(
    [
        Taxon((*_CARNIVORE, "Felidae", "Panthera", "leo"), "lion"),
        Taxon((*_CARNIVORE, "Felidae", "Panthera", "onca"), "jaguar"),
        Taxon((*_CARNIVORE, "Felidae", "Lynx", "lynx")),
        Taxon((*_CARNIVORE, "Canidae", "Canis", "lupus"), "wolf"),
        Taxon(("Animalia", "Chordata", "Aves", "", "", "", ""), "bird"),
        Taxon(("Plantae", "Tracheophyta", "Magnoliopsida", "Fagales", "Fagaceae", "Quercus", "robur"), "oak"),
    ]
)


def _classifier(floor: float = 0.5) -> Classifier:
    vector_ND = np.eye(len(TREE), dtype=np.float32)
    return Classifier(LabelBank(TREE, vector_ND, 20.0, "model", "digest", TextType.SCI), floor, k=3)


def _answer(floor: float = 0.5, **probabilities: float) -> Answer:
    row = [probabilities.get(taxon.common or taxon.lineage[5], 0.0) for taxon in TREE.taxa]
    return _classifier(floor).answers(np.asarray([row], np.float32))[0]


def test_sure_species_is_named_with_its_common_name() -> None:
    answer = _answer(lion=0.9, wolf=0.1)
    assert answer.taxon == Taxon((*_CARNIVORE, "Felidae", "Panthera", "leo"), "lion")
    assert answer.rank is Rank.SPECIES
    assert answer.probability == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("probabilities", "rank", "name", "probability"),
    [
        ({"lion": 0.4, "jaguar": 0.4, "Lynx": 0.2}, Rank.GENUS, "Panthera", 0.8),
        ({"lion": 0.3, "jaguar": 0.1, "Lynx": 0.3, "wolf": 0.3}, Rank.FAMILY, "Felidae", 0.7),
        ({"lion": 0.4, "wolf": 0.4, "oak": 0.2}, Rank.ORDER, "Carnivora", 0.8),
        ({"lion": 0.3, "bird": 0.3, "oak": 0.4}, Rank.PHYLUM, "Chordata", 0.6),
        ({"bird": 0.9, "oak": 0.1}, Rank.CLASS, "Aves", 0.9),
    ],
)
def test_doubt_moves_the_answer_up(probabilities: dict[str, float], rank: Rank, name: str, probability: float) -> None:
    answer = _answer(**probabilities)
    assert answer.taxon is not None
    assert (answer.rank, answer.taxon.scientific) == (rank, name)
    assert answer.probability == pytest.approx(probability)


def test_nothing_is_named_below_the_floor() -> None:
    answer = _answer(floor=0.9, lion=0.5, oak=0.5)
    assert answer.taxon is None
    assert answer.rank is None


def test_vector_of_a_taxon_is_that_taxon() -> None:
    answers = _classifier().classify(np.eye(len(TREE), dtype=np.float32))
    assert [answer.taxon for answer in answers] == TREE.taxa
    assert _classifier().classify(np.zeros((0, len(TREE)))) == []


@given(st.lists(st.floats(0.001, 1), min_size=len(TREE), max_size=len(TREE)), st.floats(0.05, 1))
def test_ranks_are_one_lineage_with_falling_probability(weights: list[float], floor: float) -> None:
    total = np.asarray(weights, np.float32) / sum(weights)
    answer = _classifier(floor).answers(total[None])[0]
    values = [probability for _, probability in answer.ranks]
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(values))
    deepest = answer.ranks[-1][0]
    assert all(
        taxon.lineage[: rank + 1] == deepest.lineage[: rank + 1] for rank, (taxon, _) in enumerate(answer.ranks)
    )
    assert [p for _, p in answer.top] == sorted((p for _, p in answer.top), reverse=True)
    if answer.taxon:
        assert answer.probability >= floor
        assert answer.rank == answer.taxon.rank


@given(st.integers(0, 2**32), st.sampled_from([1, 7, 300, 5000, 5600]), st.integers(1, 6))
def test_best_taxa_are_those_that_sorting_finds(seed: int, num_taxa: int, k: int) -> None:
    score_BN = np.random.default_rng(seed).integers(0, 3000, (3, num_taxa)).astype(np.float32)  # some are equal
    order_BN = np.argsort(-score_BN, axis=1, kind="stable")
    assert top(score_BN, k).tolist() == order_BN[:, :k].tolist()
