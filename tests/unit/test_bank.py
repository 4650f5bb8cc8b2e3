"""The LabelBank: made, kept, gone on with, cut to clades; and which species go into it."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.labelling.selection import choose_species, clade_notes
from trygon.models.folder import WEIGHTS_NAME
from trygon.models.model import Model, load_model
from trygon.taxonomy.captions import TextType, caption
from trygon.taxonomy.tables import TAXA_SCHEMA, read_taxa
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.tiny import write_tiny_model
from trygon_jobs import build_labels

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


def test_weights_that_are_no_longer_what_they_were_are_told(model: Model, tmp_path: Path) -> None:
    """It is not the labels that are wrong, where one byte of the weights is."""
    folder = write_tiny_model(tmp_path / "model")
    bank = LabelBank.build(TAXA, load_model(folder, "cpu"), TextType.SCI)
    weights = bytearray((folder / WEIGHTS_NAME).read_bytes())
    weights[-1] ^= 1
    (folder / WEIGHTS_NAME).write_bytes(weights)
    with pytest.raises(
        UserError, match=r"the weights in .* were damaged or replaced since; bring the former ones back"
    ):
        bank.require_model(load_model(folder, "cpu"))


def test_half_a_bank_is_no_bank(model: Model, tmp_path: Path) -> None:
    LabelBank.build(TAXA, model, TextType.SCI).save(tmp_path)
    np.save(tmp_path / "vectors.npy", np.zeros((2, 16), np.float32))
    with pytest.raises(UserError, match="incomplete"):
        LabelBank.load(tmp_path)
    (tmp_path / "bank.json").unlink()
    with pytest.raises(UserError, match="build-labels"):
        LabelBank.load(tmp_path)


def _names(tree: TaxonTree) -> set[str]:
    return {taxon.scientific for taxon in tree.taxa}


def _saved(folder: Path, vector_ND: np.ndarray, tree: TaxonTree = TAXA) -> Path:
    LabelBank(tree, vector_ND, 20.0, "model", "digest", TextType.SCI).save(folder)
    return folder


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_damaged_vector_is_named(value: float, tmp_path: Path) -> None:
    vector_ND = np.eye(len(TAXA), dtype=np.float32)
    LabelBank.load(_saved(tmp_path, vector_ND), verify=True)
    vector_ND[1, 1] = value
    np.save(tmp_path / "vectors.npy", vector_ND)
    with pytest.raises(UserError, match=f"are damaged, the first of them that of {TAXA.taxon(1).scientific}"):
        LabelBank.load(tmp_path, verify=True)


@pytest.mark.parametrize(
    "other_ND",
    [np.eye(4)[[1, 0, 2, 3]], np.diag([1.0, 1.0, -1.0, 1.0]), np.eye(4)[::-1], np.eye(4) + 2**-12],
    ids=["two-swapped", "a-sign", "another-tree", "a-bit"],
)
def test_vectors_of_unit_length_that_are_others_are_refused(other_ND: np.ndarray, tmp_path: Path) -> None:
    place = _saved(tmp_path, np.eye(len(TAXA)))
    np.save(place / "vectors.npy", np.ascontiguousarray(other_ND, np.float32))
    with pytest.raises(
        UserError, match=r"are not those that were written there; remove it and build the labels again"
    ):
        LabelBank.load(place, verify=True)


@pytest.mark.parametrize("num_bytes", [0, 5, 100, 160])
def test_vectors_that_were_cut_off_are_one_line(num_bytes: int, tmp_path: Path) -> None:
    path = _saved(tmp_path / "bank", np.eye(len(TAXA))) / "vectors.npy"
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(UserError, match=r"the vectors in .*bank are incomplete .*; remove it and build"):
        LabelBank.load(tmp_path / "bank")
    path.unlink()
    with pytest.raises(UserError, match=r"the vectors in .*bank are incomplete .*; remove it and build"):
        LabelBank.load(tmp_path / "bank")


def test_bank_of_another_version_is_refused(tmp_path: Path) -> None:
    card_path = _saved(tmp_path, np.eye(len(TAXA))) / "bank.json"
    card = json.loads(card_path.read_text())
    del card["vectors_digest"]
    card_path.write_text(json.dumps(card))
    with pytest.raises(UserError, match="another version"):
        LabelBank.load(tmp_path)


def test_a_process_has_no_copy_of_the_vectors(tmp_path: Path) -> None:
    names = [(*_MAMMAL, "Rodentia", "Muridae", f"Genus{n // 100:04d}", f"species{n}") for n in range(30_000)]
    tree = TaxonTree.from_taxa([*map(Taxon, names), WREN, OAK])
    vector_ND = np.random.default_rng(0).standard_normal((len(tree), 256), np.float32)
    _saved(tmp_path, vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True), tree)
    tracemalloc.start()
    bank = LabelBank.load(tmp_path, verify=True)
    rodents = bank.within(["Rodentia"])
    answer = Classifier(rodents).classify(rodents.vector_ND[7:8])[0]
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.taxon == rodents.tree.taxon(7)
    assert peak_bytes < bank.vector_ND.nbytes / 2
    assert np.shares_memory(rodents.vector_ND, bank.vector_ND)
    assert bank.vector_ND.T.flags.c_contiguous
    some = bank.select([3, 5, 6])
    np.testing.assert_array_equal(some.vector_ND, bank.vector_ND[[3, 5, 6]])
    assert some.vector_ND.T.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        bank.vector_ND[0, 0] = 1


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


def test_a_clade_is_known_by_its_path_and_namesakes_are_told(model: Model) -> None:
    fly = Taxon(("Animalia", "Arthropoda", "Insecta", "Diptera", "Tipulidae", "Aves", "ornata"))
    tree, path = TaxonTree.from_taxa([*TAXA.taxa, fly]), "Animalia/Arthropoda/Insecta/Diptera/Tipulidae/Aves"
    bank = LabelBank.build(tree, model, TextType.SCI)
    for clade, names in (("Aves", {WREN.scientific}), (path, {fly.scientific}), ("Animalia/Aves", {WREN.scientific})):
        assert _names(bank.within([clade]).tree) == names
        assert _names(choose_species(tree.table, [clade], 9)) == names
    (note,) = clade_notes(tree.table, ["Aves", "Mammalia", path])
    assert note.startswith(f"--clade Aves is taken for Animalia/Chordata/Aves, and not {path}")
    assert not clade_notes(tree.table, [])
    with pytest.raises(UserError, match="--clade Plantae/Aves"):
        choose_species(tree.table, ["Plantae/Aves"], 9)


def _labels_config(taxa: str, include: str | None = None) -> build_labels.BuildLabelsConfig:
    return build_labels.BuildLabelsConfig(model="m", out="o", taxa=taxa, include=include, limit=None)


def test_whole_binomials_of_a_table_are_read_as_species(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, taxon in (("taxa", LION), ("include", WREN)):
        lineage = [*taxon.lineage[:-1], f"{taxon.scientific} (Linnaeus, 1758)"]
        rows = [",".join(RANKS), ",".join(f'"{text}"' for text in lineage), ",".join(["unknown"] * 7)]
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
    taxa, include = (str(tmp_path / f"{name}.csv") for name in ("taxa", "include"))
    tree = build_labels._choose(_labels_config(taxa, include))
    assert {taxon.lineage for taxon in tree.taxa} == {LION.lineage, WREN.lineage}
    assert capsys.readouterr().out.count("rows left out: 1 no usable name") == 2


def test_lines_of_a_catalogue_that_are_torn_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["scientificName\ttaxonRank", "Panthera leo\tspecies", "Panthera onca", "(unknown)\tspecies"]
    (tmp_path / "taxa.tsv").write_text("\n".join(rows) + "\n")
    tree = build_labels._choose(_labels_config(str(tmp_path / "taxa.tsv")))
    assert _names(tree) == {"Panthera leo"}
    assert "rows left out: 1 wrong number of columns, 1 no usable name" in capsys.readouterr().out


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
