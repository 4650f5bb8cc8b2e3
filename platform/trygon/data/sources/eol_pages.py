"""The Encyclopedia of Life's pages: a page's id to its lineage and English name. Knows nothing of pictures.

The lineage comes from EOL's Dynamic Hierarchy (`taxon.tab`) by the rules of any catalogue in Darwin Core's terms. A
parent without a page of its own is walked through like any other.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.data.sources.tables import look_up, read_columns, whole_number
from trygon.taxonomy.darwin_core import (
    TERMS,
    Rows,
    accepted_rows,
    english_names,
    nearest_ancestors,
    parent_rows,
    ranks_of,
)
from trygon.taxonomy.tables import EOL_VERNACULAR_TERMS
from trygon.taxonomy.taxon import RANKS

PAGE_FIXES: Mapping[str, tuple[str, str]] = {"331434": ("latouchii", "42333"), "52338888": ("lateralis", "42333")}
"""Pages that the hierarchy has wrong, as TreeOfLife-10M corrects them: the epithet, and the page of the parent."""

_HIERARCHY_TERMS = tuple(term for term in TERMS if term not in {"id", *RANKS, "specificEpithet"})


def page_lineages(pages: pa.Array, hierarchy: str) -> dict[str, Any]:
    """The rank columns of distinct pages as the hierarchy file has them, and `known`: which it has. In their order."""
    columns = {term: (term,) for term in _HIERARCHY_TERMS}
    optional = ("acceptedNameUsageID", "canonicalName", "taxonomicStatus")
    taxa = read_columns(hierarchy, columns, optional, delimiter="\t", quoted=False)
    taxon_rows = Rows(taxa)
    own_rank, accepted = ranks_of(taxon_rows["taxonRank"]), accepted_rows(taxon_rows)
    here = np.arange(taxa.num_rows, dtype=np.int32)
    # Several rows may have one page: that of the accepted name counts before those of its synonyms.
    order = np.argsort(accepted != here, kind="stable")
    eol_ids = whole_number(taxa["eolID"])
    own = _places(pc.index_in(pages, value_set=eol_ids.take(pa.array(order))))
    own[np.asarray(pc.equal(pages, ""))] = -1  # a row without a page is not the page without an id
    rows = _at(order, own)
    fixed = [(place, *PAGE_FIXES[page]) for place, page in enumerate(pages.to_pylist()) if page in PAGE_FIXES]
    for place, _, page in fixed:
        rows[place] = pc.index(eol_ids, pa.scalar(page)).as_py()
    # A name that leads to no accepted one is still the page's own.
    meant = _at(accepted, rows)
    rows = np.where(meant < 0, rows, meant)
    found = [_at(near, rows) for near in nearest_ancestors(parent_rows(taxon_rows, accepted), own_rank)]
    deepest = _at(own_rank, rows)
    found = [np.where((deepest < 0) | (deepest >= rank), at, -1) for rank, at in enumerate(found)]
    written = pc.if_else(pc.equal(taxa["canonicalName"], ""), taxa["scientificName"], taxa["canonicalName"])
    lineages: dict[str, Any] = {rank: _taken(written, found[place]) for place, rank in enumerate(RANKS)}
    known = rows >= 0
    if fixed:
        epithets = lineages["species"].to_pylist()
        for place, epithet, _ in fixed:
            epithets[place], known[place] = epithet, True
        lineages["species"] = pa.array(epithets, pa.string())
    return lineages | {"known": pa.array(known)}


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
    """The English name of each page: the one that EOL prefers, else the first; blank where there is none."""
    columns = {term: (column,) for column, term in EOL_VERNACULAR_TERMS.items()}
    table = read_columns(uri, columns)
    table = table.set_column(table.column_names.index("id"), "id", whole_number(table["id"]))
    return english_names(pa.chunked_array([pages]), table).texts()


def _places(found: Any) -> np.ndarray:
    return np.asarray(found.fill_null(-1)).astype(np.int64)


def _at(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The values at some places, -1 where the place is."""
    return np.append(values, -1)[places]


def _taken(values: Any, places: np.ndarray) -> Any:
    return values.take(pa.array(places, mask=places < 0)).fill_null("")
