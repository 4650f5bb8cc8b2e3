"""Delimited text (CSV, TSV) to Arrow columns of texts. Knows nothing of what the columns mean."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

import pyarrow as pa
from pyarrow import csv as arrow_csv

from trygon.storage import open_input

NOT_DELIMITED = (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile, zlib.error)
"""What is raised where a file is no delimited text in UTF-8, or a gzip that is damaged."""

NO_CSV = "is not a CSV file in UTF-8 with each quotation mark closed"
"""What the user is told then."""

_HEADER_BYTES = 1 << 16
_BLOCK_BYTES = 8 << 20
_TEXT = pa.string()


@dataclass(frozen=True)
class Dialect:
    """How a file is written, and the names of its columns in their order; a blank name is a column nobody wants."""

    columns: tuple[str, ...]
    delimiter: str = ","
    quote: str = '"'
    num_header_lines: int = 1
    encoding: str = "utf8"
    spans_lines: bool = True
    """Whether what stands in quotes may go on in the next line."""


def delimiter_of(header: str) -> str:
    """Tab, semicolon or comma: what a line with the names of columns has most of."""
    return max("\t;,", key=header.count)


def delimited(text: Iterator[str]) -> tuple[Iterator[str], str]:
    """All lines of a text, for Python's `csv`, and its delimiter by the first one: only `csv` knows where the names of
    the columns end, for one in quotes may go on in the next line. Let it be `strict`: if not, a quotation mark that
    nothing closes takes all lines to come for one value, and says nothing."""
    first = next(text, "")
    return chain([first], text), delimiter_of(first)


@contextmanager
def open_delimited(place: str | Path) -> Iterator[tuple[Iterator[str], str]]:
    """The lines of a file, plain or gzip, and their delimiter, as `delimited` has them."""
    with open_input(place) as file:
        plain = gzip.GzipFile(fileobj=file) if str(place).split("?")[0].endswith(".gz") else file
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
            yield delimited(text)


def sniff(file: IO[bytes]) -> Dialect:
    """From the header line: tab, semicolon or comma. Tab-separated files hold quotes as they are. Rewinds the file."""
    line = file.read(_HEADER_BYTES).decode("utf-8-sig", errors="replace").split("\n", 1)[0].rstrip("\r")
    file.seek(0)
    delimiter = delimiter_of(line)
    names = next(csv.reader([line], delimiter=delimiter), [])
    return Dialect(tuple(names), delimiter, "" if delimiter == "\t" else '"')


def read_delimited(
    file: IO[bytes],
    dialect: Dialect,
    wanted: Collection[str],
    repeated: Collection[str] = (),
    torn: Callable[[], None] | None = None,
    kind: pa.DataType = _TEXT,
) -> pa.Table:
    """The wanted columns that are there, as texts, or of another kind, never null; those in `repeated`
    dictionary-encoded.

    A line with another number of columns is left out and `torn` is called for it. Raises `ArrowInvalid` where the
    file is not delimited text, and on such a line where `torn` is not given.
    """
    # Any other column gets a name that cannot be wanted, and a doubled one counts once.
    names = [
        name if name in wanted and name not in dialect.columns[:index] else f"column {index}"
        for index, name in enumerate(dialect.columns)
    ]
    include = [name for name in names if name in wanted]
    if not include:
        return pa.table({})

    def skip(row: arrow_csv.InvalidRow) -> str:
        if torn is None:
            return "error"
        torn()
        return "skip"

    return arrow_csv.read_csv(
        file,
        arrow_csv.ReadOptions(
            column_names=names,
            skip_rows=dialect.num_header_lines,
            encoding=dialect.encoding,
            block_size=_BLOCK_BYTES,
        ),
        arrow_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            newlines_in_values=dialect.spans_lines and bool(dialect.quote),
            invalid_row_handler=skip,
        ),
        arrow_csv.ConvertOptions(
            include_columns=include,
            column_types={name: pa.dictionary(pa.int32(), kind) if name in repeated else kind for name in include},
            strings_can_be_null=False,
        ),
    )
