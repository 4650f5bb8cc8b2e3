"""TaxonTree against the plain way of computing the same."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trygon.errors import UserError
from trygon.taxonomy.taxon import RANKS, Lineage, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree

# Few names at each rank, blanks among them: shared prefixes, homonyms and gaps are then the rule.
lineages = st.tuples(*[st.sampled_from(["", "Aus", "Bus", "Zus"])] * 6, st.sampled_from(["", "albus", "niger"]))
taxa_lists = st.lists(st.builds(Taxon, lineages, st.sampled_from(["", "thing", "being"])), min_size=1, max_size=30)


def _lineage(*names: str) -> Lineage:
    return (*names, *[""] * (7 - len(names)))  # pyright: ignore[reportReturnType]


@given(taxa_lists)
def test_holds_each_lineage_once_whatever_the_order(taxa: list[Taxon]) -> None:
    tree, backwards = TaxonTree.from_taxa(taxa), TaxonTree.from_taxa(taxa[::-1])
    assert sorted(taxon.lineage for taxon in tree.taxa) == sorted({taxon.lineage for taxon in taxa})
    assert tree.digest == backwards.digest
    assert tree.taxa == backwards.taxa
    assert tree.taxa == [tree.taxon(index) for index in range(len(tree))]


few_lineages = st.sampled_from([_lineage("Aus"), _lineage("Aus", "Bus")])
doubled = st.lists(st.builds(Taxon, few_lineages, st.sampled_from(["", "thing", "being"])), min_size=1, max_size=6)


@given(doubled)
def test_common_name_survives_a_double_without_one(taxa: list[Taxon]) -> None:
    names = {
        taxon.lineage: sorted(it.common for it in taxa if it.lineage == taxon.lineage and it.common) for taxon in taxa
    }
    for taxon in TaxonTree.from_taxa(taxa).taxa:
        # Of several the first in the alphabet: not the one whose row comes first.
        assert taxon.common == next(iter(names[taxon.lineage]), "")


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


@given(taxa_lists, st.integers(0, 2**32 - 1))
def test_roll_up_to_all_ranks_is_that_to_each(taxa: list[Taxon], seed: int) -> None:
    tree = TaxonTree.from_taxa(taxa)
    scores_BN = np.random.default_rng(seed).random((3, len(tree)))
    sums = tree.roll_up_all(scores_BN)
    assert len(sums) == len(Rank)
    for rank in Rank:
        np.testing.assert_allclose(sums[rank], tree.roll_up(scores_BN, rank))


def _named_clades(taxon: Taxon) -> list[Lineage]:
    """The taxon's nodes from the kingdom down: the prefixes of its lineage that end in a name."""
    return [_lineage(*taxon.lineage[: rank + 1]) for rank in Rank if taxon.lineage[rank]]


@given(taxa_lists)
def test_distances_are_those_of_the_plain_way(taxa: list[Taxon]) -> None:
    tree = TaxonTree.from_taxa(taxa)
    a, b = (index.ravel() for index in np.indices((len(tree), len(tree))))
    shared, distances = tree.shared_ranks(a, b), tree.distance(a, b)
    for pair, (one, other) in enumerate(zip(a, b, strict=True)):
        first, second = tree.taxa[one], tree.taxa[other]
        prefix = [rank for rank in Rank if first.lineage[: rank + 1] == second.lineage[: rank + 1]]
        assert shared[pair] == len(prefix)
        above, beside = _named_clades(first), _named_clades(second)
        common = [node for node in above if node in beside]
        assert distances[pair] == len(above) + len(beside) - 2 * len(common)


def test_gap_in_a_lineage_is_no_edge() -> None:
    ranks = ("Animalia", "Chordata", "Aves", "Passeriformes")
    names = [(*ranks, "", "Aus", "albus"), (*ranks, "", "Bus", "niger"), ("Plantae", *[""] * 6), ("", *[""] * 6)]
    tree = TaxonTree.from_taxa([Taxon(_lineage(*name)) for name in names])
    place = {taxon.lineage: index for index, taxon in enumerate(tree.taxa)}
    aus, bus, plants, nothing = (place[_lineage(*name)] for name in names)
    assert tree.shared_ranks(np.asarray([aus]), np.asarray([bus])).tolist() == [5]
    # Genus and species on either side; through the root of all kingdoms; a taxon without a name is that root.
    assert tree.distance(np.full(4, aus), np.asarray([bus, aus, plants, nothing])).tolist() == [4, 0, 7, 6]


@given(taxa_lists)
def test_the_deepest_rank_is_that_of_the_taxon(taxa: list[Taxon]) -> None:
    tree = TaxonTree.from_taxa(taxa)
    assert tree.deepest.tolist() == [-1 if taxon.rank is None else taxon.rank for taxon in tree.taxa]


@given(taxa_lists)
def test_stands_in_the_order_of_its_names(taxa: list[Taxon]) -> None:
    tree = TaxonTree.from_taxa(taxa)
    assert [taxon.lineage for taxon in tree.taxa] == sorted({taxon.lineage for taxon in taxa})


@given(taxa_lists)
def test_is_the_same_from_columns_of_any_text_type(taxa: list[Taxon]) -> None:
    tree = TaxonTree.from_taxa(taxa)
    table = pa.table([pa.array([it.lineage[rank] or None for it in taxa], pa.string()) for rank in Rank], names=RANKS)
    table = table.append_column("common", pa.array([taxon.common for taxon in taxa]))
    coded = pa.table({name: table[name].dictionary_encode() for name in table.column_names})
    halves = pa.concat_tables([coded.slice(0, len(taxa) // 2), table.cast(coded.schema).slice(len(taxa) // 2)])
    wide = table.cast(pa.schema([(name, pa.large_string()) for name in table.column_names]))
    for other in (coded, halves, wide):
        same = TaxonTree.from_table(other)
        assert same.taxa == tree.taxa
        assert same.digest == tree.digest


def test_digest_knows_where_a_name_ends_and_what_is_common() -> None:
    digests = {
        TaxonTree.from_taxa([Taxon(_lineage(*names), common)]).digest
        for names, common in [(("Ab", "c"), ""), (("A", "bc"), ""), (("Abc",), ""), (("Ab", "c"), "thing")]
    }
    assert len(digests) == 4


@settings(max_examples=25)  # each writes a file
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
        ("Muscicapidae oenanthe", []),
        ("Oenanthe ", []),
        ("Nothing", []),
        ("", []),
    ],
)
def test_find(name: str, expected: list[Lineage]) -> None:
    found = [taxon.lineage for clade in TREE.find(name) for taxon in TREE.taxa[clade]]
    assert sorted(found) == sorted(expected)


def test_select_keeps_those_taxa() -> None:
    assert [taxon.lineage for taxon in TREE.select([2]).taxa] == [TREE.taxa[2].lineage]


@given(taxa_lists, st.lists(st.integers(0, 30), min_size=2, max_size=8, unique=True))
def test_a_part_is_the_tree_of_its_stretches(taxa: list[Taxon], cuts: list[int]) -> None:
    tree = TaxonTree.from_taxa(taxa)
    ends = sorted({min(cut, len(tree)) for cut in cuts} | {0, len(tree)})
    slices = [slice(*pair) for pair in pairwise(ends)][::2]  # those between them are left out
    part = tree.part(slices)
    copied = tree.select([row for it in slices for row in range(it.start, it.stop)])
    assert part.taxa == copied.taxa
    assert part.clade_ids.tolist() == copied.clade_ids.tolist()
    assert part.digest == copied.digest
    assert [part.taxon(row) for row in range(len(part))] == copied.taxa
    for rank in Rank:
        assert part.clade_named[rank].tolist() == copied.clade_named[rank].tolist()


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
