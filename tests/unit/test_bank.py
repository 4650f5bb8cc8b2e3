"""The LabelBank: made, kept, gone on with, cut to clades; and which species go into it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.selection import choose_species
from trygon.models.model import Model, load_model
from trygon.taxonomy.captions import TextType, caption
from trygon.taxonomy.tables import TAXA_SCHEMA, read_taxa
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.tiny import write_tiny_model

_MAMMAL, _BIRD = ("Animalia", "Chordata", "Mammalia"), ("Animalia", "Chordata", "Aves")
LION = Taxon((*_MAMMAL, "Carnivora", "Felidae", "Panthera", "leo"), "lion")
TIGER = Taxon((*_MAMMAL, "Carnivora", "Felidae", "Panthera", "tigris"))
WREN = Taxon((*_BIRD, "Passeriformes", "Troglodytidae", "Troglodytes", "troglodytes"), "wren")
OAK = Taxon(("Plantae", "Tracheophyta", "Magnoliopsida", "Fagales", "Fagaceae", "Quercus", "robur"), "oak")
TAXA = TaxonTree.from_taxa([LION, TIGER, WREN, OAK])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(write_tiny_model(tmp_path_factory.mktemp("model")), "cpu")


def test_bank_comes_back_as_it_was_saved(model: Model, tmp_path: Path) -> None:
    bank = LabelBank.build(TAXA, model, TextType.TAXON_COM)
    bank.save(tmp_path)
    loaded = LabelBank.load(tmp_path)
    np.testing.assert_array_equal(loaded.vector_ND, bank.vector_ND)
    assert loaded.tree.taxa == TAXA.taxa
    loaded.require_model(model)
    assert LabelBank.stands(tmp_path, TAXA, model, TextType.TAXON_COM)
    assert not LabelBank.stands(tmp_path, TAXA, model, TextType.SCI)


def test_vectors_stand_in_the_order_of_the_tree(model: Model) -> None:
    bank = LabelBank.build(TAXA, model, TextType.COM, chunk=3)
    expected = model.encode_texts([caption(taxon, TextType.COM) for taxon in TAXA.taxa])
    np.testing.assert_allclose(bank.vector_ND, expected, atol=2e-3)


def test_build_goes_on_behind_what_a_crash_left(model: Model, tmp_path: Path) -> None:
    told = []

    def crash(num_done: int) -> None:
        told.append(num_done)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LabelBank.build(TAXA, model, TextType.SCI, crash, chunk=1, scratch=tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 2
    bank = LabelBank.build(TAXA, model, TextType.SCI, chunk=1, scratch=tmp_path)
    np.testing.assert_array_equal(bank.vector_ND, LabelBank.build(TAXA, model, TextType.SCI, chunk=1).vector_ND)


def test_bank_of_clades(model: Model) -> None:
    bank = LabelBank.build(TAXA, model, TextType.SCI)
    assert bank.within([]) is bank
    assert [taxon.scientific for taxon in bank.within(["Aves", "Panthera leo"]).tree.taxa] == [
        "Troglodytes troglodytes",
        "Panthera leo",
    ]
    with pytest.raises(UserError, match="Fungi"):
        bank.within(["Fungi"])


def test_bank_of_another_model_is_refused(model: Model, tmp_path: Path) -> None:
    LabelBank.build(TAXA, model, TextType.SCI).save(tmp_path / "bank")
    other = load_model(write_tiny_model(tmp_path / "other", seed=1), "cpu")
    with pytest.raises(UserError, match="build them again"):
        LabelBank.load(tmp_path / "bank").require_model(other)


def test_half_a_bank_is_no_bank(model: Model, tmp_path: Path) -> None:
    LabelBank.build(TAXA, model, TextType.SCI).save(tmp_path)
    np.save(tmp_path / "vectors.npy", np.zeros((2, 16), np.float16))
    with pytest.raises(UserError, match="incomplete"):
        LabelBank.load(tmp_path)
    (tmp_path / "bank.json").unlink()
    with pytest.raises(UserError, match="build-labels"):
        LabelBank.load(tmp_path)


def _names(tree: TaxonTree) -> set[str]:
    return {taxon.scientific for taxon in tree.taxa}


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_damaged_vector_is_named(value: float) -> None:
    vector_ND = np.eye(len(TAXA), dtype=np.float16)
    bank = LabelBank(TAXA, vector_ND, 1.0, "model", "digest", TextType.SCI)
    bank.require_sound("labels")
    vector_ND[1, 1] = value
    with pytest.raises(UserError, match=f"labels are damaged, the first of them that of {TAXA.taxon(1).scientific}"):
        bank.require_sound("labels")


def test_species_with_a_common_name_come_first_then_the_first_clade() -> None:
    taxa = TAXA.table
    assert _names(choose_species(taxa, ["Mammalia", "Aves"], 2)) == {"Panthera leo", "Troglodytes troglodytes"}
    assert _names(choose_species(taxa, ["Aves", "Mammalia"], 1)) == {"Troglodytes troglodytes"}
    assert _names(choose_species(taxa, ["Mammalia"], 9)) == {"Panthera leo", "Panthera tigris"}
    assert len(choose_species(taxa, [], 9)) == 4


def test_choice_is_the_same_whatever_the_order_of_the_table() -> None:
    rows = [Taxon((*_MAMMAL, "Rodentia", "Muridae", "Mus", f"species{'abcdefghij'[n]}")) for n in range(10)]
    there, back = (TaxonTree.from_taxa(order).table for order in (rows, rows[::-1]))
    back = back.take(pa.array(range(9, -1, -1)))
    assert _names(choose_species(there, ["Mus"], 4)) == _names(choose_species(back, ["Mus"], 4))


def test_included_taxa_are_always_in() -> None:
    tree = choose_species(TAXA.table, ["Aves"], 1, TaxonTree.from_taxa([OAK, WREN]).table)
    assert _names(tree) == {"Quercus robur", "Troglodytes troglodytes"}


def test_clade_that_the_taxonomy_lacks_is_one_line() -> None:
    with pytest.raises(UserError, match="--clade Dragons"):
        choose_species(TAXA.table, ["Dragons"], 3)


def test_taxa_from_csv_and_what_is_wrong_with_them(tmp_path: Path) -> None:
    path = tmp_path / "taxa.csv"
    path.write_text("kingdom,phylum,class,order,family,genus,species\n" + ",".join(LION.lineage) + "\n")
    table = read_taxa(path)
    assert table.schema.equals(TAXA_SCHEMA)
    assert _names(choose_species(table, [], 1)) == {"Panthera leo"}
    path.write_text("name\nlion\n")
    with pytest.raises(UserError, match="no column 'kingdom'"):
        read_taxa(path)
    with pytest.raises(UserError, match="does not exist"):
        read_taxa(tmp_path / "none.parquet")
