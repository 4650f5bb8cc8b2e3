"""TaxonTree: taxa in depth-first order, as columns: a clade is one slice. Knows nothing of images or models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from trygon.errors import UserError
from trygon.storage import digest_texts
from trygon.taxonomy.taxon import RANKS, Rank, Taxon

TAXA_SCHEMA = pa.schema([(rank, pa.string()) for rank in RANKS] + [("common", pa.string())])


def read_taxa(path: Path) -> pa.Table:
    """A Parquet or CSV table with the seven rank columns and, where there is one, `common`: TAXA_SCHEMA."""
    if not path.is_file():
        raise UserError(f"the taxa file {path} does not exist")
    try:
        table = csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise UserError(f"the taxa file {path} is neither Parquet nor a .csv: {error}") from error
    return _taxa_columns(table, f"file {path}")


def _taxa_columns(table: pa.Table, name: str) -> pa.Table:
    missing = [rank for rank in RANKS if rank not in table.column_names]
    if missing:
        raise UserError(f"the taxa {name} has no column {missing[0]!r}: it needs {', '.join(RANKS)}")
    if "common" not in table.column_names:
        table = table.append_column("common", pa.nulls(table.num_rows, pa.string()))
    return table.select(TAXA_SCHEMA.names).cast(TAXA_SCHEMA)


@dataclass(frozen=True)
class TaxonTree:
    """Distinct lineages, sorted so that every clade is contiguous.

    `table` has the seven rank columns and `common`, a row a taxon. `clade_ids[rank]` numbers the ancestors at a rank
    from left to right: (N,) int32. A clade is keyed by its whole lineage, so homonyms stay apart.
    """

    table: pa.Table
    clade_ids: np.ndarray

    @classmethod
    def from_table(cls, table: pa.Table) -> "TaxonTree":
        """From any table with the rank columns; `common` may be missing. Doubled lineages count once."""
        columns = [column.fill_null("").combine_chunks() for column in _taxa_columns(table, "table").columns]
        # Codes that sort as their names do, so that one integer sort puts all ranks in order.
        codes = np.stack([_sorted_codes(column) for column in columns[: len(RANKS)]])
        has_common = np.asarray([not text for text in columns[-1].to_pylist()])
        order = np.lexsort((has_common, *codes[::-1]))
        codes = codes[:, order]
        if not order.size:
            raise UserError("the taxa table is empty")
        changes = np.logical_or.accumulate(codes[:, 1:] != codes[:, :-1], axis=0)
        first = np.concatenate([[True], changes[-1]])
        clade_ids = np.concatenate([np.zeros((len(RANKS), 1), np.int32), np.cumsum(changes, 1, dtype=np.int32)], 1)
        picked = pa.array(order[first])
        return cls(
            pa.table([column.take(picked) for column in columns], schema=TAXA_SCHEMA),
            np.ascontiguousarray(clade_ids[:, first]),
        )

    @classmethod
    def from_taxa(cls, taxa: Iterable[Taxon]) -> "TaxonTree":
        """From taxa in any order."""
        rows = [(*taxon.lineage, taxon.common) for taxon in taxa]
        columns = zip(*rows, strict=True) if rows else [[] for _ in TAXA_SCHEMA]
        return cls.from_table(pa.table([pa.array(column, pa.string()) for column in columns], schema=TAXA_SCHEMA))

    @classmethod
    def load(cls, path: Path) -> "TaxonTree":
        """From a Parquet or CSV file with the rank columns."""
        return cls.from_table(read_taxa(path))

    def save(self, path: Path) -> None:
        """Write the taxa as Parquet, in tree order."""
        pq.write_table(self.table, path)

    def __len__(self) -> int:
        return self.table.num_rows

    def taxon(self, index: int) -> Taxon:
        """The taxon at a position."""
        return Taxon.from_row({name: self.table[name][index].as_py() for name in TAXA_SCHEMA.names})

    @cached_property
    def taxa(self) -> list[Taxon]:
        """All taxa, in tree order."""
        return [Taxon.from_row(row) for row in self.table.to_pylist()]

    @cached_property
    def clade_starts(self) -> list[np.ndarray]:
        """For each rank, the first position of each of its clades: (C,) int64."""
        return [np.flatnonzero(np.diff(ids, prepend=-1)) for ids in self.clade_ids]

    @cached_property
    def clade_named(self) -> list[np.ndarray]:
        """For each rank, which of its clades have a name at that rank: (C,) bool."""
        return [
            np.asarray([bool(name) for name in self.table[rank].take(starts).to_pylist()])
            for rank, starts in zip(RANKS, self.clade_starts, strict=True)
        ]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all lineages and common names, in order."""
        return digest_texts("\t".join(row.values()) for row in self.table.to_pylist())

    def clade_slice(self, rank: Rank, clade: int) -> slice:
        """The positions of a clade's taxa."""
        starts = self.clade_starts[rank]
        return slice(int(starts[clade]), int(starts[clade + 1]) if clade + 1 < len(starts) else len(self))

    def roll_up(self, scores_BN: np.ndarray, rank: Rank) -> np.ndarray:
        """Sum scores of taxa into their clades at `rank`: (B, N) to (B, C)."""
        return np.add.reduceat(scores_BN, self.clade_starts[rank], axis=-1)

    def find(self, name: str) -> list[slice]:
        """The clades that carry a name at any rank, or a binomial; several where there are homonyms."""
        if not name:
            return []
        for rank in Rank:
            wanted = name.split(" ")[-1] if rank is Rank.SPECIES else name
            names = np.asarray(self.table[RANKS[rank]].take(self.clade_starts[rank]).to_pylist(), dtype=object)
            hits = [self.clade_slice(rank, int(clade)) for clade in np.flatnonzero(names == wanted)]
            if rank is Rank.SPECIES:
                hits = [hit for hit in hits if self.taxon(hit.start).scientific == name]
            if hits:
                return hits
        return []

    def select(self, positions: np.ndarray | Sequence[int]) -> "TaxonTree":
        """The tree of some of the taxa."""
        return TaxonTree.from_table(self.table.take(pa.array(positions)))


def _sorted_codes(column: pa.StringArray) -> np.ndarray:
    encoded = column.dictionary_encode()
    rank_of = np.empty(len(encoded.dictionary), np.int32)
    names = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
    rank_of[np.argsort(names)] = np.arange(len(names), dtype=np.int32)
    return rank_of[encoded.indices.to_numpy()]
