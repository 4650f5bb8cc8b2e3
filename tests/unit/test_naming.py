"""What a request names, in a tree: clades, paths, and names in any words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.taxonomy.clade_names import clade_slices, namesake_notes, path_of
from trygon.taxonomy.taxon import Lineage, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon_serving import taxa
from trygon_serving.naming import taxa_of_names

MORUS_BIRD = Taxon(("Animalia", "Chordata", "Aves", "Suliformes", "Sulidae", "Morus", "bassanus"), "Northern Gannet")
MORUS_TREE = Taxon(("Plantae", "Tracheophyta", "", "Rosales", "Moraceae", "Morus", "alba"), "White Mulberry")
FOX = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Vulpes", "vulpes"), "Red Fox")
OTHER_FOX = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Urocyon", "littoralis"), "Red Fox")
TREE = TaxonTree.from_taxa([MORUS_BIRD, MORUS_TREE, FOX, OTHER_FOX])


def _species(slices: list[slice]) -> set[str]:
    return {TREE.taxon(row).scientific for part in slices for row in range(part.start, part.stop)}


def test_a_name_means_all_its_namesakes_and_a_path_one_of_them() -> None:
    assert _species(clade_slices(TREE, "Morus")) == {"Morus bassanus", "Morus alba"}
    assert _species(clade_slices(TREE, "Plantae/Tracheophyta/Rosales/Moraceae/Morus")) == {"Morus alba"}
    assert _species(clade_slices(TREE, path_of(MORUS_BIRD))) == {"Morus bassanus"}
    assert clade_slices(TREE, "Plantae/Aves") == []
    assert clade_slices(TREE, "/") == []


COMB_JELLY = Taxon(("Animalia", "Ctenophora", "Nuda", "Beroida", "Beroidae", "Beroe", "cucumis"))
CRANE_FLY = Taxon(("Animalia", "Arthropoda", "Insecta", "Diptera", "Tipulidae", "Ctenophora", "ornata"))


def test_a_name_with_namesakes_says_what_it_is_taken_for_and_how_to_say_another() -> None:
    tree = TaxonTree.from_taxa([MORUS_BIRD, MORUS_TREE, FOX, COMB_JELLY, CRANE_FLY])
    fly, mulberry = path_of(CRANE_FLY.at(Rank.GENUS)), "Plantae/Tracheophyta/Rosales/Moraceae/Morus"
    assert list(namesake_notes(tree, ["Ctenophora", "Morus", "Canidae", "Vulpes vulpes", fly, "none"])) == [
        f"--clade Ctenophora is taken for Animalia/Ctenophora, and not {fly}: give one of these to choose it alone",
        f"--clade Morus is taken for {path_of(MORUS_BIRD.at(Rank.GENUS))} and {mulberry}: "
        "give one of these to choose it alone",
    ]
    nested = Taxon(("Animalia", "Ctenophora", "", "", "", "Ctenophora", "prima"))
    assert not list(namesake_notes(TaxonTree.from_taxa([COMB_JELLY, nested]), ["Ctenophora"]))


def test_names_are_known_where_they_mean_one_taxon() -> None:
    names = ["vulpes VULPES", "Northern gannet", "Canidae", "Red Fox", "Morus", "a tent", "northern gannet"]
    found = taxa_of_names(TREE, names)
    assert found[0] == FOX
    assert found[1] == found[6] == MORUS_BIRD
    assert found[2] == FOX.at(Rank.FAMILY)
    assert found[3:6] == [None, None, None]  # two foxes, two genera, none


def _shown(found: list[taxa.Found], limit: int = 100) -> list[str]:
    return [it.path for it in taxa.page_of(TREE, found, "all", 0, limit).taxa]


def test_browsing_passes_over_blank_ranks() -> None:
    assert _shown(taxa.children(TREE, "Plantae/Tracheophyta")) == ["Plantae/Tracheophyta/Rosales"]
    assert _shown(taxa.children(TREE, "")) == ["Animalia", "Plantae"]


def test_search_gives_what_is_the_text_before_what_begins_with_it_and_what_holds_it() -> None:
    assert _shown(taxa.search(TREE, "red fox", Rank.SPECIES)) == [path_of(OTHER_FOX), path_of(FOX)]
    assert _shown(taxa.search(TREE, "CANIDAE", None)) == ["Animalia/Chordata/Mammalia/Carnivora/Canidae"]
    found = _shown(taxa.search(TREE, "morus", None))
    assert [path.split("/")[-1] for path in found] == ["Morus", "Morus", "bassanus", "alba"]


names = st.sampled_from(["", "A", "B", "C"])
trees = st.lists(st.tuples(*[names] * 7), min_size=1, max_size=30)


@pytest.mark.filterwarnings("ignore")
@given(trees)
def test_browsing_reaches_every_taxon(lineages: list[Lineage]) -> None:
    tree = TaxonTree.from_taxa(Taxon(it) for it in lineages)
    everything = np.zeros(len(tree), int)
    for rank, clades in taxa.children(tree, ""):
        for clade in clades:
            everything[tree.clade_slice(rank, int(clade))] += 1
    blank = [not any(tree.taxon(row).lineage) for row in range(len(tree))]
    assert all(everything[np.flatnonzero(~np.asarray(blank))] == 1)
