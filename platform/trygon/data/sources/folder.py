"""Pictures of one's own: a folder with labels.csv, or a list of paths that lie anywhere. Names as they are written."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from trygon.data.sources.listing import base_name, files_below, first_of, group, need, parent
from trygon.data.sources.members import read_pictures
from trygon.data.sources.source import Picture, Unit, is_picture
from trygon.data.sources.tables import RANK_COLUMNS, num_bad_lines, read_columns, to_records
from trygon.errors import UserError
from trygon.taxonomy.delimited import stated_column
from trygon.taxonomy.taxon import RANKS

LABELS = "labels.csv"
_COLUMNS = {"source_id": ("path",)} | RANK_COLUMNS
_CREDITS = {
    **{name: (name,) for name in ("common", "license", "source_url")},
    "rights_holder": ("author", "rights_holder"),
}
_HINT = f"It needs the columns path, {', '.join(RANKS)}; common, license and author where they are known."


@dataclass(frozen=True)
class Folder:
    """`uri` is a folder with pictures at any depth and a labels.csv; ids are paths relative to it."""

    uri: str
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or base_name(self.uri))

    def records(self) -> pa.Table:
        """One row a row of labels.csv."""
        return _read_labels(need(self.uri, f"the labels of its pictures. {_HINT}", LABELS))

    def units(self) -> list[Unit]:
        """All pictures in groups, those too that labels.csv does not name, and what it names, whatever the ending;
        archives are passed over."""
        labels = first_of(self.uri, LABELS)
        ids = _read_labels(labels)["source_id"].to_pylist() if labels else []
        odd = {path for path in ids if not is_picture(path)}
        paths = [path for path in files_below(self.uri) if is_picture(path) or path in odd]
        if not paths:
            raise UserError(f"{self.uri} holds no pictures: put pictures and a {LABELS} there")
        return group(self.uri, paths)

    def read(self, unit: Unit) -> Iterator[Picture]:
        """Pictures by path."""
        return read_pictures(unit, str)


@dataclass(frozen=True)
class PathList:
    """`uri` is a CSV file like labels.csv whose paths lie anywhere: on S3, whole, or relative to it; ids are paths."""

    uri: str
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or base_name(self.uri).rpartition(".")[0])

    def records(self) -> pa.Table:
        """One row a row of the list."""
        return _read_labels(self.uri)

    def units(self) -> list[Unit]:
        """The paths in groups, each once, in the order of the list."""
        paths = pc.unique(self.records()["source_id"]).to_pylist()
        if not paths:
            raise UserError(f"{self.uri} names no pictures. {_HINT}")
        return group(parent(self.uri), paths)

    def read(self, unit: Unit) -> Iterator[Picture]:
        """Pictures by path."""
        return read_pictures(unit, str)


def _read_labels(uri: str) -> pa.Table:
    columns = _COLUMNS | _CREDITS
    try:
        table = read_columns(uri, columns, optional=_CREDITS, strict=True)
    except UserError as error:
        raise UserError(f"{error}. {_HINT}") from error
    table = pa.table({name: stated_column(table[name]) for name in table.column_names}, metadata=table.schema.metadata)
    # Windows has \ between folders.
    paths = pc.replace_substring_regex(pc.replace_substring(table["source_id"], "\\", "/"), r"^(\./)+", "")
    table = table.set_column(table.column_names.index("source_id"), "source_id", paths)
    named = table.filter(pc.not_equal(paths, ""))
    num_bad = num_bad_lines(table) + table.num_rows - named.num_rows
    return to_records({name: named[name] for name in named.column_names}, num_bad)
