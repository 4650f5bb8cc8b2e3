"""Taxon rows in Darwin Core's terms to lineages of seven ranks: parents, synonyms, common names.

Knows nothing of files. Rows refer to each other by id, and nothing is taken for granted of that: parents may be
missing or form circles, ranks be unknown. Everything is vectorised: catalogues have millions of rows.
"""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.taxonomy import words
from trygon.taxonomy.coded import CodedNames
from trygon.taxonomy.taxon import RANKS, Rank
from trygon.taxonomy.written import read_names

TERMS = (
    *("id", "taxonID", "parentNameUsageID", "acceptedNameUsageID", "scientificName", "canonicalName", "taxonRank"),
    *("taxonomicStatus", *RANKS[:-1], "specificEpithet", "eolID"),
)
VERNACULAR_TERMS = ("id", "taxonID", "vernacularName", "language", "isPreferredName")
REPEATED = ("taxonRank", "taxonomicStatus", *RANKS[:-1], "specificEpithet", "language", "isPreferredName")
"""The terms whose values repeat from row to row."""
UNNAMED = "no usable name"

_RANK_OF = {name: rank for rank, name in enumerate(RANKS)} | {"division": int(Rank.PHYLUM)}
_EPITHET = r"^\p{Ll}[\p{Ll}'’.\-]*\p{Ll}$"
_NO_EPITHET = rf"^(?:{'|'.join(sorted(words.ABBREVIATIONS))})$"
_NOT_ACCEPTED = r"(?i)synonym|not accepted|unaccepted|invalid|misapplied"
_TRUE = r"(?i)^\s*(?:true|t|yes|y|1|preferred)\s*$"
_ENGLISH = r"(?i)^en(?:g|glish)?$|^en[-_]"


def checklist_tables(table: pa.Table, vernacular: pa.Table | None = None) -> tuple[pa.Table, pa.Table, Counter[str]]:
    """The accepted taxa, the synonyms, and how many rows are neither, by reason.

    `table` has `TERMS`, as far as there are any. Taxa have the rank columns and `common`; synonyms have `name`, a
    binomial or a single name, and the rank columns of what is accepted. All are dictionary-encoded, null where blank.
    Where the columns of the six higher ranks are not all there, lineages are read off `parentNameUsageID`.
    `vernacular` has `VERNACULAR_TERMS`.
    """
    rows = Rows(table)
    own_rank = ranks_of(rows["taxonRank"])
    ranked = own_rank >= 0
    accepted_row = accepted_rows(rows)
    is_accepted = accepted_row == np.arange(len(rows), dtype=np.int32)
    refused = _matching(rows["taxonomicStatus"], _NOT_ACCEPTED)
    # Where the columns of the six higher ranks are not all there, the way up tells.
    near = None if _has_ranks(rows) else nearest_ancestors(parent_rows(rows, accepted_row), own_rank)
    kingdom = rows["kingdom"] if near is None else _kingdoms(rows, own_rank, accepted_row, near)
    first, epithet = _parsed_names(rows, own_rank, is_accepted, kingdom)
    lineage = _lineages(rows, own_rank, near, first.where(is_accepted), epithet.where(is_accepted))

    has_any, has_own = np.zeros((2, len(rows)), bool)
    for rank, names in enumerate(lineage):
        has_any |= names.present
        has_own |= names.present & (own_rank == rank)
    is_taxon = is_accepted & ranked & ~refused & has_own
    leads_somewhere = ~is_accepted & (accepted_row >= 0)
    target = accepted_row[leads_somewhere]
    leads_somewhere[leads_somewhere] = ~refused[target] & has_any[target]
    is_named = first.present & (epithet.present | (own_rank != Rank.SPECIES))
    is_synonym = ranked & leads_somewhere & is_named

    rest = ~is_taxon & ~is_synonym
    unaccepted = ranked & np.where(is_accepted, refused, ~leads_somewhere)
    reasons = {
        "none of the seven ranks": rest & ~ranked,
        "not accepted": rest & unaccepted,
        UNNAMED: rest & ranked & ~unaccepted,
    }
    left_out = Counter({reason: int(mask.sum()) for reason, mask in reasons.items() if mask.any()})

    taxa_rows, synonym_rows = np.flatnonzero(is_taxon), np.flatnonzero(is_synonym)
    taxa = {rank: names.take(taxa_rows).column() for rank, names in zip(RANKS, lineage, strict=True)}
    taxa["common"] = _common_names(rows, vernacular).take(taxa_rows).column()
    parts = (first.take(synonym_rows), epithet.where(own_rank == Rank.SPECIES).take(synonym_rows))
    joined = pc.utf8_rtrim_whitespace(pc.binary_join_element_wise(*(part.texts() for part in parts), " "))
    synonyms = {"name": joined}
    accepted = accepted_row[synonym_rows]
    synonyms |= {rank: names.take(accepted).column() for rank, names in zip(RANKS, lineage, strict=True)}
    return pa.table(taxa), pa.table(synonyms), left_out


class Rows:
    """Rows whose terms are encoded once, and blank where the table has no such column."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._known: dict[str, CodedNames] = {}

    def __len__(self) -> int:
        return self.table.num_rows

    def __contains__(self, term: str) -> bool:
        return term in self.table.column_names

    def __getitem__(self, term: str) -> CodedNames:
        if term not in self._known:
            self._known[term] = CodedNames.of(self.table[term]) if term in self else CodedNames.constant("", len(self))
        return self._known[term]

    def some(self, term: str, mask: np.ndarray) -> CodedNames:
        """The term of the rows where `mask` (N,) holds, without encoding the others."""
        if term not in self:
            return CodedNames.constant("", int(mask.sum()))
        return CodedNames.of(self.table[term].filter(pa.array(mask)))

    def ids(self, *terms: str) -> pa.ChunkedArray:
        """The ids of the rows, by the first of these terms that the table has."""
        found = next((term for term in terms if term in self), None)
        return self.table[found].cast(pa.string()) if found else pa.chunked_array([pa.nulls(len(self), pa.string())])


# What parents and accepted names point at, and by what other tables speak of the same taxon.
_OWN_ID, _SHARED_ID = ("taxonID", "id"), ("id", "taxonID")


def ranks_of(names: CodedNames) -> np.ndarray:
    """The rank of each row, -1 where it is none of the seven: (N,) int8."""
    ranks = [_RANK_OF.get(name.strip().lower(), -1) for name in names.names.to_pylist()]
    return np.asarray([*ranks, -1], np.int8)[names.codes]


def _matching(names: CodedNames, pattern: str) -> np.ndarray:
    found = pc.match_substring_regex(names.names, pattern).to_numpy(zero_copy_only=False)
    return np.append(found, False)[names.codes]


def rows_of(ids: pa.ChunkedArray, wanted: CodedNames) -> np.ndarray:
    """The row that has each wanted id, the first where several do, -1 where none does: (M,) int32."""
    if not wanted.present.any():
        return np.full(len(wanted), -1, np.int32)
    found = pc.index_in(wanted.names, value_set=ids).fill_null(-1).to_numpy(zero_copy_only=False)
    return np.append(found, np.int32(-1))[wanted.codes]


def accepted_rows(rows: Rows) -> np.ndarray:
    """The accepted row that each row leads to, through any number of synonyms; -1 where there is none: (N,) int32."""
    here = np.arange(len(rows), dtype=np.int32)
    accepted = rows["acceptedNameUsageID"]
    if not accepted.present.any():
        return here
    to = np.where(accepted.present, rows_of(rows.ids(*_OWN_ID), accepted), here)
    # What a name was wrongly used for is not what it means.
    to[accepted.present & _matching(rows["taxonomicStatus"], "(?i)misapplied")] = -1
    ends = to == here
    to = np.append(np.where(to < 0, len(here), to), len(here)).astype(np.int32)
    # Each round doubles the length of the way; one that has no end by then is a circle.
    for _ in range(len(here).bit_length()):
        to = to[to]
    return np.where(np.append(ends, False)[to[:-1]], to[:-1], np.int32(-1))


def _parsed_names(
    rows: Rows, own_rank: np.ndarray, is_accepted: np.ndarray, kingdom: CodedNames
) -> tuple[CodedNames, CodedNames]:
    """The first word of each row's name and its epithet, where the columns of an accepted row do not tell them."""
    told = np.zeros(len(rows), bool)
    for rank in Rank:
        of_rank = own_rank == rank
        if rank is Rank.SPECIES:
            told |= of_rank & rows["genus"].present & _epithets(rows).present
        else:
            told |= of_rank & rows[RANKS[rank]].present
    wanted = (own_rank >= 0) & ~(told & is_accepted)
    canonical = rows.some("canonicalName", wanted)
    texts = canonical.or_else(rows.some("scientificName", wanted)).texts()
    kingdoms = kingdom.take(np.flatnonzero(wanted)).texts()
    first, epithet = read_names(texts, kingdoms, own_rank[wanted] == Rank.SPECIES, canonical.present)
    return _spread(first, wanted), _spread(epithet, wanted)


def _spread(texts: pa.StringArray, mask: np.ndarray) -> CodedNames:
    """Texts at the places where `mask` (N,) holds."""
    names = CodedNames.of(pa.chunked_array([texts]))
    codes = np.full(len(mask), -1, np.int32)
    codes[mask] = names.codes
    return CodedNames(codes, names.names)


def _epithets(rows: Rows) -> CodedNames:
    epithets = rows["specificEpithet"]
    return epithets.where(_matching(epithets, _EPITHET) & ~_matching(epithets, _NO_EPITHET))


def _lineages(
    rows: Rows, own_rank: np.ndarray, near: np.ndarray | None, first: CodedNames, epithet: CodedNames
) -> list[CodedNames]:
    """The names of each row at the seven ranks, down to its own."""
    columns = [rows[rank] for rank in RANKS[:-1]]
    own = [names.or_else(first.where(own_rank == rank)) for rank, names in enumerate(columns)]
    # The genus that the binomial names, where it is read.
    genus = first.or_else(columns[Rank.GENUS]).where(own_rank == Rank.SPECIES)
    species = _epithets(rows).or_else(epithet)
    if near is None:
        lineage = [*own[: Rank.GENUS], genus.or_else(own[Rank.GENUS]), species]
    else:
        lineage = [
            names.take(rows_at).or_else(column) for names, rows_at, column in zip(own, near, columns, strict=False)
        ]
        lineage[Rank.GENUS] = genus.take(near[Rank.SPECIES]).or_else(lineage[Rank.GENUS])
        lineage.append(species.where(own_rank == Rank.SPECIES).take(near[Rank.SPECIES]).or_else(_epithets(rows)))
    # An epithet without its genus names nothing.
    lineage[Rank.SPECIES] = lineage[Rank.SPECIES].where(lineage[Rank.GENUS].present)
    return [names.where((own_rank < 0) | (own_rank >= rank)) for rank, names in enumerate(lineage)]


def _has_ranks(rows: Rows) -> bool:
    return all(rank in rows for rank in RANKS[:-1])


def _kingdoms(rows: Rows, own_rank: np.ndarray, accepted_row: np.ndarray, near: np.ndarray) -> CodedNames:
    """The kingdom of each row, a synonym's by what it stands for, as it is written."""
    are_kingdoms = own_rank == Rank.KINGDOM
    written = rows.some("canonicalName", are_kingdoms).or_else(rows.some("scientificName", are_kingdoms))
    row = np.where(accepted_row >= 0, near[Rank.KINGDOM][accepted_row], -1)
    return rows["kingdom"].or_else(_spread(written.texts(), are_kingdoms).take(row))


def parent_rows(rows: Rows, accepted_row: np.ndarray) -> np.ndarray:
    """The row of each row's parent, or what that stands for where it is a synonym; -1 without one: (N,)."""
    parent = rows_of(rows.ids(*_OWN_ID), rows["parentNameUsageID"])
    return np.where(parent >= 0, accepted_row[parent], -1)


def nearest_ancestors(parent_N: np.ndarray, rank_N: np.ndarray) -> np.ndarray:
    """For each of the seven ranks the nearest row at that rank on the way up from a row, itself included, -1 where
    there is none: (7, N) int32.

    `parent_N` has the parent's row, or -1; `rank_N` the rank, or -1. Circles end, too: every round doubles the length
    of the way, and no way is longer than there are rows.
    """
    num_rows = len(parent_N)
    here = np.arange(num_rows, dtype=np.int32)
    near = np.where(rank_N == np.arange(len(RANKS), dtype=np.int8)[:, None], here, np.int32(-1))
    up = np.where(parent_N == here, -1, parent_N).astype(np.int32)
    for _ in range(num_rows.bit_length()):
        climbing = np.flatnonzero(up >= 0)
        if not climbing.size:
            break
        above = up[climbing]
        for rows_at in near:
            mine = rows_at[climbing]
            rows_at[climbing] = np.where(mine >= 0, mine, rows_at[above])
        # All at once: the way of a row must not grow by what another's has grown in this round.
        up[climbing] = up[above]
    return near


def english_names(ids: pa.ChunkedArray, vernacular: pa.Table) -> CodedNames:
    """An English name for each of N ids: the first that is marked as preferred, else the first.

    `vernacular` has `VERNACULAR_TERMS`. What is marked is told by the text: "false" is no less a text than "true".
    """
    given = Rows(vernacular)
    names = CodedNames.of(pc.utf8_trim_whitespace(vernacular["vernacularName"].cast(pa.string())))
    english = names.present & _matching(given["language"], _ENGLISH)
    preferred = _matching(given["isPreferredName"], _TRUE)
    taxon = rows_of(ids, CodedNames.of(given.ids(*_SHARED_ID)).where(english))
    order = np.flatnonzero(taxon >= 0)
    # The last to be set stays.
    order = order[np.argsort(~preferred[order], kind="stable")][::-1]
    best = np.full(len(ids), -1)
    best[taxon[order]] = order
    return names.take(best)


def _common_names(rows: Rows, vernacular: pa.Table | None) -> CodedNames:
    if vernacular is None or "vernacularName" not in vernacular.column_names:
        return CodedNames.constant("", len(rows))
    return english_names(rows.ids(*_SHARED_ID), vernacular)
