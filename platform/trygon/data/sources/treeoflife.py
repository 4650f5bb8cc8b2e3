"""The published TreeOfLife-10M: its catalog, its licences, and the image sets of its EOL part.

The release has no pictures of iNat21 and BIOSCAN-1M: they are read from their own data sets (`inat21`, `bioscan`),
with the names that those have. So the rows of these two parts make no records here; they would all count as missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from trygon.data.sources.listing import base_name, first_of, need, units_of
from trygon.data.sources.members import read_pictures
from trygon.data.sources.source import Picture, Unit
from trygon.data.sources.tables import RANK_COLUMNS, num_bad_lines, read_columns, to_records, with_licenses

_COLUMNS = {name: (name,) for name in ("split", "treeoflife_id", "eol_content_id", "common")} | RANK_COLUMNS
_LICENSES = {"treeoflife_id": ("treeoflife_id",), "license": ("license_name",), "rights_holder": ("copyright_owner",)}
_HINT = "put dataset/EOL/image_set_01.tar.gz … there"


@dataclass(frozen=True)
class TreeOfLife:
    """`uri` holds `metadata/catalog.csv`, `licenses.csv`, `dataset/EOL/image_set_*.tar.gz`; ids are treeoflife_id."""

    uri: str
    name: str = "treeoflife"

    def records(self) -> pa.Table:
        """One row a picture of the EOL part. The rows of train_small say those of train again, and count once."""
        uri = need(self.uri, "the catalog of TreeOfLife-10M", "metadata/catalog.csv", "catalog.csv")
        table = read_columns(uri, _COLUMNS, optional=("split", "common"))
        ours = pc.and_(pc.not_equal(table["split"], "train_small"), pc.not_equal(table["eol_content_id"], ""))
        table = table.filter(ours)
        ids = table["treeoflife_id"]
        columns = {name: table[name] for name in (*RANK_COLUMNS, "common")} | {"source_id": ids}
        num_bad = num_bad_lines(table)
        licenses = first_of(self.uri, "metadata/licenses.csv", "licenses.csv")
        if licenses:
            known = read_columns(licenses, _LICENSES)
            num_bad += num_bad_lines(known)
            columns = with_licenses(columns, ids, known, known["treeoflife_id"])
        return to_records(columns, num_bad)

    def units(self) -> list[Unit]:
        """Each image set, and unpacked sets in groups."""
        return units_of(self.uri, _HINT)

    def read(self, unit: Unit) -> Iterator[Picture]:
        """Pictures by their names, `<treeoflife_id>.jpg`."""
        return read_pictures(unit, lambda path: base_name(path).rpartition(".")[0].lower())
