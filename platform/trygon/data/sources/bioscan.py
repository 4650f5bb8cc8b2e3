"""BIOSCAN-1M: one table of metadata (TSV, or jsonld with the same columns), and cropped pictures in parts.

The data set says `not_classified` where it has no name; subfamily, tribe and subspecies are no ranks here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from trygon.data.sources.listing import base_name, need, units_of
from trygon.data.sources.members import read_pictures
from trygon.data.sources.source import Picture, Unit
from trygon.data.sources.tables import num_bad_lines, read_columns, to_records, without
from trygon.errors import UserError
from trygon.storage import read_json

_TABLE = "BIOSCAN_Insect_Dataset_metadata"
_COLUMNS = ("image_file", "order", "family", "genus", "species", "copyright_license", "copyright_holder")
_OPTIONAL = ("copyright_license", "copyright_holder")
_PICTURES = re.compile(r"(cropped_256(/|\.(zip|tar|tar\.gz|tgz)$)|part\d+(/|\.(zip|tar|tar\.gz|tgz)$))")
_HINT = "put cropped_256/part1 … or their zip files, or cropped_256.zip, there"


@dataclass(frozen=True)
class Bioscan:
    """`uri` holds the table and `cropped_256`; ids are the table's `image_file`."""

    uri: str
    name: str = "bioscan"

    def records(self) -> pa.Table:
        """One row a row of the table: all of them are insects."""
        what = f"{_TABLE}.tsv or {_TABLE}.jsonld of BIOSCAN-1M"
        uri = need(self.uri, what, *(f"{_TABLE}.{suffix}" for suffix in ("tsv", "jsonld")))
        if base_name(uri).endswith(".tsv"):
            table = read_columns(uri, {name: (name,) for name in _COLUMNS}, _OPTIONAL, delimiter="\t")
        else:
            table = _read_rows(uri)
        insects = {"kingdom": "Animalia", "phylum": "Arthropoda", "class": "Insecta"}
        columns = {rank: pa.repeat(pa.scalar(name), table.num_rows) for rank, name in insects.items()}
        columns |= {rank: without(table[rank], "not_classified") for rank in ("order", "family", "genus", "species")}
        columns["source_id"] = table["image_file"]
        columns |= {"license": table["copyright_license"], "rights_holder": table["copyright_holder"]}
        return to_records(columns, num_bad_lines(table))

    def units(self) -> list[Unit]:
        """The files of `cropped_256` in groups, and its archives; the original pictures are passed over."""
        return units_of(self.uri, _HINT, lambda path: bool(_PICTURES.match(path)))

    def read(self, unit: Unit) -> Iterator[Picture]:
        """Pictures by file name: parts are no part of the id."""
        return read_pictures(unit, base_name)


def _read_rows(uri: str) -> pa.Table:
    rows = read_json(uri)
    if not isinstance(rows, list):
        raise UserError(f"{uri} is not BIOSCAN's list of rows: fetch it again")
    good = [row for row in rows if isinstance(row, dict) and row.get("image_file")]
    columns = {name: pa.array([str(row.get(name) or "") for row in good], pa.string()) for name in _COLUMNS}
    return pa.table(columns).replace_schema_metadata({"bad_lines": str(len(rows) - len(good))})
