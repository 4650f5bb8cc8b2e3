"""The Encyclopedia of Life as TreeOfLife-10M took it: media manifests, the hierarchy of pages, and image sets.

The manifests say which pictures there are and whose they are; a picture that they do not name has no record, for
nobody knows its licence. Names of pages are another module's.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.data.sources.eol_pages import common_names, page_lineages, scraped_names
from trygon.data.sources.listing import base_name, files_below, first_of, is_archive, parent, units_of
from trygon.data.sources.members import read_members, read_pictures
from trygon.data.sources.source import Picture, Unit
from trygon.data.sources.tables import (
    Table,
    concat,
    num_bad_lines,
    read_columns,
    read_header,
    to_records,
    whole_number,
)
from trygon.errors import UserError
from trygon.storage import join
from trygon.taxonomy.taxon import RANKS

CATALOG = "catalog.csv"
_MANIFEST = re.compile(r"(?:.*/)?media_manifest_?(\d*)\.csv")
_HIERARCHY = re.compile(r"(?:.*/)?(taxon|dh[\w.-]*)\.tab", re.IGNORECASE)
_FILE = re.compile(r"(\d+)_(\d+)_eol")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HINT = "put image sets (image_set_01.tar.gz …) or their unpacked files there"
_COLUMNS = {
    "content": ("EOL content ID",),
    "page": ("EOL page ID",),
    "license": ("License Name",),
    "rights_holder": ("Copyright Owner",),
}


@dataclass(frozen=True)
class Eol:
    """`uri` holds manifests, `taxon.tab`, `vernacularnames.csv` and image sets; ids are `<content>_<page>`."""

    uri: str
    name: str = "eol"

    def records(self) -> pa.Table:
        """One row a picture of the manifests, named after its page."""
        files = files_below(self.uri)
        media = concat([_read_manifest(self.uri, *each) for each in self._manifests(files)])
        pages, content = whole_number(media["page"]), whole_number(media["content"])
        distinct = pc.unique(pages)
        place = pc.index_in(pages, value_set=distinct)
        columns = {name: names.take(place) for name, names in self._names(distinct, files).items()}
        columns["source_id"] = pc.binary_join_element_wise(content, pages, "_")
        columns |= {"license": media["license"], "rights_holder": media["rights_holder"]}
        return to_records(columns, num_bad_lines(media))

    def units(self) -> list[Unit]:
        """Files of image sets in groups, and each packed set."""
        return units_of(self.uri, _HINT)

    def read(self, unit: Unit) -> Iterator[Picture]:
        """Pictures by the content and page that their names tell, or the catalog beside or within a set of uuids."""
        identify = _Identify(self.uri, unit)
        return read_pictures(unit, identify)

    def _manifests(self, files: list[str]) -> list[tuple[str, list[str]]]:
        """The manifests in the order of their numbers, each with the header of the first: the others have none."""
        found = {path: int(match[1] or 0) for path in files if (match := _MANIFEST.fullmatch(path))}
        if not found:
            raise UserError(f"{self.uri} has no media_manifest_1.csv: put EOL's media manifests there")
        paths = sorted(found, key=lambda path: (found[path], path))
        header = read_header(join(self.uri, paths[0]))
        return [(path, header) for path in paths]

    def _names(self, pages: pa.Array, files: list[str]) -> dict[str, Any]:
        """The rank columns and `common` of distinct pages."""
        hierarchy = next((path for path in files if _HIERARCHY.fullmatch(path)), None)
        if hierarchy is None:
            raise UserError(f"{self.uri} has no taxon.tab: put EOL's Dynamic Hierarchy there")
        names = page_lineages(pages, join(self.uri, hierarchy))
        known = names.pop("known")
        scraped = next((path for path in files if base_name(path) == "scraped_page_ids.csv"), None)
        if scraped:
            for rank, values in scraped_names(pages, join(self.uri, scraped)).items():
                names[rank] = pc.if_else(known, names[rank], values)
        vernacular = next((path for path in files if base_name(path) == "vernacularnames.csv"), None)
        if vernacular:
            names["common"] = common_names(pages, join(self.uri, vernacular))
        assert set(RANKS) <= names.keys()
        return names


def _read_manifest(root: str, path: str, header: list[str]) -> pa.Table:
    return read_columns(join(root, path), _COLUMNS, ("license", "rights_holder"), header=header)


def eol_id(path: str) -> str:
    """`<content>_<page>` of a file as EOL's pictures are named; blank for another name."""
    match = _FILE.match(base_name(path))
    return f"{match[1]}_{match[2]}" if match else ""


class _Identify:
    """The source id of a file of an image set. The catalog is read when a name asks for it, and not before."""

    def __init__(self, root: str, unit: Unit) -> None:
        self._root, self._unit = root, unit
        self._find: Callable[[str], str] | None = None

    def __call__(self, path: str) -> str:
        stem = base_name(path).split(".")[0].lower()
        if found := eol_id(path):
            return found
        if not _UUID.fullmatch(stem):
            return path
        self._find = self._find or self._catalog()
        return self._find(stem) or stem

    def _catalog(self) -> "_Catalog":
        folder = parent(self._unit.uri) if is_archive(self._unit.uri) else self._unit.uri
        uri = first_of(folder, CATALOG) or first_of(self._root, CATALOG, f"metadata/{CATALOG}")
        if uri:
            return _load_catalog(uri)
        if is_archive(self._unit.uri):
            # Another reading from the front: in the stream, the catalog may come after the pictures.
            for member in read_members(self._unit, lambda path: base_name(path) == CATALOG):
                if member.data:
                    return _Catalog(member.data)
        raise UserError(
            f"{self._unit.uri} names its pictures by treeoflife_id: put the {CATALOG} of the image set beside it"
        )


class _Catalog:
    """treeoflife_id to `<content>_<page>`, in sorted columns: a dict of six million would take gigabytes."""

    def __init__(self, source: Table) -> None:
        table = read_columns(source, {name: (name,) for name in ("treeoflife_id", "eol_content_id", "eol_page_id")})
        table = table.filter(pc.not_equal(table["eol_content_id"], ""))
        ids = np.asarray(table["treeoflife_id"].to_pylist(), "S36")
        order = np.argsort(ids, kind="stable")
        self._ids = ids[order]
        numbers = [whole_number(table[name]) for name in ("eol_content_id", "eol_page_id")]
        self._eol_ids = pc.binary_join_element_wise(*numbers, "_").take(pa.array(order))

    def __call__(self, treeoflife_id: str) -> str:
        wanted = treeoflife_id.encode()
        place = int(np.searchsorted(self._ids, wanted))
        return self._eol_ids[place].as_py() if place < len(self._ids) and self._ids[place] == wanted else ""


@lru_cache(maxsize=1)
def _load_catalog(uri: str) -> _Catalog:
    return _Catalog(uri)
