"""TaxonTree: taxa in depth-first order, as columns: a clade is one slice. Knows nothing of images or models."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.errors import UserError
from trygon.tables import write_table
from trygon.taxonomy.coded import CodedNames
from trygon.taxonomy.tables import TAXA_SCHEMA, read_coded_taxa, taxa_columns
from trygon.taxonomy.taxon import RANKS, Rank, Taxon


@dataclass(frozen=True)
class TaxonTree:
    """Distinct lineages, sorted so that every clade is contiguous.

    `table` has the seven rank columns and `common`, a row a taxon. `clade_ids[rank]` numbers the ancestors at a rank
    from left to right: (7, N) int32. A clade is keyed by its whole lineage, so homonyms stay apart.
    """

    table: pa.Table
    clade_ids: np.ndarray

    @classmethod
    def from_table(cls, table: pa.Table) -> "TaxonTree":
        """From any table with the rank columns; `common` may be missing.

        Doubled lineages count once: with the first common name in the alphabet, whatever the order of the rows.
        """
        if not table.num_rows:
            raise UserError("the taxa table is empty")
        columns = [CodedNames.of(column) for column in taxa_columns(table, "table").columns]
        ordinals = [column.ordinals() for column in columns[: len(RANKS)]]
        # The last keys sort a lineage with a common name before its double without one, then by these names.
        order = np.lexsort(_packed([*ordinals, ~columns[-1].present, columns[-1].ordinals()])[::-1])
        first = np.ones((len(RANKS), len(order)), bool)
        for is_first, ordinal in zip(first, ordinals, strict=True):
            ordered = ordinal[order]
            np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
        # A clade ends with those above it. The deepest ones are the distinct lineages.
        np.logical_or.accumulate(first, axis=0, out=first)
        picked = order[first[-1]]
        clade_ids = np.cumsum(first[:, first[-1]], axis=1, dtype=np.int32) - np.int32(1)
        del ordinals, order, first
        return cls(pa.table([column.take(picked).texts() for column in columns], schema=TAXA_SCHEMA), clade_ids)

    @classmethod
    def from_taxa(cls, taxa: Iterable[Taxon]) -> "TaxonTree":
        """From taxa in any order."""
        rows = [(*taxon.lineage, taxon.common) for taxon in taxa]
        columns = zip(*rows, strict=True) if rows else [[] for _ in TAXA_SCHEMA]
        return cls.from_table(pa.table([pa.array(column, pa.string()) for column in columns], schema=TAXA_SCHEMA))

    @classmethod
    def load(cls, place: str | Path) -> "TaxonTree":
        """From a file with taxa: see `trygon.taxonomy.tables.read_taxa`."""
        return cls.from_table(read_coded_taxa(place))

    def save(self, place: str | Path) -> None:
        """Write the taxa as Parquet, in tree order."""
        write_table(place, self.table)

    def __len__(self) -> int:
        return self.table.num_rows

    def taxon(self, index: int) -> Taxon:
        """The taxon at a position."""
        return Taxon.from_row({name: self.table[name][index].as_py() for name in TAXA_SCHEMA.names})

    @cached_property
    def taxa(self) -> list[Taxon]:
        """All taxa, in tree order."""
        *lineages, common = (_shared_texts(column) for column in self.table.columns)
        return [Taxon(lineage, name) for lineage, name in zip(zip(*lineages, strict=True), common, strict=True)]

    @cached_property
    def clade_starts(self) -> list[np.ndarray]:
        """For each rank, the first position of each of its clades: (C,) int64."""
        return [np.flatnonzero(np.diff(ids, prepend=-1)) for ids in self.clade_ids]

    @cached_property
    def clade_named(self) -> list[np.ndarray]:
        """For each rank, which of its clades have a name at that rank: (C,) bool."""
        columns = (self.table[rank].take(starts) for rank, starts in zip(RANKS, self.clade_starts, strict=True))
        return [pc.not_equal(column, "").to_numpy() for column in columns]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all lineages and common names, in order: of each column the texts' lengths, then the texts."""
        digest = hashlib.sha256(len(self).to_bytes(8, "little"))
        for column in self.table.columns:
            texts = column.combine_chunks()
            digest.update(pc.binary_length(texts).to_numpy().astype("<i4"))
            _, offsets, data = texts.buffers()
            ends = np.frombuffer(offsets, np.int32)[texts.offset :]
            digest.update(memoryview(data or b"")[ends[0] : ends[len(texts)]])
        return digest.hexdigest()

    def clade_slice(self, rank: Rank, clade: int) -> slice:
        """The positions of a clade's taxa."""
        starts = self.clade_starts[rank]
        return slice(int(starts[clade]), int(starts[clade + 1]) if clade + 1 < len(starts) else len(self))

    def roll_up(self, scores_BN: np.ndarray, rank: Rank) -> np.ndarray:
        """Sum scores of taxa into their clades at `rank`: (B, N) to (B, C)."""
        return np.add.reduceat(scores_BN, self.clade_starts[rank], axis=-1)

    def roll_up_all(self, scores_BN: np.ndarray) -> tuple[np.ndarray, ...]:
        """Sum scores of taxa into the clades of every rank, kingdom first: (B, N) to seven times (B, C).

        Each rank is summed from the one below, so that all seven cost little more than the deepest. Lineages are
        distinct, so every taxon is a clade of its own at species: the last is `scores_BN` itself.
        """
        sums = [scores_BN]
        for starts in self.nested_starts[::-1]:
            sums.append(np.add.reduceat(sums[-1], starts, axis=-1))
        return tuple(sums[::-1])

    @cached_property
    def nested_starts(self) -> list[np.ndarray]:
        """For each rank above species, which clade of the rank below is the first in each of its clades: (C,)."""
        return [self.clade_ids[rank + 1][self.clade_starts[rank]] for rank in list(Rank)[:-1]]

    def shared_ranks(self, a_M: np.ndarray, b_M: np.ndarray) -> np.ndarray:
        """At how many ranks, from the kingdom down, pairs of taxa lie in the same clade: (M,) int8, 0 to 7.

        `a_M` and `b_M` are positions in the tree. A blank rank counts as shared where everything above it is and both
        are blank there: this is the length of the common part of the lineages, blanks included.
        """
        shared_M = np.zeros(np.broadcast_shapes(np.shape(a_M), np.shape(b_M)), np.int8)
        for ids in self.clade_ids:
            shared_M += ids[a_M] == ids[b_M]
        return shared_M

    def distance(self, a_M: np.ndarray, b_M: np.ndarray) -> np.ndarray:
        """The number of edges between the taxa of each pair: (M,) int32, 0 to 14.

        The nodes are the named clades and one root above all kingdoms. A blank rank is no node, so a gap in a lineage
        adds no edge: a genus without a family is one edge below its order.
        """
        named = self._num_named
        shared_M = self.shared_ranks(a_M, b_M)
        depth_a, depth_b = named[-1][a_M].astype(np.int32), named[-1][b_M].astype(np.int32)
        return depth_a + depth_b - 2 * named[shared_M, a_M].astype(np.int32)

    @cached_property
    def _num_named(self) -> np.ndarray:
        """How many of a taxon's first r ranks have a name, for r of 0 to 7: (8, N) int8."""
        named = np.zeros((len(RANKS) + 1, len(self)), np.int8)
        np.cumsum(self._named, axis=0, dtype=np.int8, out=named[1:])
        return named

    @cached_property
    def deepest(self) -> np.ndarray:
        """The deepest named rank of each taxon, -1 where none is: (N,) int8."""
        ranks = np.arange(len(RANKS), dtype=np.int8)[:, None]
        return np.where(self._named, ranks, np.int8(-1)).max(axis=0)

    @property
    def _named(self) -> np.ndarray:
        return np.stack([named[ids] for named, ids in zip(self.clade_named, self.clade_ids, strict=True)])

    def find(self, name: str, rank: Rank | None = None) -> list[slice]:
        """The clades that carry a name at `rank`, or else at the highest one that has it, or a binomial; several where
        there are homonyms."""
        genus, _, epithet = name.rpartition(" ")
        for at in Rank if rank is None else (rank,):
            if at is not Rank.SPECIES:
                found = _equal(self.table[RANKS[at]].take(self.clade_starts[at]), name)
            elif genus and epithet:
                found = _equal(self.table["genus"], genus) & _equal(self.table["species"], epithet)
            else:
                continue
            if name and found.any():
                return [self.clade_slice(at, int(clade)) for clade in np.flatnonzero(found)]
        return []

    def locate(self, taxa: Sequence[Taxon]) -> np.ndarray:
        """Where each of the taxa stands, known by its whole lineage; -1 where it does not: (M,) int64."""
        wanted = pa.array(["\n".join(taxon.lineage) for taxon in taxa], pa.string())
        lineages = pc.binary_join_element_wise(*(self.table[rank] for rank in RANKS), "\n")
        return pc.index_in(wanted, value_set=lineages).fill_null(-1).to_numpy().astype(np.int64)

    def select(self, positions: np.ndarray | Sequence[int]) -> "TaxonTree":
        """The tree of some of the taxa."""
        return TaxonTree.from_table(self.table.take(pa.array(positions)))

    def part(self, slices: Sequence[slice]) -> "TaxonTree":
        """The tree of some stretches of this one, in order and apart from one another. It has no copy of the names."""
        table = pa.concat_tables(self.table.slice(it.start, it.stop - it.start) for it in slices)
        clade_ids = np.concatenate([self.clade_ids[:, it] for it in slices], axis=1)
        for ids in clade_ids:  # by numbers that follow one another
            np.cumsum(np.diff(ids, prepend=ids[:1]) != 0, dtype=np.int32, out=ids)
        return TaxonTree(table, clade_ids)


def _packed(keys: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Keys of small non-negative integers, the first the most significant, in as few int64 keys as they fit."""
    packed: list[np.ndarray] = []
    room = 0
    for key in keys:
        bits = int(key.max()).bit_length()
        if not packed or bits > room:
            packed.append(key.astype(np.int64))
            room = 63
        else:
            packed[-1] = (packed[-1] << bits) | key
        room -= bits
    return packed


def _equal(column: pa.ChunkedArray, name: str) -> np.ndarray:
    return pc.equal(column, name).to_numpy()


def _shared_texts(column: pa.ChunkedArray) -> list[str]:
    """The texts of a column, one Python object a distinct text."""
    names = CodedNames.of(column)
    texts = np.asarray([*names.names.to_pylist(), ""], object)
    return texts[names.codes].tolist()  # -1, no name, is the last
