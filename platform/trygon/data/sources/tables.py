"""Big CSV and TSV files of data sets to Arrow columns, and columns to records. Knows no data set's columns.

Every value is a string, blank where there is none. Lines that are no rows are left out and counted.
"""

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from trygon.errors import UserError
from trygon.schemas import RECORD
from trygon.storage import open_input
from trygon.taxonomy.delimited import NO_CSV, Dialect, read_delimited
from trygon.taxonomy.taxon import RANKS

BAD_LINES = b"bad_lines"
"""The key in a table's metadata under which the lines are counted that could not be read."""

RANK_COLUMNS: dict[str, tuple[str, ...]] = {rank: (rank,) for rank in RANKS} | {"class": ("class", "cls")}
"""Rank columns by the names that they have in files: `class` is a keyword in Python, and `cls` in some tables."""

_HEADER_BYTES = 1 << 16


Table = str | bytes
"""A file's place, or what stands in it."""


def _open(source: Table) -> BinaryIO:
    return open_input(source) if isinstance(source, str) else io.BytesIO(source)


def _told(source: Table) -> str:
    return source if isinstance(source, str) else "a table within an archive"


def read_header(source: Table, delimiter: str = ",", quoted: bool = True) -> list[str]:
    """The cells of a file's first line; `UserError` where there is no file or nothing in it."""
    try:
        with _open(source) as file:
            head = file.read(_HEADER_BYTES).decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror or error}") from error
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    cells = next(csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, quoting=quoting), [])
    if not cells:
        raise UserError(f"{_told(source)} is empty: its first line must name its columns")
    return [cell.strip() for cell in cells]


def read_columns(
    source: Table,
    columns: Mapping[str, Sequence[str]],
    optional: Iterable[str] = (),
    delimiter: str = ",",
    quoted: bool = True,
    header: Sequence[str] | None = None,
    strict: bool = False,
) -> pa.Table:
    """Some columns of a CSV file as strings; lines that are no rows are counted in the metadata.

    `columns` maps what a column is to be called to the names that it may have in the file. Without `quoted` a
    quotation mark is a letter. `header` is for a file that has none of its own; a first line that repeats it is left
    out. A table that its user can mend is read `strict`: a quotation mark that nothing closes, or what is no UTF-8, is
    refused.
    Raises `UserError` where the file or a column is missing that is not optional.
    """
    first = read_header(source, delimiter, quoted)
    names = header or first
    skip = 1 if header is None or first[0].lower() == header[0].lower() else 0
    found = {name: next((known for known in known_as if known in names), None) for name, known_as in columns.items()}
    for name, column in found.items():
        if column is None and name not in set(optional):
            raise UserError(f"{_told(source)} has no column {columns[name][0]!r}; it has {', '.join(names[:20])}")
    dialect = Dialect(tuple(names), delimiter, '"' if quoted else "", skip)
    table, num_bad = _parse(source, dialect, {column for column in found.values() if column}, strict)
    blank = pa.chunked_array([pa.repeat(pa.scalar(""), table.num_rows)])
    filled = {name: table[column] if column else blank for name, column in found.items()}
    return pa.table(filled).replace_schema_metadata({BAD_LINES: str(num_bad)})


def _parse(source: Table, dialect: Dialect, wanted: Collection[str], strict: bool) -> tuple[pa.Table, int]:
    """The wanted columns and the number of lines left out."""
    bad: list[None] = []
    # As bytes: one value of millions that is no UTF-8 would end the reading.
    kind = pa.string() if strict else pa.binary()
    try:
        with _open(source) as file:
            table = read_delimited(file, dialect, wanted, torn=lambda: bad.append(None), kind=kind, strict=strict)
    except (pa.ArrowInvalid, csv.Error) as error:
        if _count_lines(source) <= dialect.num_header_lines:
            return pa.table({name: pa.array([], pa.string()) for name in wanted}), 0
        problem = NO_CSV if isinstance(error, csv.Error) else "cannot be read as a table of text in UTF-8"
        raise UserError(f"{_told(source)} {problem}: {error}") from error
    return _trimmed(table if strict else _text(table)), len(bad)


def _trimmed(table: pa.Table) -> pa.Table:
    return pa.table({name: pc.ascii_trim_whitespace(table[name]) for name in table.column_names})


def _text(table: pa.Table) -> pa.Table:
    return pa.table({name: _decoded(table[name]) for name in table.column_names})


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    chunks = []
    for chunk in column.chunks:
        try:
            chunks.append(chunk.cast(pa.string()))
        except pa.ArrowInvalid:
            chunks.append(pa.array([value.decode("utf-8", errors="replace") for value in chunk.to_pylist()]))
    return pa.chunked_array(chunks, pa.string())


def _count_lines(source: Table) -> int:
    with _open(source) as file:
        return sum(1 for line in file if line.strip())


def num_bad_lines(table: pa.Table) -> int:
    """How many lines of the files behind a table (records, for one) were no rows."""
    return int((table.schema.metadata or {}).get(BAD_LINES, b"0"))


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of the same columns as one; what was counted is added up."""
    num_bad = sum(num_bad_lines(table) for table in tables)
    plain = [table.replace_schema_metadata(None) for table in tables]
    return pa.concat_tables(plain).replace_schema_metadata({BAD_LINES: str(num_bad)})


def to_records(columns: Mapping[str, Any], num_bad: int = 0) -> pa.Table:
    """Columns (arrays or lists of strings, some may be missing) as schemas.RECORD; null becomes blank."""
    num_rows = len(columns["source_id"])
    blank = pa.repeat(pa.scalar(""), num_rows)
    arrays = []
    for name in RECORD.names:
        values = columns.get(name, blank)
        arrays.append((values if hasattr(values, "fill_null") else pa.array(values, pa.string())).fill_null(""))
    return pa.table(arrays, schema=RECORD.with_metadata({BAD_LINES: str(num_bad)}))


def look_up(keys: Any, known: Any, *columns: Any) -> list[Any]:
    """For each key, in order, the values beside its first place among `known`; blank where there is none."""
    places = pc.if_else(pc.equal(keys, ""), None, pc.index_in(keys, value_set=known))
    return [values.take(places).fill_null("") for values in columns]


def with_licenses(records: dict[str, Any], keys: Any, licenses: pa.Table, known: Any) -> dict[str, Any]:
    """Columns of records with those of the licences of TreeOfLife-10M and Rare Species, by some key of both."""
    names = ("license", "rights_holder")
    found = look_up(keys, known, *(without(licenses[name], "not provided") for name in names))
    return records | dict(zip(names, found, strict=True))


def whole_number(column: Any) -> Any:
    """Ids as text without the `.0` that pandas gives to whole numbers in a column with gaps."""
    return pc.replace_substring_regex(column, r"\.0$", "")


def without(column: Any, *words: str) -> Any:
    """A column in which some words, such as `not_classified`, are blank."""
    unknown = pc.is_in(pc.utf8_lower(column), value_set=pa.array(words))
    return pc.if_else(unknown, "", column)
