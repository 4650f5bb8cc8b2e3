"""What pybioclip and the scripts around it get wrong about labels, each beside what is right here."""

from pathlib import Path

import numpy as np
import pytest

from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.models.model import load_model
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Rank, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.tiny import write_tiny_model

_FISH = ("Animalia", "Chordata")
_LION = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo"), "lion")
_WREN = Taxon(("Animalia", "Chordata", "Aves", "Passeriformes", "Troglodytidae", "Troglodytes", "troglodytes"))
_ROBIN = Taxon(("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Erithacus", "rubecula"))
_GOLDFISH = Taxon((*_FISH, "", "Cypriniformes", "Cyprinidae", "Carassius", "auratus"), "goldfish")


def _bank(*taxa: Taxon) -> LabelBank:
    tree = TaxonTree.from_taxa(taxa)
    return LabelBank(tree, np.eye(len(tree), 4, dtype=np.float32), 10.0, "model", "", TextType.SCI)


def test_no_taxon_of_a_last_short_batch_has_a_vector_of_zeros(tmp_path: Path) -> None:
    """The published script encodes `int(N / batch)` batches; what is left over stays zero, likely for good."""
    model = load_model(write_tiny_model(tmp_path), "cpu")
    bank = LabelBank.build(TaxonTree.from_taxa([_LION, _WREN, _ROBIN, _GOLDFISH]), model, TextType.SCI, chunk=3)
    np.testing.assert_allclose(np.linalg.norm(bank.vector_ND.astype(np.float32), axis=1), 1, atol=2e-3)


def test_a_single_label_is_an_answer() -> None:
    """pybioclip 2.1 ends with an error on a tensor without dimensions (its issue 200)."""
    (answer,) = Classifier(_bank(_LION)).classify(np.asarray([[1, 0, 0, 0]], np.float32))
    assert (answer.taxon, answer.rank, answer.probability) == (_LION, Rank.SPECIES, 1.0)


def test_within_a_clade_only_its_taxa_are_summed() -> None:
    """A subset at a rank above the species once gave another best taxon than the species' own (pybioclip, pull 86)."""
    whole = _bank(_LION, _WREN, _ROBIN)
    position = {taxon.lineage[5]: row for row, taxon in enumerate(whole.tree.taxa)}
    vector_BD = np.zeros((1, 4), np.float32)
    vector_BD[0, [position["Panthera"], position["Troglodytes"], position["Erithacus"]]] = 0.9, 0.5, 0.1
    birds = Classifier(whole.within(["Aves"]))
    (answer,) = birds.classify(vector_BD)
    assert answer.taxon == _WREN
    shares = np.exp(10 * np.asarray([0.5, 0.1]))
    assert answer.probability == pytest.approx(shares[0] / shares.sum(), rel=1e-3)
    assert answer.ranks[Rank.CLASS][1] == pytest.approx(1)


def test_a_species_without_a_class_can_be_the_answer() -> None:
    """Lineages with a hole were missing from the published labels, goldfish among them (pybioclip, issue 111)."""
    fish = _bank(_LION, _GOLDFISH)
    vector_BD = fish.vector_ND[[list(fish.tree.taxa).index(_GOLDFISH)]].astype(np.float32)
    (answer,) = Classifier(fish).classify(vector_BD)
    assert answer.taxon == _GOLDFISH
    assert answer.rank is Rank.SPECIES
