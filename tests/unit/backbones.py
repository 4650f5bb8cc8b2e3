"""Backbones of a few names, for the tests of resolution."""

from collections.abc import Sequence

import pyarrow as pa

from trygon.taxonomy.resolution import Backbone
from trygon.taxonomy.tables import SYNONYM_SCHEMA, TAXA_SCHEMA, Checklist
from trygon.taxonomy.taxon import RANKS


def row_of(lineage: Sequence[str]) -> tuple[str, ...]:
    """A lineage with all its ranks."""
    return (*lineage, *[""] * (7 - len(lineage)))


def taxa_of(lineages: Sequence[Sequence[str]], common: Sequence[str] | None = None) -> pa.Table:
    """A table of taxa."""
    rows = [row_of(lineage) for lineage in lineages]
    columns = [pa.array([row[rank] for row in rows], pa.string()) for rank in range(7)]
    return pa.table([*columns, pa.array(common or [""] * len(rows), pa.string())], schema=TAXA_SCHEMA)


def backbone_of(
    lineages: Sequence[Sequence[str]],
    common: Sequence[str] | None = None,
    synonyms: Sequence[tuple[str, Sequence[str]]] = (),
) -> Backbone:
    """A backbone of these taxa, and of names with the lineages that they mean."""
    accepted = taxa_of([lineage for _, lineage in synonyms]).select(list(RANKS))
    names = pa.table([pa.array([name for name, _ in synonyms], pa.string()), *accepted.columns], schema=SYNONYM_SCHEMA)
    return Backbone.from_checklist(Checklist(taxa_of(lineages, common), names))


def resolve(backbone: Backbone, *lineage: str) -> tuple[tuple[str, ...], str]:
    """What a lineage becomes, and how it was found."""
    (row,) = backbone.resolve(taxa_of([lineage])).to_pylist()
    return tuple(row[rank] for rank in RANKS), row["resolution"]
