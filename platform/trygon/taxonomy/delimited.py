"""Delimited text (CSV, TSV) to Arrow columns of texts. Knows nothing of what the columns mean."""

import csv
import gzip
import io
import re
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from trygon.errors import UserError
from trygon.storage import open_input

NOT_DELIMITED = (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile, zlib.error)
"""What is raised where a file is no delimited text in UTF-8, or a gzip that is damaged."""

NO_CSV = "is not a CSV file in UTF-8 with each quotation mark closed, and its value with it"
"""What the user is told then."""

MISSING = ("NA", "NaN", "nan")
"""What R and pandas write into a cell for nothing, and Camtrap DP allows there."""

_HEADER_BYTES = 1 << 16
_BLOCK_BYTES = 8 << 20
_MAX_LINES = 100
"""Over how many lines one row may go. A quotation mark that closes later is one that nothing closes."""
_TELLING = 3
"""Of so many delimiters a line of text is hardly made by chance."""

_TEXT = pa.string()


@dataclass(frozen=True)
class Dialect:
    """How a file is written, and the names of its columns in their order; a blank name is a column nobody wants."""

    columns: tuple[str, ...]
    delimiter: str = ","
    quote: str = '"'
    num_header_lines: int = 1
    encoding: str = "utf8"


def stated(cell: str) -> str:
    """What a cell says; blank where it says that there is nothing."""
    text = cell.strip()
    return "" if text in MISSING else text


def require_columns(cells: Sequence[str], num_columns: int, where: str) -> None:
    """`UserError` where a row says more than there are columns: what stands in which is not known then."""
    if any(cell.strip() for cell in cells[num_columns:]):
        raise UserError(
            f"{where}: {len(cells)} values for {num_columns} columns; what holds the delimiter, such as the comma of "
            "1,5, has to stand in quotation marks"
        )


def stated_column(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """A column of texts in which that is blank."""
    return pc.if_else(pc.is_in(column, value_set=pa.array(MISSING)), "", column)


def delimiter_of(header: str) -> str:
    """Tab, semicolon or comma: what a line with the names of columns has most of."""
    return max("\t;,", key=header.count)


def delimited(text: Iterator[str]) -> tuple[Iterator[str], str]:
    """All lines of a text, for Python's `csv`, and its delimiter by the first one: only `csv` knows where the names of
    the columns end, for one in quotes may go on in the next line."""
    first = next(text, "")
    return chain([first], text), delimiter_of(first)


def numbered_rows(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of such lines, each with the number of the line where it ends. `csv.Error` names the line with a
    quotation mark that nothing closes, or behind whose closing one something stands: Python's own reader would take
    all lines to come for one value, and say nothing."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        begun = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise csv.Error(f"line {begun}: {error}") from error
        yield reader.line_num, row


@contextmanager
def open_delimited(place: str | Path) -> Iterator[tuple[Iterator[str], str]]:
    """The lines of a file, plain or gzip, and their delimiter, as `delimited` has them."""
    with open_input(place) as file:
        plain = gzip.GzipFile(fileobj=file) if str(place).split("?")[0].endswith(".gz") else file
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
            yield delimited(text)


def sniff(file: IO[bytes]) -> Dialect:
    """From the header line: tab, semicolon or comma. Tab-separated files hold quotes as they are. Rewinds the file."""
    line = re.split(r"[\r\n]", file.read(_HEADER_BYTES).decode("utf-8-sig", errors="replace"), maxsplit=1)[0]
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
    strict: bool = False,
) -> pa.Table:
    """The wanted columns that are there, as texts, or of another kind, never null; those in `repeated`
    dictionary-encoded. The file is one that can be sought in.

    A line with another number of columns is left out and `torn` is called for it; so is one with a quotation mark that
    nothing closes. Raises `ArrowInvalid` where the file is not delimited text, and on a line of the first kind where
    `torn` is not given; `csv.Error` on one of the second kind then, or where it is to be `strict`.
    """
    # Any other column gets a name that cannot be wanted, and a doubled one counts once.
    names = [
        name if name in wanted and name not in dialect.columns[:index] else f"column {index}"
        for index, name in enumerate(dialect.columns)
    ]
    include = [name for name in names if name in wanted]
    if not include:
        return pa.table({})

    def read(file: io.RawIOBase, written: Dialect, torn: Callable[[], None] | None) -> pa.Table:
        def skip(row: arrow_csv.InvalidRow) -> str:
            if torn is None:
                return "error"
            torn()
            return "skip"

        return arrow_csv.read_csv(
            file,
            arrow_csv.ReadOptions(
                column_names=names,
                skip_rows=written.num_header_lines,
                encoding=written.encoding,
                block_size=_BLOCK_BYTES,
            ),
            arrow_csv.ParseOptions(
                delimiter=written.delimiter,
                quote_char=written.quote or False,
                newlines_in_values=bool(written.quote),
                invalid_row_handler=skip,
            ),
            arrow_csv.ConvertOptions(
                include_columns=include,
                column_types={name: pa.dictionary(pa.int32(), kind) if name in repeated else kind for name in include},
                strings_can_be_null=False,
            ),
        )

    counted = _Counted(file)
    if not dialect.quote:
        return read(counted, dialect, torn)
    # Arrow takes all lines to the next quotation mark for one value. Where there are fewer rows than lines, some do go
    # on in the next line, or something opens a value that nothing closes: then each line is looked at.
    bad: list[None] = []
    with suppress(pa.ArrowInvalid):
        table = read(counted, dialect, torn and (lambda: bad.append(None)))
        if table.num_rows + len(bad) + dialect.num_header_lines == counted.num_lines:
            if torn is not None:
                for _ in bad:
                    torn()
            return table
    file.seek(0)

    def unclosed(line: int) -> None:
        if strict or torn is None:
            raise csv.Error(f"line {line} has one that nothing closes")
        torn()

    # Bytes that are none of the encoding stay what they are.
    encoding = dialect.encoding if dialect.encoding != "utf8" else "utf-8"
    text = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")  # pyright: ignore[reportArgumentType]
    try:
        return read(_Lines(_rows(text, dialect, unclosed)), replace(dialect, encoding="utf8"), torn)
    finally:
        text.detach()


def _rows(lines: Iterator[str], dialect: Dialect, unclosed: Callable[[int], None]) -> Iterator[str]:
    """The lines of a text, less those with a quotation mark that nothing closes; `unclosed` is told their numbers."""
    yield from islice(lines, dialect.num_header_lines)
    number = dialect.num_header_lines
    ahead: deque[str] = deque()
    while line := ahead.popleft() if ahead else next(lines, ""):
        number += 1
        if dialect.quote not in line or _columns(line, dialect) is not None:
            yield line
            continue
        ahead.extend(islice(lines, _MAX_LINES - len(ahead)))
        num_more = _num_more(line, ahead, dialect)
        if num_more:
            yield line
            yield from (ahead.popleft() for _ in range(num_more))
            number += num_more
        else:
            unclosed(number)


def _columns(line: str, dialect: Dialect) -> int | None:
    """How many columns a line has, None where a value goes on in the next one."""
    reader = csv.reader([line, ""], delimiter=dialect.delimiter, quotechar=dialect.quote)
    try:
        row = next(reader)
    except csv.Error:
        return None
    return len(row) if reader.line_num == 1 else None


def _num_more(line: str, ahead: Collection[str], dialect: Dialect) -> int:
    """How many of the next lines belong to a row that begins so; none where it is no whole row.

    Nor is it one if what it takes for a value holds rows: then two quotation marks met that are nothing to each other.
    """
    reader = csv.reader([line, *ahead], delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True)
    try:
        if len(next(reader)) != len(dialect.columns):
            return 0
    except csv.Error:
        return 0
    *within, last = islice(ahead, reader.line_num - 1)
    num_delimiters = len(dialect.columns) - 1

    def is_row(line: str) -> bool:
        return num_delimiters >= _TELLING and line.count(dialect.delimiter) == num_delimiters

    return 0 if any(map(is_row, within)) or (is_row(line) and is_row(last)) else reader.line_num - 1


class _Counted(io.RawIOBase):
    """A file that is being read, and how many lines it has so far, whatever ends them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._num_ends = 0
        self._last = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._num_ends += data.count(b"\n")
        if b"\r" in data:
            self._num_ends += data.count(b"\r") - data.count(b"\r\n")
        if self._last == b"\r" and data[:1] == b"\n":
            self._num_ends -= 1
        self._last = data[-1:] or self._last
        return data

    @property
    def num_lines(self) -> int:
        return self._num_ends + (self._last not in (b"\r", b"\n", b""))


class _Lines(io.RawIOBase):
    """Lines as a file in UTF-8."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        parts, num_bytes = [self._rest], len(self._rest)
        while num_bytes < size and (some := "".join(islice(self._lines, 1000))):
            parts.append(some.encode("utf-8", errors="surrogateescape"))
            num_bytes += len(parts[-1])
        data = b"".join(parts)
        self._rest = data[size:]
        return data[:size]
