"""Names resolved against a backbone taxonomy, offline: exact, synonym, fuzzy, ambiguous or unresolved.

Nothing is forced. A name is looked up at its own rank only, and at the deepest rank that its row gives. It matches
where the ranks above do not contradict; where several taxa match, those ranks must settle which. Whatever is not
settled keeps the names it came with. What the backbone leaves blank is not erased: see `Backbone.resolve`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.errors import UserError
from trygon.taxonomy.lookup import ELSEWHERE, NameIndex, depths_of, encode, keys_of, repeated, synonym_names, taxa_of
from trygon.taxonomy.names import clean_lineages
from trygon.taxonomy.spelling import near, stems
from trygon.taxonomy.tables import Checklist, read_checklist
from trygon.taxonomy.taxon import RANKS, Rank


class Resolution(StrEnum):
    """How a row was resolved."""

    UNRESOLVED = "unresolved"
    """The backbone has no such name, or only one whose higher ranks contradict."""
    EXACT = "exact"
    SYNONYM = "synonym"
    FUZZY = "fuzzy"
    """Nearly the same name: another gender, or an edit or two."""
    AMBIGUOUS = "ambiguous"
    """Several taxa, and the higher ranks do not settle which."""


_KINDS = tuple(Resolution)
_NUM_ABOVE = int(Rank.GENUS)
"""The ranks that can speak for or against a match, kingdom to family: a genus is part of its species' name."""


@dataclass(frozen=True)
class Backbone:
    """Accepted taxa at all ranks and the synonyms of some, with indices for looking names up.

    `names[rank]` are the distinct names of a rank, blank first. `lineages` (7, T) int32 point into them, a column
    a taxon; `common` (T,) are the common names. `accepted` and `synonyms` are indices, one a rank: by the name's code,
    of species by the codes of genus and epithet as one integer.
    """

    names: tuple[pa.StringArray, ...]
    lineages: np.ndarray
    common: pa.StringArray
    accepted: tuple[NameIndex, ...]
    synonyms: tuple[NameIndex, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows of the checklist that are neither, by reason."""

    @classmethod
    def load(cls, path: str | Path) -> "Backbone":
        """From a file that `read_checklist` reads."""
        return cls.from_checklist(read_checklist(path))

    @classmethod
    def from_checklist(cls, checklist: Checklist) -> "Backbone":
        """From accepted taxa and synonyms; their names are cleaned as those of sources are."""
        taxa = clean_lineages(checklist.taxa)
        synonyms = clean_lineages(checklist.synonyms)
        called = synonym_names(synonyms)
        # The accepted lineage of a synonym is a taxon too, whether or not the checklist lists it.
        encoded = [encode([table[rank] for table in (taxa, synonyms, called)]) for rank in RANKS]
        names = tuple(names for names, _ in encoded)
        codes = np.stack([codes for _, codes in encoded])
        num_rows = taxa.num_rows + synonyms.num_rows
        if not codes[:, :num_rows].any():
            raise UserError("the backbone names no taxon: it needs at least one row with a name at one of the ranks")
        common = pa.chunked_array([*taxa["common"].cast(pa.string()).chunks, pa.repeat("", synonyms.num_rows)])
        common = common.fill_null("").combine_chunks()
        lineages, common, accepted, taxon_of = taxa_of(codes[:, :num_rows], common, len(names[Rank.SPECIES]))
        called_codes = codes[:, num_rows:]
        depths = depths_of(called_codes)
        indices = []
        for rank in Rank:
            rows = np.flatnonzero(depths == rank)
            keys = keys_of(called_codes[:, rows], rank, len(names[Rank.SPECIES]))
            indices.append(NameIndex.of(keys, taxon_of[taxa.num_rows + rows]))
        return cls(names, lineages, common, accepted, tuple(indices), checklist.left_out)

    def told(self) -> dict[str, Any]:
        """What is in it: how many `taxa`, `synonyms`, and rows `left_out` by reason."""
        num_synonyms = sum(len(index.keys) for index in self.synonyms)
        return {"taxa": self.lineages.shape[1], "synonyms": num_synonyms, "left_out": dict(self.left_out)}

    def resolve(self, table: pa.Table) -> pa.Table:
        """The same rows with the backbone's ranks where resolved, and `resolution` for how.

        `table` has clean rank columns (`clean_lineages`). A blank `common` is filled from the backbone. A species that
        is not found stays as it is, unresolved; where its genus is, and no given rank speaks against it, blank ranks
        above are filled from the genus. A rank that the backbone leaves blank keeps the name that it came with, where
        the nearest names above and below that both give are the same.
        """
        rows, row_of = _distinct(table)
        given = np.stack(
            [
                pc.index_in(column, value_set=names).fill_null(ELSEWHERE).to_numpy()
                for column, names in zip(rows.columns, self.names, strict=True)
            ]
        )
        taxa, kinds, without = self._match(given, rows)
        filled = np.where(taxa < 0, self._known_genus(given, np.flatnonzero(without)), taxa)
        keep = np.where(taxa < 0, given != 0, self._blank_between(given, taxa, kinds))
        for rank, name in zip(Rank, RANKS, strict=True):
            from_backbone = self.names[rank].take(pa.array(self.lineages[rank, filled], mask=filled < 0))
            column = pc.if_else(pa.array(keep[rank]), rows[name].combine_chunks(), pc.coalesce(from_backbone, ""))
            table = _with_column(table, name, column.take(row_of))
        common = self.common.take(pa.array(taxa, mask=taxa < 0)).fill_null("").take(row_of)
        if "common" in table.column_names:
            own = table["common"].cast(pa.string()).fill_null("").combine_chunks()
            common = pc.if_else(pc.equal(own, ""), common, own)
        kind = pa.array([str(kind) for kind in _KINDS]).take(pa.array(kinds)).take(row_of)
        return _with_column(_with_column(table, "common", common), "resolution", kind)

    def _blank_between(self, given: np.ndarray, taxa: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """Which given names stand where their taxon is blank, between names that are the same: (7, D) bool."""
        lineages = self.lineages[:, taxa]
        both = (given != 0) & (lineages != 0)
        same = both & (given == lineages)
        kept = (given != 0) & (lineages == 0)
        # Nothing above contradicts; the name that was looked up stands below.
        for ranks, agrees in ((list(Rank), np.ones(len(taxa), bool)), (list(Rank)[::-1], np.zeros(len(taxa), bool))):
            for rank in ranks:
                kept[rank] &= agrees
                agrees = np.where(both[rank], same[rank], agrees)
        # A homonym that the name itself did not lead to may be meant by the names that are kept.
        return kept & ((kinds == _KINDS.index(Resolution.EXACT)) | ~self._has_homonym[taxa])

    @cached_property
    def _has_homonym(self) -> np.ndarray:
        """Which taxa have the name of another of their rank: (T,) bool."""
        found = np.zeros(self.lineages.shape[1], bool)
        for index in self.accepted:
            found[index.targets[repeated(index.keys)]] = True
        return found

    def _match(self, given: np.ndarray, rows: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The taxon of each lineage, -1 where there is none, and its kind by position in `_KINDS`: two (D,) int64.

        And which lineages no taxon resembles at all, contradicting or not: (D,) bool.
        `given` (7, D) are the lineages' codes in `names`: 0 where blank, -1 where the backbone has no such name.
        """
        depths = depths_of(given)
        taxa, kinds, without = np.full(len(depths), -1), np.zeros(len(depths), np.int64), np.full(len(depths), True)
        for rank in Rank:
            at_rank = np.flatnonzero(depths == rank)
            for kind in (Resolution.EXACT, Resolution.SYNONYM, Resolution.FUZZY):
                open_rows = at_rank[kinds[at_rank] == 0]
                if not len(open_rows):
                    break
                places, candidates, edits = self._candidates(kind, rank, given[:, open_rows], rows, open_rows)
                found = open_rows[places]
                without[found] = False
                # A single name that is nearly another is that one only in the same surroundings.
                alone = kind is Resolution.FUZZY and rank < Rank.SPECIES
                chosen, taxon, tied = self._settle(given[:, found], rank, found, candidates, edits, alone)
                taxa[chosen] = np.where(tied, -1, taxon)
                kinds[chosen] = np.where(tied, _KINDS.index(Resolution.AMBIGUOUS), _KINDS.index(kind))
        return taxa, kinds, without

    def _candidates(
        self, kind: Resolution, rank: Rank, given: np.ndarray, rows: pa.Table, places: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions in `given`, the taxa that their names may mean, and the edits between: three (P,) int64."""
        if kind is not Resolution.FUZZY:
            index = (self.accepted if kind is Resolution.EXACT else self.synonyms)[rank]
            found, taxa = index.pairs(keys_of(given, rank, len(self.names[Rank.SPECIES])))
            return found, taxa, np.zeros(len(found), np.int64)
        texts = {name: rows[name].take(places).combine_chunks() for name in (RANKS[rank], RANKS[Rank.GENUS])}
        if rank is not Rank.SPECIES:
            return self._near_single(rank, given, texts[RANKS[rank]])
        return _joined([self._other_gender(given, texts["species"]), *self._near_species(given, texts)])

    def _settle(
        self,
        given: np.ndarray,
        rank: Rank,
        rows: np.ndarray,
        candidates: np.ndarray,
        edits: np.ndarray,
        must_agree: bool,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs of row and candidate to one candidate a row: the rows, their taxa, and where several are as good.

        `given` (7, P) are the rows' lineages. Candidates whose higher ranks contradict are left out.
        """
        lineages, above = self.lineages[:, candidates], min(rank, _NUM_ABOVE)
        both = (given[:above] != 0) & (lineages[:above] != 0)
        same = both & (given[:above] == lineages[:above])
        differ = both & ~same
        # Systems differ in a kingdom or a phylum, but seldom in all ranks at once: then the names are homonyms.
        agrees = same[1:].any(axis=0)
        fits = agrees if must_agree else agrees | ~(differ[:1].any(axis=0) | (differ[1:].sum(axis=0) >= 2))
        fits &= ~_are_elsewhere(given[:above], both, differ)
        whole = (given == lineages).all(axis=0)
        score = 10_000 * whole - 100 * edits + 10 * same.sum(axis=0) - differ.sum(axis=0)
        order = np.lexsort((candidates, -score, rows))
        order = order[fits[order]]
        rows, candidates, score = rows[order], candidates[order], score[order]
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        # Sorted by taxon among equals: the same one may be there twice, by its name and a synonym.
        best = np.repeat(score[starts], np.diff(starts, append=len(rows))) == score
        last = np.maximum.reduceat(np.where(best, np.arange(len(rows)), 0), starts) if len(starts) else starts
        return rows[starts], candidates[starts], candidates[starts] != candidates[last]

    def _known_genus(self, given: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """For those of `rows` that are species, their genus where nothing speaks against it; else -1: (D,) int64."""
        rows = rows[depths_of(given[:, rows]) == Rank.SPECIES]
        found, candidates = self.accepted[Rank.GENUS].pairs(given[Rank.GENUS, rows])
        found = rows[found]
        nothing = np.zeros(len(found), np.int64)
        chosen, taxon, tied = self._settle(given[:, found], Rank.GENUS, found, candidates, nothing, False)
        ranks, above = given[:_NUM_ABOVE, chosen], self.lineages[:_NUM_ABOVE, taxon]
        against = ((ranks != 0) & (above != 0) & (ranks != above)).any(axis=0)
        genus = np.full(given.shape[1], -1)
        genus[chosen] = np.where(tied | against, -1, taxon)
        return genus

    @cached_property
    def _species(self) -> NameIndex:
        """Accepted names and synonyms of species together, by genus and then epithet."""
        indices = (self.accepted[Rank.SPECIES], self.synonyms[Rank.SPECIES])
        return NameIndex.of(
            *(np.concatenate([getattr(index, part) for index in indices]) for part in ("keys", "targets"))
        )

    @cached_property
    def _epithet_stems(self) -> tuple[pa.StringArray, np.ndarray]:
        """The distinct stems of all epithets, and which one each epithet has: (names,) int64."""
        encoded = stems(self.names[Rank.SPECIES]).dictionary_encode()
        return encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)

    def _other_gender(self, given: np.ndarray, epithets: pa.StringArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        stem_names, stem_of = self._epithet_stems
        genera, species = np.divmod(self._species.keys, len(self.names[Rank.SPECIES]))
        index = NameIndex.of(genera * len(stem_names) + stem_of[species], self._species.targets)
        stem = pc.index_in(stems(epithets), value_set=stem_names).fill_null(ELSEWHERE).to_numpy().astype(np.int64)
        keys = np.where(
            (given[Rank.GENUS] > 0) & (stem >= 0), given[Rank.GENUS] * np.int64(len(stem_names)) + stem, -1
        )
        found, taxa = index.pairs(keys)
        # As one edit, though the letters may be two: the commonest difference there is.
        return found, taxa, np.ones(len(found), np.int64)

    def _near_species(
        self, given: np.ndarray, texts: dict[str, pa.StringArray]
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The same genus and nearly the epithet; without such a genus, nearly the genus and the same epithet."""
        num_names = len(self.names[Rank.SPECIES])
        genera, epithets = np.divmod(self._species.keys, num_names)
        known = np.isin(given[Rank.GENUS], genera) | np.isin(given[Rank.GENUS], self.accepted[Rank.GENUS].keys)
        # An epithet that the backbone has elsewhere is spelled as it is meant: most such species are only missing
        # here, and an edit away is another one. Of 50,000 real species left out this matches 0.5 % and not 1.9 %.
        slip = known & (given[Rank.SPECIES] == ELSEWHERE)
        by_epithet = np.lexsort((genera, epithets))
        found = []
        for rows, key, keys, spelled, order in (
            (np.flatnonzero(slip), given[Rank.GENUS], genera, Rank.SPECIES, np.arange(len(genera))),
            (np.flatnonzero(~known), given[Rank.SPECIES], epithets[by_epithet], Rank.GENUS, by_epithet),
        ):
            candidates = self.names[spelled].take(pa.array((epithets if spelled is Rank.SPECIES else genera)[order]))
            words = texts[RANKS[spelled]].take(pa.array(rows))
            query, candidate, edits = _near_in_group(words, key[rows], candidates, keys)
            found.append((rows[query], self._species.targets[order][candidate], edits))
        return found

    def _near_single(
        self, rank: Rank, given: np.ndarray, words: pa.StringArray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nearly the same name within the closest given rank above that the backbone has, but not in all a kingdom."""
        taxa, pending, found = self.accepted[rank].targets, np.arange(len(words)), []
        for above in range(rank - 1, Rank.KINGDOM, -1):
            rows = pending[given[above, pending] > 0]
            pending = pending[given[above, pending] <= 0]
            inside = taxa[np.argsort(self.lineages[above, taxa], kind="stable")]
            candidates = self.names[rank].take(pa.array(self.lineages[rank, inside]))
            query, candidate, edits = _near_in_group(
                words.take(pa.array(rows)), given[above, rows], candidates, self.lineages[above, inside]
            )
            found.append((rows[query], inside[candidate], edits))
        return _joined(found)


def _are_elsewhere(given: np.ndarray, both: np.ndarray, differ: np.ndarray) -> np.ndarray:
    """Which pairs are homonyms of distant clades, though they agree in a phylum or a class: (R, P) to (P,) bool.

    The deepest rank that both give differs, and with it another of class, order and family; or it is above the family
    and the given name is one that the backbone has, so that it is not another system's name for the same.
    """
    if not len(given):
        return np.zeros(given.shape[1], bool)
    deepest = len(both) - 1 - np.argmax(both[::-1], axis=0)[None]
    known = (deepest < Rank.FAMILY) & (np.take_along_axis(given, deepest, axis=0) > 0)
    apart = np.take_along_axis(differ, deepest, axis=0)
    return (apart & (known | (differ[Rank.CLASS :].sum(axis=0) >= 2)))[0]


def _near_in_group(
    words: pa.StringArray, groups: np.ndarray, candidates: pa.StringArray, candidate_groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`near`, for candidates that are sorted by their group's key."""
    if not len(words):
        return _joined([])
    keys, group_of = np.unique(groups, return_inverse=True)
    starts = np.searchsorted(candidate_groups, keys)
    ends = np.searchsorted(candidate_groups, keys, side="right")
    return near(words.to_pylist(), group_of.reshape(-1), candidates.to_pylist(), starts, ends)


def _joined(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, taxa, edits = zip(*parts, strict=True) if parts else ([], [], [])
    nothing = [np.empty(0, np.int64)]
    return (
        np.concatenate([*rows, *nothing]),
        np.concatenate([*taxa, *nothing]),
        np.concatenate([*edits, *nothing]),
    )


def _distinct(table: pa.Table) -> tuple[pa.Table, pa.Array]:
    """The distinct lineages of a table, blanks as empty texts, and which of them each row has."""
    columns = [table[rank].cast(pa.string()).fill_null("") for rank in RANKS]
    ids = np.zeros(table.num_rows, np.int64)
    for column in columns:
        names, codes = encode([column])
        ids = np.unique(ids * len(names) + codes, return_inverse=True)[1].reshape(-1)
    _, first = np.unique(ids, return_index=True)
    return pa.table([column.take(pa.array(first)) for column in columns], names=list(RANKS)), pa.array(ids)


def _with_column(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    if name not in table.column_names:
        return table.append_column(name, column)
    return table.set_column(table.column_names.index(name), name, column)
