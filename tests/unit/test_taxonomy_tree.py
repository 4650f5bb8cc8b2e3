"""TaxonTree against the plain way of computing the same."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.errors import UserError
from trygon.taxonomy.taxon import RANKS, Lineage, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree

# Few names at each rank, blanks among them: shared prefixes, homonyms and gaps are then the rule.
lineages = st.tuples(*[st.sampled_from(["", "Aus", "Bus", "Zus"])] * 6, st.sampled_from(["", "albus", "niger"]))
taxa_lists = st.lists(st.builds(Taxon, lineages, st.sampled_from(["", "thing"])), min_size=1, max_size=30)


def _lineage(*names: str) -> Lineage:
    return (*names, *[""] * (7 - len(names)))  # pyright: ignore[reportReturnType]


@given(taxa_lists)
def test_holds_each_lineage_once_whatever_the_order(taxa: list[Taxon]) -> None:
    tree, backwards = TaxonTree.from_taxa(taxa), TaxonTree.from_taxa(taxa[::-1])
    assert sorted(taxon.lineage for taxon in tree.taxa) == sorted({taxon.lineage for taxon in taxa})
    assert tree.digest == backwards.digest
    assert tree.taxa == [tree.taxon(index) for index in range(len(tree))]


@given(taxa_lists)
def test_common_name_survives_a_double_without_one(taxa: list[Taxon]) -> None:
    named = {taxon.lineage for taxon in taxa if taxon.common}
    assert {taxon.lineage for taxon in TaxonTree.from_taxa(taxa).taxa if taxon.common} == named


@given(taxa_lists)
def test_clades_are_slices_and_cover_the_tree_in_order(taxa: list[Taxon]) -> None:
    tree = TaxonTree.from_taxa(taxa)
    for rank in Rank:
        prefixes = [taxon.lineage[: rank + 1] for taxon in tree.taxa]
        num_clades = len(tree.clade_starts[rank])
        assert num_clades == len(set(prefixes))
        end = 0
        for clade in range(num_clades):
            members = tree.clade_slice(rank, clade)
            assert members.start == end
            assert len(set(prefixes[members])) == 1
            assert set(tree.clade_ids[rank][members]) == {clade}
            assert tree.clade_named[rank][clade] == bool(prefixes[members.start][rank])
            end = members.stop
        assert end == len(tree)


@given(taxa_lists, st.integers(0, 2**32 - 1))
def test_roll_up_equals_the_plain_sum(taxa: list[Taxon], seed: int) -> None:
    tree = TaxonTree.from_taxa(taxa)
    scores_BN = np.random.default_rng(seed).random((2, len(tree)))
    for rank in Rank:
        totals: dict[tuple[str, ...], np.ndarray] = {}
        for index, taxon in enumerate(tree.taxa):
            prefix = taxon.lineage[: rank + 1]
            totals[prefix] = totals.get(prefix, np.zeros(2)) + scores_BN[:, index]
        np.testing.assert_allclose(tree.roll_up(scores_BN, rank), np.stack(list(totals.values()), axis=1))


@given(taxa=taxa_lists)
def test_survives_a_file(tmp_path_factory: pytest.TempPathFactory, taxa: list[Taxon]) -> None:
    tree = TaxonTree.from_taxa(taxa)
    path = tmp_path_factory.getbasetemp() / "taxa.parquet"
    tree.save(path)
    loaded = TaxonTree.load(path)
    assert loaded.digest == tree.digest
    assert np.array_equal(loaded.clade_ids, tree.clade_ids)


ORTHOPTERA = _lineage("Animalia", "Arthropoda", "Insecta", "Orthoptera", "Tettigoniidae", "Ephippiger", "ephippiger")
# Homonyms: a bird and a plant genus, each with its own species.
OENANTHE_BIRD = _lineage("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Oenanthe", "oenanthe")
OENANTHE_PLANT = _lineage("Plantae", "Tracheophyta", "Magnoliopsida", "Apiales", "Apiaceae", "Oenanthe", "crocata")
TREE = TaxonTree.from_taxa([Taxon(lineage) for lineage in (ORTHOPTERA, OENANTHE_PLANT, OENANTHE_BIRD)])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Oenanthe", [OENANTHE_BIRD, OENANTHE_PLANT]),
        ("Oenanthe oenanthe", [OENANTHE_BIRD]),
        ("Animalia", [ORTHOPTERA, OENANTHE_BIRD]),
        ("oenanthe", []),
        ("Nothing", []),
        ("", []),
    ],
)
def test_find(name: str, expected: list[Lineage]) -> None:
    found = [taxon.lineage for clade in TREE.find(name) for taxon in TREE.taxa[clade]]
    assert sorted(found) == sorted(expected)


def test_select_keeps_those_taxa() -> None:
    assert [taxon.lineage for taxon in TREE.select([2]).taxa] == [TREE.taxa[2].lineage]


def test_csv_of_a_user(tmp_path: Path) -> None:
    path = tmp_path / "taxa.csv"
    path.write_text(",".join(RANKS) + "\n" + ",".join(OENANTHE_BIRD) + "\nPlantae,,,,,,\n")
    assert [taxon.rank for taxon in TaxonTree.load(path).taxa] == [Rank.SPECIES, Rank.KINGDOM]


def test_bad_files_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        TaxonTree.load(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("kingdom")
    with pytest.raises(UserError, match=r"text\.parquet"):
        TaxonTree.load(tmp_path / "text.parquet")
    (tmp_path / "short.csv").write_text("kingdom,phylum\nAnimalia,Chordata\n")
    with pytest.raises(UserError, match="no column 'class'"):
        TaxonTree.load(tmp_path / "short.csv")
    with pytest.raises(UserError, match="empty"):
        TaxonTree.from_table(pa.table({rank: pa.array([], pa.string()) for rank in RANKS}))
    with pytest.raises(UserError, match="empty"):
        TaxonTree.from_taxa([])
