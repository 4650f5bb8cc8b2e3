"""The Rare Species benchmark: a catalog, licences, and one folder of pictures a species.

A folder is called `<kingdom>-…-<species>`, and some names hold a hyphen: names come from the catalog, never from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from trygon.data.sources.eol import eol_id
from trygon.data.sources.listing import first_of, need, units_of
from trygon.data.sources.members import read_pictures
from trygon.data.sources.source import Picture, Unit
from trygon.data.sources.tables import (
    RANK_COLUMNS,
    num_bad_lines,
    read_columns,
    to_records,
    whole_number,
    with_licenses,
)

_IDS = {name: (name,) for name in ("eol_content_id", "eol_page_id")}
_COLUMNS = _IDS | {"rarespecies_id": ("rarespecies_id",), "common": ("common",)} | RANK_COLUMNS
_LICENSES = _IDS | {"license": ("license_name",), "rights_holder": ("copyright_owner",)}
_HINT = "put dataset/<kingdom-…-species>/… there"


@dataclass(frozen=True)
class RareSpecies:
    """`uri` holds `metadata/rarespecies-catalog.csv`, `licenses.csv` and `dataset`; ids are rarespecies_id."""

    uri: str
    name: str = "rarespecies"

    def records(self) -> pa.Table:
        """One row a row of the catalog."""
        table = read_columns(_catalog(self.uri), _COLUMNS, optional=("common",))
        columns = {name: table[name] for name in (*RANK_COLUMNS, "common")} | {"source_id": table["rarespecies_id"]}
        num_bad = num_bad_lines(table)
        licenses = first_of(self.uri, "metadata/licenses.csv", "licenses.csv")
        if licenses:
            known = read_columns(licenses, _LICENSES)
            num_bad += num_bad_lines(known)
            columns = with_licenses(columns, _joined(table), known, _joined(known))
        return to_records(columns, num_bad)

    def units(self) -> list[Unit]:
        """The files of `dataset` in groups."""
        return units_of(self.uri, _HINT)

    def read(self, unit: Unit) -> Iterator[Picture]:
        """Pictures by the catalog's id for their content and page; by their path where it has none."""
        ids = _ids(_catalog(self.uri))
        return read_pictures(unit, lambda path: ids.get(eol_id(path), path))


def _catalog(root: str) -> str:
    what = "the catalog of the Rare Species benchmark"
    return need(root, what, "metadata/rarespecies-catalog.csv", "rarespecies-catalog.csv")


def _joined(table: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(whole_number(table["eol_content_id"]), whole_number(table["eol_page_id"]), "_")


@lru_cache(maxsize=1)
def _ids(uri: str) -> dict[str, str]:
    table = read_columns(uri, _IDS | {"rarespecies_id": ("rarespecies_id",)})
    return dict(zip(_joined(table).to_pylist(), table["rarespecies_id"].to_pylist(), strict=True))
