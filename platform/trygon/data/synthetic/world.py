"""Which picture of which species is in which source, how it is labelled, and what is wrong with it. All in columns.

The whole world is made of a recipe in a moment, so that each worker makes it for itself. Knows no file formats.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache

import numpy as np

from trygon.data.synthetic.recipe import MIN_SPECIES, Recipe, SourceKind
from trygon.data.synthetic.tree import Tree, grow
from trygon.taxonomy.taxon import Rank, Taxon


class Dirt(IntEnum):
    """What is wrong with a picture."""

    NONE = 0
    EXACT_COPY = 1
    """The very bytes of a picture of another source, or of this one."""
    NEAR_COPY = 2
    """The same, encoded anew or made smaller."""
    BENCHMARK_COPY = 3
    """A picture of Rare Species with its own content id."""
    TRUNCATED = 4
    TINY = 5
    NOT_AN_IMAGE = 6
    GREY = 7
    """One channel: nothing is wrong with it, but readers must cope."""
    NO_PAGE = 8
    """Its page is not in taxon.tab."""


class Spelling(IntEnum):
    """How a source writes a species, beside its clean name."""

    CLEAN = 0
    AUTHORITY = 1
    """Genus epithet Author, 1899"""
    BRACKETS = 2
    """Genus epithet (Author, 1899)"""
    HTML = 3
    """<i>Genus epithet</i> Author"""
    VARIETY = 4
    """Genus epithet var. other"""
    OPEN = 5
    """Genus sp. 1: the label says no more than the genus."""


DIRT_SHARES: dict[SourceKind, dict[Dirt, float]] = {
    SourceKind.INAT21: {Dirt.TRUNCATED: 0.001, Dirt.TINY: 0.001, Dirt.NOT_AN_IMAGE: 0.0005, Dirt.GREY: 0.002},
    SourceKind.BIOSCAN: {Dirt.TRUNCATED: 0.001, Dirt.GREY: 0.001},
    SourceKind.EOL: {
        Dirt.EXACT_COPY: 0.006,
        Dirt.NEAR_COPY: 0.006,
        Dirt.BENCHMARK_COPY: 0.002,
        Dirt.TRUNCATED: 0.002,
        Dirt.TINY: 0.003,
        Dirt.NOT_AN_IMAGE: 0.001,
        Dirt.GREY: 0.003,
        Dirt.NO_PAGE: 0.003,
    },
    SourceKind.RARESPECIES: {},
    SourceKind.FOLDER: {},
}
"""The share of each source's pictures with each fault; one picture at least in a source of 40 or more."""

SPELLING_SHARES = dict.fromkeys(list(Spelling)[1:-1], 0.03)
"""The share of species that EOL's taxon.tab writes in each way."""

OPEN_SHARE = 0.01
"""Of EOL's and BIOSCAN's pictures that are labelled `Genus sp. 1`."""

# How the pictures of TreeOfLife-10M spread over its sources; Rare Species and the folder are larger than in life, for
# a small world needs them too.
_SOURCE_SHARES = {
    SourceKind.INAT21: 0.25,
    SourceKind.BIOSCAN: 0.11,
    SourceKind.EOL: 0.6,
    SourceKind.RARESPECIES: 0.02,
    SourceKind.FOLDER: 0.02,
}
_LABEL_SHARES = {
    SourceKind.EOL: {Rank.SPECIES: 0.84, Rank.GENUS: 0.07, Rank.FAMILY: 0.06, Rank.ORDER: 0.02, Rank.CLASS: 0.01},
    # 98.6 % to family, 22.5 % to genus, 7.5 % to species.
    SourceKind.BIOSCAN: {Rank.SPECIES: 0.075, Rank.GENUS: 0.15, Rank.FAMILY: 0.761, Rank.ORDER: 0.014},
}
# The exponent of Zipf's law for the pictures of each species: iNat21 is nearly even, a trap's insects are not at all.
_ZIPF = {SourceKind.INAT21: 0.3, SourceKind.BIOSCAN: 1.3, SourceKind.EOL: 0.9}
_INAT21_SPECIES_SHARE = 0.35
_MAX_RARE_SPECIES, _MAX_RARE_SHARE, _RARE_PICTURES = 400, 0.75, 30
_FOLDER_PICTURES = 6
_MIN_WITH_ALL_DIRT = 40


@dataclass(frozen=True)
class Records:
    """A source's pictures as columns, by serial number: (N,) each.

    `species` is what a picture shows, `rank` how deep it is labelled; `copy_source` (the source's place in SourceKind)
    and `copy_of` (its serial number there) say of what a copy is one.
    """

    species: np.ndarray
    rank: np.ndarray
    dirt: np.ndarray
    open_name: np.ndarray
    copy_source: np.ndarray
    copy_of: np.ndarray

    def __len__(self) -> int:
        return len(self.species)


@dataclass(frozen=True)
class World:
    """The tree, the records of each source, how EOL spells each species, and the species of the benchmark."""

    recipe: Recipe
    tree: Tree
    records: dict[SourceKind, Records]
    spelling: np.ndarray
    rare_species: np.ndarray

    def taxon(self, source: SourceKind, serial: int) -> Taxon:
        """The true label of a picture, clean, as deep as the source gives it; all blank where its page is unknown."""
        records = self.records[source]
        species = int(records.species[serial])
        if records.dirt[serial] == Dirt.NO_PAGE:
            return Taxon(("",) * len(Rank))  # pyright: ignore[reportArgumentType]
        return Taxon(self.tree.lineage(species), self.tree.commons[species]).at(Rank(int(records.rank[serial])))

    @cached_property
    def inat21_species(self) -> np.ndarray:
        """The species that iNat21 has pictures of, in the order of its categories: (C,) int64."""
        return np.unique(self.records[SourceKind.INAT21].species)


@lru_cache(maxsize=1)
def make_world(recipe: Recipe) -> World:
    """The world of a recipe. A process keeps the last one."""
    assert recipe.num_species >= MIN_SPECIES
    tree = grow(recipe.num_species, recipe.seed)
    rng = np.random.default_rng([recipe.seed, 2])
    counts = _pictures_by_source(recipe)
    spelling = rng.choice(
        len(Spelling) - 1, tree.num_species, p=[1 - sum(SPELLING_SHARES.values()), *SPELLING_SHARES.values()]
    )
    num_rare = max(2, counts[SourceKind.RARESPECIES] // _RARE_PICTURES)
    num_rare = min(_MAX_RARE_SPECIES, int(_MAX_RARE_SHARE * tree.num_species), num_rare)
    rare = np.sort(rng.choice(tree.num_species, num_rare, replace=False))
    shown = {source: _species_shown(source, counts[source], tree, rare, rng) for source in counts}
    records: dict[SourceKind, Records] = {}
    # EOL last: it has copies of the others' pictures.
    for source in sorted(counts, key=lambda source: source is SourceKind.EOL):
        records[source] = _labelled(source, shown[source], records, rng)
    asked = {source: records[source] for source in SourceKind if source in recipe.sources}
    return World(recipe, tree, asked, spelling, rare if SourceKind.RARESPECIES in asked else rare[:0])


def _pictures_by_source(recipe: Recipe) -> dict[SourceKind, int]:
    """Pictures of each source asked for (the largest takes the rest); none of the others."""
    total = sum(_SOURCE_SHARES[source] for source in recipe.sources)
    counts = {
        source: int(recipe.images * _SOURCE_SHARES[source] / total) if source in recipe.sources else 0
        for source in SourceKind
    }
    largest = max(recipe.sources, key=lambda source: _SOURCE_SHARES[source])
    counts[largest] += recipe.images - sum(counts.values())
    return counts


def _species_shown(
    source: SourceKind, number: int, tree: Tree, rare: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The species on each of a source's pictures, in the order in which the source has them: (N,) int64."""
    match source:
        case SourceKind.RARESPECIES:
            return np.sort(np.resize(rare, number))
        case SourceKind.FOLDER:
            chosen = rng.permutation(tree.num_species)[: max(1, number // _FOLDER_PICTURES)]
            return np.sort(np.resize(chosen, number))
        case SourceKind.INAT21:
            pool = rng.permutation(tree.num_species)[: max(2, int(tree.num_species * _INAT21_SPECIES_SHARE))]
        case SourceKind.BIOSCAN:
            pool = rng.permutation(tree.insect_species)
        case SourceKind.EOL:
            pool = rng.permutation(tree.num_species)
    weights = (np.arange(len(pool)) + 3.0) ** -_ZIPF[source]
    shown = np.repeat(pool, rng.multinomial(number, weights / weights.sum()))
    if source is SourceKind.EOL:
        # Some of every rare species: who builds on EOL must leave them out.
        again = np.resize(rare, min(3 * len(rare), number // 4))
        shown[rng.permutation(number)[: len(again)]] = again
    return np.sort(shown) if source is SourceKind.INAT21 else rng.permutation(shown)


def _labelled(
    source: SourceKind, species: np.ndarray, others: dict[SourceKind, Records], rng: np.random.Generator
) -> Records:
    number = len(species)
    shares = _LABEL_SHARES.get(source, {Rank.SPECIES: 1.0})
    rank = rng.choice(list(map(int, shares)), number, p=list(shares.values())).astype(np.int8)
    open_name = (rng.random(number) < OPEN_SHARE) & (source in _LABEL_SHARES)
    rank[open_name] = Rank.GENUS
    dirt = np.zeros(number, np.int8)
    copy_source, copy_of = np.full(number, -1, np.int8), np.full(number, -1, np.int64)
    records = Records(species.copy(), rank, dirt, open_name, copy_source, copy_of)
    order, taken = rng.permutation(number), 0
    for kind, share in DIRT_SHARES[source].items():
        least = 1 if number >= _MIN_WITH_ALL_DIRT else 0
        some = order[taken : taken + max(least, round(share * number))]
        taken += len(some)
        dirt[some] = kind
        if kind in (Dirt.EXACT_COPY, Dirt.NEAR_COPY, Dirt.BENCHMARK_COPY):
            _copy(records, some, kind, others, order[-number // 2 :], rng)
    return records


def _copy(
    records: Records,
    places: np.ndarray,
    kind: Dirt,
    others: dict[SourceKind, Records],
    own: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Make some records copies: of Rare Species, or by turns of iNat21 and of clean records of the source itself."""
    rare, inat21 = others[SourceKind.RARESPECIES], others[SourceKind.INAT21]
    if kind is Dirt.BENCHMARK_COPY:
        originals = rng.permutation(len(rare))[: len(places)]
        records.dirt[places[len(originals) :]] = Dirt.NONE
        _copy_from(records, places[: len(originals)], SourceKind.RARESPECIES, originals, rare)
        return
    clean = np.flatnonzero(inat21.dirt == Dirt.NONE)
    abroad, home = (places[::2], places[1::2]) if len(clean) else (places[:0], places)
    _copy_from(records, abroad, SourceKind.INAT21, rng.choice(clean, len(abroad)) if len(clean) else clean, inat21)
    untouched = own[records.dirt[own] == Dirt.NONE]
    _copy_from(records, home, SourceKind.EOL, rng.choice(untouched, len(home), replace=False), records)


def _copy_from(
    records: Records, places: np.ndarray, source: SourceKind, originals: np.ndarray, originals_records: Records
) -> None:
    records.copy_source[places] = list(SourceKind).index(source)
    records.copy_of[places] = originals
    records.species[places] = originals_records.species[originals]
    records.rank[places] = originals_records.rank[originals]
    records.open_name[places] = originals_records.open_name[originals]
