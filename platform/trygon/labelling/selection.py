"""Which species a LabelBank holds, out of a taxonomy that has too many."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.errors import UserError
from trygon.storage import stable_id
from trygon.taxonomy.clade_names import namesake_notes
from trygon.taxonomy.taxon import RANKS
from trygon.taxonomy.tree import TaxonTree


def choose_species(taxa: pa.Table, clades: Sequence[str], limit: int, include: pa.Table | None = None) -> TaxonTree:
    """At most `limit` species of the clades, those with a common name first, and `include` in any case.

    Among species that are equal in this, those of the clade named first come first, and within a clade a fixed
    pseudo-random order spreads the choice over its families.
    """
    positions = [_within(taxa, clade) for clade in clades] if clades else [np.arange(taxa.num_rows)]
    has_common = ~_equal(taxa["common"].fill_null(""), "")
    groups = [group[has_common[group] == wanted] for wanted in (True, False) for group in positions]
    chosen: dict[int, None] = {}
    for group in groups:
        room = limit - len(chosen)
        if room <= 0:
            break
        fresh = np.asarray([row for row in group.tolist() if row not in chosen], np.int64)
        chosen.update(dict.fromkeys(_spread(taxa, fresh, room)))
    tables = [taxa.take(pa.array(list(chosen), pa.int64()))]
    if include is not None:
        tables.append(include)
    return TaxonTree.from_table(pa.concat_tables(tables))


def _within(taxa: pa.Table, clade: str) -> np.ndarray:
    """Rows of the clades of a name, at the highest rank above species that has one, or at the end of a path."""
    inside_N, ranks = np.ones(taxa.num_rows, bool), iter(RANKS[:-1])
    for name in clade.split("/"):
        at_ranks = (inside_N & _equal(taxa[rank], name.strip()) for rank in ranks)
        inside_N = next((found_N for found_N in at_ranks if found_N.any()), np.zeros(taxa.num_rows, bool))
    if not inside_N.any():
        raise UserError(f"--clade {clade}: no species of the taxonomy is in a clade of that name")
    return np.flatnonzero(inside_N)


def clade_notes(taxa: pa.Table, clades: Sequence[str]) -> list[str]:
    """What a user has to know of clades that have namesakes."""
    if not clades:
        return []
    named = [_equal(taxa[rank], clade) for clade in clades for rank in RANKS[:-1]]
    some = taxa.filter(pa.array(np.logical_or.reduce(named)))
    return list(namesake_notes(TaxonTree.from_table(some), clades)) if some.num_rows else []


def _equal(column: pa.ChunkedArray, value: str) -> np.ndarray:
    """Where a column of texts has a value: (N,) bool."""
    return pc.equal(column, value).fill_null(False).to_numpy()


def _spread(taxa: pa.Table, rows: np.ndarray, room: int) -> list[int]:
    if len(rows) <= room:
        return rows.tolist()
    names = taxa.select(["genus", "species"]).take(pa.array(rows)).to_pylist()
    keys = [stable_id(row["genus"] or "", row["species"] or "") for row in names]
    return rows[np.argsort(keys, kind="stable")][:room].tolist()
