"""The synthetic tree: its shape, its names, and that a seed decides all of it."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trygon.data.synthetic.genes import individual
from trygon.data.synthetic.organism import PLANS
from trygon.data.synthetic.recipe import MIN_SPECIES
from trygon.data.synthetic.tree import KINGDOMS, Tree, grow, num_homonyms, num_nodes
from trygon.taxonomy.names import clean_lineage
from trygon.taxonomy.taxon import Rank


@pytest.fixture(scope="module")
def tree() -> Tree:
    return grow(3000, 5)


@settings(max_examples=25, deadline=None)
@given(st.integers(MIN_SPECIES, 3000), st.integers(0, 2**40))
def test_every_tree_is_whole(num_species: int, seed: int) -> None:
    tree = grow(num_species, seed)
    counts = num_nodes(num_species)
    assert [len(names) for names in tree.names] == [counts[rank] for rank in Rank]
    for rank in list(Rank)[1:]:
        parents = tree.parents[rank]
        assert (np.diff(parents) >= 0).all()  # siblings stand side by side
        assert len(np.unique(parents)) == counts[Rank(rank - 1)]  # none is childless
    lineages = {tree.lineage(species) for species in range(num_species)}
    assert len(lineages) == num_species
    assert len(tree.insect_species) >= 1
    assert tree.lineage(int(tree.insect_species[0]))[:3] == ("Animalia", "Arthropoda", "Insecta")


def test_counts_are_those_of_the_real_tree() -> None:
    inat21 = num_nodes(10_000)
    assert inat21[Rank.ORDER] == 273
    assert inat21[Rank.PHYLUM] == 13
    whole = num_nodes(1_100_000)
    for rank, real in {Rank.GENUS: 142_891, Rank.FAMILY: 10_714, Rank.ORDER: 1_642}.items():
        assert abs(whole[rank] / real - 1) < 0.05


def test_clades_are_as_uneven_as_in_nature(tree: Tree) -> None:
    sizes = np.sort(np.bincount(tree.parents[Rank.GENUS]))[::-1]  # genera in each family
    assert sizes[: len(sizes) // 10].sum() > 0.25 * sizes.sum()
    assert sizes[-1] == 1


def test_names_are_unique_but_for_the_homonyms(tree: Tree) -> None:
    for rank in (Rank.PHYLUM, Rank.CLASS, Rank.ORDER, Rank.FAMILY):
        assert len(set(tree.names[rank])) == len(tree.names[rank])
    doubled = {name: count for name, count in Counter(tree.names[Rank.GENUS]).items() if count > 1}
    assert len(doubled) == num_homonyms(len(tree.names[Rank.GENUS]))
    for name in doubled:
        kingdoms = {
            tree.lineage(species)[0]
            for species in range(tree.num_species)
            if tree.lineage(species)[Rank.GENUS] == name
        }
        assert kingdoms == {"Animalia", "Plantae"}


def test_names_are_clean_ones(tree: Tree) -> None:
    for species in range(0, tree.num_species, 7):
        assert clean_lineage(tree.lineage(species)) == tree.lineage(species)
    assert 0.3 < sum(map(bool, tree.commons)) / tree.num_species < 0.6


def test_the_seed_decides_the_tree(tree: Tree) -> None:
    again, other = grow(3000, 5), grow(3000, 6)
    assert again.names == tree.names
    assert again.commons == tree.commons
    assert other.names[1:] != tree.names[1:]
    assert other.names[0] == list(KINGDOMS)


def test_body_plans_follow_the_phylum(tree: Tree) -> None:
    plans = {tree.plan(species) for species in range(tree.num_species)}
    assert plans == set(PLANS)
    by_phylum: dict[int, set[str]] = {}
    for species in range(tree.num_species):
        by_phylum.setdefault(int(tree.ancestors[Rank.PHYLUM, species]), set()).add(tree.plan(species))
    assert all(len(plans) == 1 or plans == {"insect", "arthropod"} for plans in by_phylum.values())


def test_relatives_are_alike_the_more_the_closer_they_are(tree: Tree) -> None:
    genes = ("limbs", "form", "length", "girth", "wing_width", "saturation", "density")

    def genome(species: int) -> np.ndarray:
        found = individual(5, tree.lineage(species), np.random.default_rng([1, species]))
        return np.array([found[gene] for gene in genes])

    genomes_SG = np.stack([genome(species) for species in range(tree.num_species)])
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, tree.num_species, (2, 60_000))
    apart = np.abs(genomes_SG[first] - genomes_SG[second]).mean(axis=1)
    alike = tree.ancestors[:, first] == tree.ancestors[:, second]
    # Pairs whose last common ancestor is at each rank, from kingdom down to genus.
    deepest = alike[: Rank.SPECIES].sum(axis=0)
    means = [apart[deepest == depth].mean() for depth in range(1, len(Rank))]
    assert all(np.diff(means) < 0)
    assert means[-1] < 0.6 * means[0]


def test_individuals_of_a_species_differ_less_than_its_genus_does(tree: Tree) -> None:
    lineage = tree.lineage(0)
    one, other = (individual(5, lineage, np.random.default_rng(number)) for number in (1, 2))
    assert one["hue"] != other["hue"]
    assert abs(one["density"] - other["density"]) < 0.15
    assert one["limbs"] == other["limbs"]
