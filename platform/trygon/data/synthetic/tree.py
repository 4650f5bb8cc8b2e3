"""A random tree of life with the shape of the real one: how many nodes at each rank, and how unevenly they spread.

Knows names, parents and body plans; nothing of pictures or files.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trygon.data.synthetic.latin import Latin
from trygon.data.synthetic.organism import PLANS
from trygon.data.synthetic.recipe import MIN_SPECIES
from trygon.taxonomy.taxon import Lineage, Rank

KINGDOMS = ("Animalia", "Plantae", "Fungi")
_PLANS = {
    "Animalia": ("arthropod", "fish", "star", "bird", "snail", "beast", "worm"),
    "Plantae": ("flower", "frond", "rosette"),
    "Fungi": ("mushroom", "shelf", "coral"),
}
assert {plan for plans in _PLANS.values() for plan in plans} | {"insect"} == set(PLANS)

# Nodes above a sample of species: a power of their number, fitted to iNat21 (10,000 species: 4,884 genera, 1,103
# families, 273 orders, 51 classes, 13 phyla) and iNaturalist's whole taxonomy (1.1 million: 142,891, 10,714, 1,642).
_FITS = {
    Rank.GENUS: (4884, 0.718),
    Rank.FAMILY: (1103, 0.484),
    Rank.ORDER: (273, 0.382),
    Rank.CLASS: (51, 0.35),
    Rank.PHYLUM: (13, 0.3),
}
# In a small tree the fit leaves one species a genus: each node has so many children or more on average.
_LEAST_CHILDREN = {Rank.GENUS: 2.5, Rank.FAMILY: 2.0, Rank.ORDER: 1.6, Rank.CLASS: 1.5, Rank.PHYLUM: 1.3}
_UNEVENNESS = 1.1
"""Of clade sizes: the standard deviation of their logarithm."""

_LEAST_NODES = 13  # at each rank: as many phyla as iNat21 has, one for each body plan
_NAMED_SHARE = 0.45
"""Of species with a common name."""


@dataclass(frozen=True)
class Tree:
    """All nodes by rank, children of one parent side by side.

    `names[rank]` are the nodes' own names (an epithet at species), `parents[rank]` the positions of their parents at
    the rank above: (N,) int64. `plans` are the body plans of phyla; `commons` the common names of species, blank
    where there is none.
    """

    names: list[list[str]]
    parents: list[np.ndarray]
    plans: list[str]
    commons: list[str]
    insects: int
    """Which class is Insecta."""

    @property
    def num_species(self) -> int:
        """Species in the tree."""
        return len(self.names[Rank.SPECIES])

    @cached_property
    def ancestors(self) -> np.ndarray:
        """For each species, the positions of its ancestors at all ranks, itself last: (7, S) int64."""
        rows = [np.arange(self.num_species)]
        for rank in reversed(Rank):
            if rank > Rank.KINGDOM:
                rows.append(self.parents[rank][rows[-1]])
        return np.stack(rows[::-1])

    def lineage(self, species: int) -> Lineage:
        """The seven names of a species."""
        names = (self.names[rank][self.ancestors[rank, species]] for rank in Rank)
        return tuple(names)  # pyright: ignore[reportReturnType]

    def plan(self, species: int) -> str:
        """The body plan of a species."""
        if self.ancestors[Rank.CLASS, species] == self.insects:
            return "insect"
        return self.plans[self.ancestors[Rank.PHYLUM, species]]

    @cached_property
    def insect_species(self) -> np.ndarray:
        """The species of Insecta: (I,) int64."""
        return np.flatnonzero(self.ancestors[Rank.CLASS] == self.insects)


def num_nodes(num_species: int) -> dict[Rank, int]:
    """How many nodes a tree of so many species has at each rank."""
    counts = {Rank.SPECIES: num_species}
    below = num_species
    for rank in (Rank.GENUS, Rank.FAMILY, Rank.ORDER, Rank.CLASS, Rank.PHYLUM):
        at_10k, power = _FITS[rank]
        below = counts[rank] = max(
            _LEAST_NODES, round(min(at_10k * (num_species / 10_000) ** power, below / _LEAST_CHILDREN[rank]))
        )
    return counts | {Rank.KINGDOM: len(KINGDOMS)}


def grow(num_species: int, seed: int) -> Tree:
    """A tree of so many species, at least MIN_SPECIES."""
    assert num_species >= MIN_SPECIES
    rng = np.random.default_rng([seed, 1])
    counts = num_nodes(num_species)
    parents = [np.zeros(len(KINGDOMS), np.int64)]
    for rank in list(Rank)[1:]:
        parents.append(_spread(counts[rank], counts[Rank(rank - 1)], rng, rank))
    names, plans, insects = _named(parents, rng)
    commons = _commons(parents, rng)
    return Tree(names, parents, plans, commons, insects)


def _spread(children: int, num_parents: int, rng: np.random.Generator, rank: Rank) -> np.ndarray:
    """The parent of each child: one child at least for all, the rest by log-normal shares: (children,) int64."""
    assert children >= num_parents
    if rank is Rank.PHYLUM:
        # As many for each kingdom as it has body plans.
        ends = np.cumsum([0, *(len(_PLANS[kingdom]) for kingdom in KINGDOMS)])
        return np.repeat(np.arange(num_parents), np.diff(np.rint(ends / ends[-1] * children).astype(int)))
    shares = rng.lognormal(0, _UNEVENNESS, num_parents)
    if rank in (Rank.CLASS, Rank.ORDER, Rank.FAMILY):
        # The first clade at each rank leads to the insects, the largest class there is.
        shares[0] = shares.sum() * {Rank.CLASS: 0.15, Rank.ORDER: 0.3, Rank.FAMILY: 0.2}[rank]
    sizes = 1 + rng.multinomial(children - num_parents, shares / shares.sum())
    return np.repeat(np.arange(num_parents), sizes)


def _named(parents: list[np.ndarray], rng: np.random.Generator) -> tuple[list[list[str]], list[str], int]:
    latin = Latin(rng)
    names: list[list[str]] = [list(KINGDOMS)]
    kingdom_of = np.arange(len(KINGDOMS))
    plans: list[str] = []
    for rank in (Rank.PHYLUM, Rank.CLASS, Rank.ORDER, Rank.FAMILY, Rank.GENUS):
        kingdom_of = kingdom_of[parents[rank]]
        names.append([latin.name(rank, KINGDOMS[kingdom]) for kingdom in kingdom_of.tolist()])
        if rank is Rank.PHYLUM:
            for kingdom in kingdom_of.tolist():
                known = _PLANS[KINGDOMS[kingdom]]
                plans.append(known[sum(plan in known for plan in plans) % len(known)])
    names[Rank.PHYLUM][0], names[Rank.CLASS][0] = "Arthropoda", "Insecta"
    _share_names(names[Rank.GENUS], kingdom_of, rng)
    pool = latin.epithets(min(20_000, 200 + len(parents[Rank.SPECIES]) // 4))
    names.append(_epithets(parents[Rank.SPECIES], pool, rng))
    return names, plans, 0


def num_homonyms(num_genera: int) -> int:
    """How many genus names stand in two kingdoms."""
    return max(1, num_genera // 200)


def _share_names(genera: list[str], kingdom_of: np.ndarray, rng: np.random.Generator) -> None:
    """Give some genera of plants the names of genera of animals, as nature's codes allow."""
    number = num_homonyms(len(genera))
    animals = rng.choice(np.flatnonzero(kingdom_of == 0), number, replace=False)
    plants = rng.choice(np.flatnonzero(kingdom_of == 1), number, replace=False)
    for animal, plant in zip(animals.tolist(), plants.tolist(), strict=True):
        genera[plant] = genera[animal]


def _epithets(genus_of: np.ndarray, pool: list[str], rng: np.random.Generator) -> list[str]:
    """An epithet for each species, different within a genus."""
    epithets: list[str] = []
    for size in np.bincount(genus_of).tolist():
        # A stride over the pool from a random start never meets itself.
        start, step = (int(number) for number in rng.integers(len(pool), size=2))
        if size > len(pool) // np.gcd(step, len(pool)):
            step = 1
        assert size <= len(pool)
        epithets += [pool[(start + step * index) % len(pool)] for index in range(size)]
    return epithets


def _commons(parents: list[np.ndarray], rng: np.random.Generator) -> list[str]:
    """`adjective noun`, the noun being that of the family; blank for the species without one."""
    latin = Latin(rng)
    family_of = parents[Rank.GENUS][parents[Rank.SPECIES]]
    nouns = [latin.noun() for _ in range(int(family_of.max()) + 1)]
    named = rng.random(len(family_of)) < _NAMED_SHARE
    return [
        f"{latin.adjective()} {nouns[family]}" if has else ""
        for family, has in zip(family_of.tolist(), named.tolist(), strict=True)
    ]
