"""The Encyclopedia of Life's pages: a page's id to its lineage and English name. Knows nothing of pictures.

The lineage comes from EOL's Dynamic Hierarchy (`taxon.tab`), by way of `parentNameUsageID`. A parent without a page of
its own is walked through like any other.
"""

# pyarrow.compute makes its functions when it is imported; type checkers do not see them.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.data.sources.tables import look_up, read_columns, whole_number
from trygon.taxonomy.taxon import RANKS

PAGE_FIXES: Mapping[str, tuple[str, str]] = {"331434": ("latouchii", "42333"), "52338888": ("lateralis", "42333")}
"""Pages that the hierarchy has wrong, as TreeOfLife-10M corrects them: the epithet, and the page of the parent."""

_PREFERRED = ("preferred", "true", "t", "1", "yes", "y")
_ENGLISH = ("eng", "en")
_MAX_DEPTH = 200
_ROW = np.int64


def page_lineages(pages: pa.Array, hierarchy: str) -> dict[str, Any]:
    """The rank columns of distinct pages as the hierarchy file has them, and `known`: which it has. In their order."""
    names = ("taxonID", "parentNameUsageID", "acceptedNameUsageID", "scientificName", "canonicalName", "taxonRank")
    optional = ("acceptedNameUsageID", "canonicalName")
    columns = {name: (name,) for name in (*names, "eolID")}
    taxa = read_columns(hierarchy, columns, optional, delimiter="\t", quoted=False)
    ids = taxa["taxonID"]
    parents = _places(pc.index_in(taxa["parentNameUsageID"], value_set=ids))
    accepted = _places(pc.index_in(taxa["acceptedNameUsageID"], value_set=ids))
    here = np.arange(taxa.num_rows, dtype=_ROW)
    accepted = np.where(accepted < 0, here, accepted)
    # Several rows may have one page: that of the accepted name counts before those of its synonyms.
    order = np.argsort(accepted != here, kind="stable")
    eol_ids = whole_number(taxa["eolID"])
    own = _places(pc.index_in(pages, value_set=eol_ids.take(pa.array(order))))
    own[np.asarray(pc.equal(pages, ""))] = -1  # a row without a page is not the page without an id
    rows = np.where(own < 0, -1, accepted[order[own]]) if len(order) else own
    fixed = [(place, *PAGE_FIXES[page]) for place, page in enumerate(pages.to_pylist()) if page in PAGE_FIXES]
    for place, _, page in fixed:
        rows[place] = pc.index(eol_ids, pa.scalar(page)).as_py()
    ranks = _places(pc.index_in(pc.utf8_lower(taxa["taxonRank"]), value_set=pa.array(RANKS)))
    found = _ancestors(rows, parents, ranks)
    written = pc.if_else(pc.equal(taxa["canonicalName"], ""), taxa["scientificName"], taxa["canonicalName"])
    lineages: dict[str, Any] = {rank: _taken(written, found[place]) for place, rank in enumerate(RANKS)}
    known = rows >= 0
    if fixed:
        epithets = lineages["species"].to_pylist()
        for place, epithet, _ in fixed:
            epithets[place], known[place] = epithet, True
        lineages["species"] = pa.array(epithets, pa.string())
    return lineages | {"known": pa.array(known)}


def _ancestors(rows: np.ndarray, parents: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """For each row the nearest row at each rank on its way up, itself included: (7, N), -1 where there is none."""
    found = np.full((len(RANKS), len(rows)), -1, _ROW)
    walking = np.flatnonzero(rows >= 0)
    current = rows[walking]
    for _ in range(_MAX_DEPTH):  # a circle ends here
        if not walking.size:
            break
        level = ranks[current]
        new = level >= 0
        new[new] = found[level[new], walking[new]] < 0
        found[level[new], walking[new]] = current[new]
        above = parents[current]
        walking, current = walking[above >= 0], above[above >= 0]
    return found


def scraped_names(pages: pa.Array, uri: str) -> dict[str, Any]:
    """The rank columns of pages from a table of page_id and scientific_name.

    A binomial is a species, and what ends as families do is a family. Another single name is left blank: nothing says
    its rank.
    """
    table = read_columns(uri, {name: (name,) for name in ("page_id", "scientific_name")})
    (names,) = look_up(pages, whole_number(table["page_id"]), table["scientific_name"])
    species = pc.match_substring_regex(names, r"^\S+\s+\S")
    family = pc.match_substring_regex(names, r"^[A-Z][a-z-]+(idae|aceae)$")
    return {"species": pc.if_else(species, names, ""), "family": pc.if_else(family, names, "")}


def common_names(pages: pa.Array, uri: str) -> Any:
    """The English name of each page: the one that EOL prefers, else the first; blank where there is none.

    EOL's export says `preferred`, other ones say true; whatever else stands there makes no name a preferred one.
    """
    columns = ("page_id", "vernacular_string", "language_code", "is_preferred_by_eol")
    table = read_columns(uri, {name: (name,) for name in columns})
    english = pc.is_in(pc.utf8_lower(table["language_code"]), value_set=pa.array(_ENGLISH))
    table = table.filter(pc.and_(english, pc.not_equal(table["vernacular_string"], "")))
    preferred = pc.is_in(pc.utf8_lower(table["is_preferred_by_eol"]), value_set=pa.array(_PREFERRED))
    order = np.argsort(~np.asarray(preferred.to_pylist(), bool), kind="stable")
    table = table.take(pa.array(order))
    return look_up(pages, whole_number(table["page_id"]), table["vernacular_string"])[0]


def _places(found: Any) -> np.ndarray:
    return np.asarray(found.fill_null(-1)).astype(_ROW)


def _taken(values: Any, places: np.ndarray) -> Any:
    return values.take(pa.array(places, mask=places < 0)).fill_null("")
