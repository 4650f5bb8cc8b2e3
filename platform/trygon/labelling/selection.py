"""Which species a LabelBank holds, out of a taxonomy that has too many."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.errors import UserError
from trygon.storage import stable_id
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
    """Rows whose lineage holds the name above species."""
    found = [_equal(taxa[rank], clade) for rank in RANKS[:-1]]
    rows = np.flatnonzero(np.logical_or.reduce(found))
    if not rows.size:
        raise UserError(f"--clade {clade}: no species of the taxonomy is in a clade of that name")
    return rows


def _equal(column: pa.ChunkedArray, value: str) -> np.ndarray:
    """Where a column of texts has a value: (N,) bool."""
    return pc.equal(column, value).fill_null(False).to_numpy()


def _spread(taxa: pa.Table, rows: np.ndarray, room: int) -> list[int]:
    if len(rows) <= room:
        return rows.tolist()
    names = taxa.select(["genus", "species"]).take(pa.array(rows)).to_pylist()
    keys = [stable_id(row["genus"] or "", row["species"] or "") for row in names]
    return rows[np.argsort(keys, kind="stable")][:room].tolist()
