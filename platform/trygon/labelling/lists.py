"""Lists of names that people write: which taxa of a tree they mean. Nothing is dropped in silence.

A name is common or scientific, in any case, of any rank; a clade stands for all taxa below it. Higher ranks beside a
name settle which of several is meant. Knows nothing of vectors.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.errors import UserError
from trygon.storage import name_of, read_bytes
from trygon.taxonomy.delimited import NO_CSV, delimited, numbered_rows, stated
from trygon.taxonomy.names import clean_lineage, clean_lineages
from trygon.taxonomy.resolution import Backbone, Resolution
from trygon.taxonomy.tables import SYNONYM_SCHEMA, TAXA_SCHEMA, Checklist, read_taxa
from trygon.taxonomy.taxon import RANKS, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.wording import first_of

EXACT, COMMON, FUZZY, AMBIGUOUS, UNMATCHED = "exact", "common", "fuzzy", "ambiguous", "unmatched"

_SCIENTIFIC = ("scientific", "scientificname", "scientific_name", "latin", "canonicalname", "taxon", "name")
_COMMON = ("common", "commonname", "common_name", "vernacularname", "english")
_CATALOGUES = (".zip", ".parquet")
_MAX_NAMES = 200_000
_SAME_CLASS = {
    "reptilia": {"squamata", "testudines", "crocodylia", "sphenodontia", "rhynchocephalia"},
    "actinopterygii": {"actinopteri", "teleostei"},
    "magnoliopsida": {"liliopsida"},
}
"""What some sources have as one class, and others as several."""

_MAX_TOLD = 5


@dataclass(frozen=True)
class Given:
    """One name as it was written: its line, the name, other names of the same line, and higher ranks beside it."""

    line: int
    name: str
    others: tuple[str, ...] = ()
    lineage: tuple[str, ...] = ("",) * len(RANKS)


@dataclass(frozen=True)
class Match:
    """What a name means: `taxon`, and `positions` of all below it in the tree, None and none where it is ambiguous or
    unmatched; `meant` says which taxon that is, or which ones it may be."""

    given: Given
    status: str
    positions: np.ndarray
    meant: str = ""
    taxon: Taxon | None = None


def read_names(place: str | Path, flag: str) -> list[Given]:
    """The names of a file: one a line, a CSV (comma, semicolon or tab) with a column for them, or a catalogue of taxa
    (a Darwin Core archive, .zip, or Parquet).

    Columns are known by their names: `scientific`, `common` and the like, and the seven ranks. `UserError` names the
    flag and the file where there is none.
    """
    names = _of_catalogue(place) if str(place).endswith(_CATALOGUES) else _of_text(place, flag)
    if not names:
        raise UserError(
            f"{flag} {place} holds no name: give one a line, or a CSV with a column `scientific` or `common`"
        )
    if len(names) > _MAX_NAMES:
        raise UserError(f"{flag} {place} holds {len(names)} names, and {_MAX_NAMES} at most are looked up")
    return names


def _of_catalogue(place: str | Path) -> list[Given]:
    # The higher taxa that an archive lists stand above its species: as names they would mean all below them.
    rows = read_taxa(place)
    lineages = zip(*(rows[rank].to_pylist() for rank in RANKS), strict=True)
    named = ((line, lineage) for line, lineage in enumerate(lineages, 1) if any(lineage))
    return [Given(line, name_of_lineage(lineage), (), lineage) for line, lineage in named]


def _of_text(place: str | Path, flag: str) -> list[Given]:
    try:
        text = read_bytes(place).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{flag} {place} is not a text file in UTF-8: {error}") from error
    rows, delimiter = delimited(io.StringIO(text, newline=""))
    table = numbered_rows(rows, delimiter)
    try:
        header = [_plain(cell) for cell in next(table, (1, []))[1]]
    except csv.Error:  # a lone quote in front of a list
        header = []
    known = {*_SCIENTIFIC, *_COMMON, *RANKS}
    if not known & set(header):
        return list(_of_lines(text.splitlines()))
    try:
        return list(_of_table(table, header))
    except csv.Error as error:
        raise UserError(f"{flag} {place} {NO_CSV}: {error}") from error


def _plain(cell: str) -> str:
    return cell.strip().lower().replace(" ", "_")


def _of_lines(lines: Sequence[str]) -> Iterator[Given]:
    for number, line in enumerate(lines, 1):
        name = line.strip().strip('",;').strip()
        if name and not name.startswith("#"):
            yield Given(number, name)


def _of_table(table: Iterator[tuple[int, list[str]]], header: list[str]) -> Iterator[Given]:
    for line, cells in table:
        row = {column: stated(cell) for column, cell in zip(header, cells, strict=False)}
        lineage = tuple(row.get(rank, "") for rank in RANKS)
        ranked = name_of_lineage(lineage)
        names = [row.get(column, "") for column in (*_SCIENTIFIC, *_COMMON)]
        names = list(dict.fromkeys(name for name in (*names[: len(_SCIENTIFIC)], ranked, *names) if name))
        if names:
            yield Given(line, names[0], tuple(names[1:]), lineage)


def name_of_lineage(lineage: Sequence[str]) -> str:
    """The binomial, or the deepest name; an epithet may have its genus before it."""
    if lineage[Rank.SPECIES]:
        epithet = lineage[Rank.SPECIES]
        return epithet if " " in epithet else f"{lineage[Rank.GENUS]} {epithet}".strip()
    return next((name for name in reversed(lineage) if name), "")


class Matcher:
    """Looks names up in a tree."""

    def __init__(self, tree: TaxonTree) -> None:
        self._tree = tree

    def match(self, names: Sequence[Given]) -> list[Match]:
        """What each name means, in order.

        Scientific names come before common ones. What is neither is tried again with another gender or an edit or two,
        if it is a binomial.
        """
        texts = list(dict.fromkeys(text.lower() for given in names for text in (given.name, *given.others)))
        clades, commons = self._clades(texts), self._commons(texts)
        found = [self._one(given, clades, commons) for given in names]
        missing = [place for place, match in enumerate(found) if match.status == UNMATCHED]
        for place, match in zip(missing, self._fuzzy([found[place].given for place in missing]), strict=True):
            found[place] = match or found[place]
        return found

    def _one(self, given: Given, clades: "_Places", commons: "_Places") -> Match:
        for known, status in ((clades, EXACT), (commons, COMMON)):
            for text in (given.name, *given.others):
                fitting = self._fitting(known.get(text.lower(), []), given)
                if len(fitting) == 1:
                    return self._found(given, status, *fitting[0])
                if fitting:
                    taxa = (self._tree.taxon(where.start).at(rank) for rank, where in fitting[:_MAX_TOLD])
                    meant = "; ".join(taxon.taxonomic for taxon in taxa)
                    return Match(given, AMBIGUOUS, np.empty(0, np.int64), meant)
        return Match(given, UNMATCHED, np.empty(0, np.int64))

    def _found(self, given: Given, status: str, rank: Rank, where: slice) -> Match:
        taxon = self._tree.taxon(where.start).at(rank)
        return Match(given, status, np.arange(where.start, where.stop), taxon.label, taxon)

    def _fitting(self, places: "list[_Place]", given: Given) -> "list[_Place]":
        """Of the clades of one name those that the ranks beside it may mean, without those within another of them.

        Sources place orders and families differently, and some of them phyla and classes. So a clade is another one's
        where its kingdom, phylum or class is, unless the order or the family is the same, or under another phylum the
        class; what else differs only decides between clades that fit. A genus is no higher taxon of its name.
        """
        rank = max((rank for rank in Rank if given.lineage[rank]), default=None)
        if rank is not None and places:
            lineage = _clean_above(given.lineage[: Rank.GENUS])
            differing = [(it, self._differing(it, lineage)) for it in places]
            fitting = [(it, ranks) for it, ranks in differing if ranks is not None]
            if rank is Rank.GENUS:
                fitting = [(it, ranks) for it, ranks in fitting if it[0] >= rank]
            places = [it for it, ranks in fitting if not ranks] or [it for it, _ in fitting]
            places = [it for it in places if it[0] is rank] or places
        outer: list[_Place] = []
        for it in places:  # higher ranks come first
            if not any(other[1].start <= it[1].start and it[1].stop <= other[1].stop for other in outer):
                outer.append(it)
        return outer

    def _differing(self, place: "_Place", lineage: Sequence[str]) -> set[Rank] | None:
        """The ranks at which a clade and a lineage have two names; None where they are of two branches."""
        rank, where = place
        own = self._tree.taxon(where.start).lineage
        common = [it for it in Rank if it <= min(rank, Rank.FAMILY) and own[it] and lineage[it]]
        # Some have as a class what others have as an order.
        known = {own[rank].lower()} if rank < Rank.GENUS else set()
        differing = {it for it in common if lineage[it].lower() not in {own[it].lower(), *known}}
        same = {it for it in common if it < rank} - differing
        if Rank.CLASS in differing and _is_one_class(lineage[Rank.CLASS], own[Rank.CLASS]):
            differing.discard(Rank.CLASS)
        highest = min(differing, default=Rank.SPECIES)
        agreed = {Rank.ORDER, Rank.FAMILY} | ({Rank.CLASS} if highest is Rank.PHYLUM else set())
        if highest <= Rank.CLASS and not same & agreed:
            return None
        return differing

    def _clades(self, texts: list[str]) -> "_Places":
        """The clades that carry each name, the highest ranks first; of species the binomial."""
        found: _Places = {}
        for rank in Rank:
            taxa = self._tree.table.take(pa.array(self._tree.clade_starts[rank]))
            column = taxa[RANKS[rank]]
            if rank is Rank.SPECIES:
                column = pc.binary_join_element_wise(taxa["genus"], taxa["species"], " ")
            at_rank = _places(column, texts)
            for text, clades in at_rank.items():
                found.setdefault(text, []).extend((rank, self._tree.clade_slice(rank, clade)) for clade in clades)
        return found

    def _commons(self, texts: list[str]) -> "_Places":
        places = _places(self._tree.table["common"], texts)
        return {text: [(Rank.SPECIES, slice(at, at + 1)) for at in some] for text, some in places.items()}

    def _fuzzy(self, names: Sequence[Given]) -> list[Match | None]:
        """Binomials that the tree has nearly."""
        rows = [dict.fromkeys(TAXA_SCHEMA.names, "") for _ in names]
        for row, given in zip(rows, names, strict=True):
            row |= dict(zip(RANKS[: Rank.GENUS], given.lineage, strict=False))
            words = given.name.split()
            if len(words) > 1:
                row |= {"genus": words[0].capitalize(), "species": words[1].lower()}
        if not any(row["species"] for row in rows):
            return [None] * len(names)
        table = clean_lineages(pa.Table.from_pylist(rows, TAXA_SCHEMA))
        backbone = Backbone.from_checklist(Checklist(self._tree.table, SYNONYM_SCHEMA.empty_table()))
        resolved = backbone.resolve(table).to_pylist()
        matches: list[Match | None] = []
        for given, row in zip(names, resolved, strict=True):
            near = row["species"] and row["resolution"] in (Resolution.FUZZY, Resolution.EXACT)
            slices = self._tree.find(f"{row['genus']} {row['species']}") if near else []
            places = self._fitting([(Rank.SPECIES, where) for where in slices], given)
            matches.append(self._found(given, FUZZY, *places[0]) if len(places) == 1 else None)
        return matches


def _is_one_class(one: str, other: str) -> bool:
    pair = {one.lower(), other.lower()}
    return any(pair <= {whole, *parts} for whole, parts in _SAME_CLASS.items())


@lru_cache(maxsize=10_000)
def _clean_above(names: tuple[str, ...]) -> tuple[str, ...]:
    """Clean names of the ranks above the genus: a list has the same for many species."""
    return clean_lineage((*names, "", ""))[: Rank.GENUS]


_Place = tuple[Rank, slice]
"""A clade: its rank, and where its taxa are."""

_Places = dict[str, list[_Place]]
"""The clades that each lower-case text names."""


def _places(column: pa.ChunkedArray, texts: list[str]) -> dict[str, list[int]]:
    """Where each of some lower-case texts stands in a column, whatever its case."""
    index = pc.index_in(pc.utf8_lower(column), value_set=pa.array(texts, pa.string())).combine_chunks()
    rows = np.flatnonzero(index.is_valid().to_numpy(zero_copy_only=False))
    found: dict[str, list[int]] = {}
    for row, text in zip(rows.tolist(), index.drop_null().to_pylist(), strict=True):
        found.setdefault(texts[text], []).append(row)
    return found


def positions_of(matches: Sequence[Match]) -> np.ndarray:
    """The taxa that a list means, each once, in tree order."""
    return np.unique(np.concatenate([np.empty(0, np.int64), *(match.positions for match in matches)]))


def report(matches: Sequence[Match]) -> str:
    """A CSV of what became of each name."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["line", "name", "status", "num_labels", "meant"])
    writer.writerows([it.given.line, it.given.name, it.status, len(it.positions), it.meant] for it in matches)
    return buffer.getvalue()


def told(matches: Sequence[Match], place: str | Path) -> str:
    """What a user has to know of a list in one line; blank where every name has its label."""
    parts = []
    for status, words in (
        (UNMATCHED, "in no label"),
        (AMBIGUOUS, "may mean several taxa"),
        (FUZZY, "nearly in a label"),
    ):
        some = [match.given.name for match in matches if match.status == status]
        if some:
            parts.append(f"{len(some)} {words} ({first_of(some, _MAX_TOLD)})")
    return f"{name_of(place)}: of {len(matches)} names {'; '.join(parts)}" if parts else ""
