"""Darwin Core archives: a zip with `meta.xml` and the delimited files that it describes. Knows nothing of ranks.

The description comes from outside: a document type, and with it any entity, is refused, and its size is bounded.
"""

import csv
import io
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

import pyarrow as pa

from trygon.errors import UserError
from trygon.storage import open_input
from trygon.taxonomy.delimited import Dialect, read_delimited

_META_BYTES = 1 << 20
_HEAD_BYTES = 1 << 16
_MAX_COLUMNS = 1000
ID = "id"
"""The column by which the rows of extensions name their taxon."""


@dataclass
class DataFile:
    """What `meta.xml` says of the core or of an extension; several locations are parts of one table."""

    row_type: str
    attributes: dict[str, str]
    id_index: int = -1
    locations: list[str] = field(default_factory=list)
    columns: dict[int, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)

    def dialect(self, head: bytes, wanted: Collection[str]) -> Dialect:
        """How a file is written that begins so: it has more columns than are described, perhaps."""
        encoding = self.attributes.get("encoding", "utf8").lower().replace("utf-8", "utf8")
        delimiter = _character(self.attributes.get("fieldsTerminatedBy", ",")) or ","
        quote = _character(self.attributes.get("fieldsEnclosedBy", '"'))
        quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
        # In quotes, a delimiter and the end of a line are letters.
        text = io.StringIO(head.decode(encoding, errors="replace"), newline="")
        count = len(next(csv.reader(text, delimiter=delimiter, quotechar=quote or None, quoting=quoting), []))
        columns = [self.columns.get(index, "") for index in range(max([count - 1, self.id_index, *self.columns]) + 1)]
        if self.id_index >= 0 and columns[self.id_index] not in wanted:
            columns[self.id_index] = ID
        return Dialect(
            tuple(columns),
            delimiter,
            quote,
            int(self.attributes.get("ignoreHeaderLines") or 0),
            encoding,
        )


def read_archive(
    place: str | Path, wanted: Collection[str], repeated: Collection[str], torn: Callable[[], None]
) -> tuple[pa.Table, list[pa.Table]]:
    """The taxa of an archive and its tables of vernacular names, with the wanted terms that they have, and `ID`.

    `ID` is missing where the id is one of the wanted terms. `UserError` where this is no such archive. `torn` is
    called for every line that has another number of columns than the first.
    """
    try:
        with open_input(place) as file, zipfile.ZipFile(file) as archive:
            metas = [name for name in archive.namelist() if name.rpartition("/")[2] == "meta.xml"]
            meta = min(metas, key=len, default="")
            if not meta:
                raise ValueError("it has no meta.xml")
            with archive.open(meta) as content:
                files = _described(content.read(_META_BYTES + 1))
            taxa = [it for it in files if it.row_type == "taxon"]
            if not taxa:
                raise ValueError("its meta.xml describes no table of taxa")
            names = [it for it in files if it.row_type == "vernacularname"]
            folder = meta.removesuffix("meta.xml")
            tables = [_read(archive, folder, it, wanted, repeated, torn) for it in (taxa[0], *names)]
    # RuntimeError: a member is encrypted; KeyError: it is not there; LookupError: no such encoding.
    except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, RuntimeError, ValueError) as error:
        raise UserError(f"{place} cannot be read as a Darwin Core archive: {error}") from error
    return tables[0], tables[1:]


def _read(
    archive: zipfile.ZipFile,
    folder: str,
    described: DataFile,
    wanted: Collection[str],
    repeated: Collection[str],
    torn: Callable[[], None],
) -> pa.Table:
    parts = []
    for location in described.locations:
        with archive.open(folder + location) as content:
            dialect = described.dialect(content.read(_HEAD_BYTES), wanted)
        with archive.open(folder + location) as content:
            parts.append(read_delimited(content, dialect, {*wanted, ID}, repeated, torn))
    table = pa.concat_tables(parts)
    for term, value in described.constants.items():
        if term in wanted and term not in table.column_names:
            table = table.append_column(term, pa.repeat(pa.scalar(value, pa.string()), table.num_rows))
    return table


def _character(text: str) -> str:
    r"""What `\t` and the like stand for; at most one character."""
    return {r"\t": "\t", r"\n": "\n", r"\r": "\r", "&quot;": '"'}.get(text, text)[:1]


def _described(meta: bytes) -> list[DataFile]:
    if len(meta) > _META_BYTES:
        raise ValueError("its meta.xml is larger than a description can be")
    files: list[DataFile] = []
    text: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        text.clear()
        match tag.rpartition(":")[2]:
            case "core" | "extension":
                files.append(DataFile(_term(attributes.get("rowType", "")).lower(), attributes))
            case "id" | "coreid" if files and "index" in attributes:
                files[-1].id_index = _index(attributes)
            case "field" if files:
                term = _term(attributes.get("term", ""))
                if "index" not in attributes:
                    files[-1].constants[term] = attributes.get("default", "")
                else:
                    files[-1].columns[_index(attributes)] = term

    def end(tag: str) -> None:
        if tag.rpartition(":")[2] == "location" and files:
            files[-1].locations.append("".join(text).strip())

    def refuse(*_: object) -> None:
        raise ValueError("its meta.xml has a document type, which is not read")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    try:
        parser.ParseFile(io.BytesIO(meta))
    except expat.ExpatError as error:
        raise ValueError(f"its meta.xml is no XML: {error}") from error
    return files


def _term(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2]


def _index(attributes: dict[str, str]) -> int:
    index = int(attributes["index"])
    if not 0 <= index < _MAX_COLUMNS:
        raise ValueError(f"a column cannot have the index {index}")
    return index
