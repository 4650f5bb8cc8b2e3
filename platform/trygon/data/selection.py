"""Rendered pictures and what their sources say of them, to samples: what is kept, in which split, and why not others.

Tables in, tables out; no pixel is read. Shapes: N pictures.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.data.fingerprints import BITS, originals
from trygon.data.splits import SplitRule, assign_splits, depths, held_out, may_show, names_at
from trygon.schemas import REJECT
from trygon.taxonomy.taxon import RANKS, Rank

LABELS = (*RANKS, "common", "license", "rights_holder", "resolution")
"""What a sample takes over from its record."""


@dataclass(frozen=True)
class SelectionRule:
    """What is left out. `copy_bits`: perceptual fingerprints that differ in at most this many of 256 bits are copies;
    below zero, only exact ones are."""

    copy_bits: int
    splits: SplitRule


@dataclass(frozen=True)
class Selection:
    """What became of all pictures: `split` has the kept ones' splits, `rejects` (REJECT) the others' reasons."""

    pictures: pa.Table
    split: np.ndarray
    rejects: pa.Table


def join_records(renders: pa.Table, records: pa.Table, source: str, is_benchmark: bool) -> tuple[pa.Table, pa.Table]:
    """The pictures of a source (its renders' view 0) with their records' columns beside them, and REJECT rows for its
    records without a picture.

    A picture without a record gets the reason `unlabelled`, one whose record has no name `no_name`.
    """
    joined = renders.filter(pc.and_(pc.equal(renders["source"], source), pc.equal(renders["view"], 0)))
    found = pc.is_in(records["source_id"], value_set=joined["source_id"].combine_chunks())
    missing = records.filter(pc.invert(found))["source_id"]
    positions = pc.index_in(joined["source_id"], value_set=records["source_id"].combine_chunks())
    for name in LABELS:
        joined = joined.append_column(name, pc.fill_null(records[name].take(positions), ""))
    blank = pa.array(depths(joined) < 0)
    reason = pc.if_else(pc.equal(joined["reason"], ""), pc.if_else(blank, "no_name", ""), joined["reason"])
    unknown = pc.and_(pc.is_null(positions), pc.equal(joined["reason"], ""))
    reason = pc.if_else(unknown, "unlabelled", reason)
    joined = joined.set_column(joined.column_names.index("reason"), "reason", reason)
    joined = joined.append_column("benchmark", pa.repeat(is_benchmark, joined.num_rows))
    return joined, _rejects(source, missing, "missing")


def select(pictures: pa.Table, benchmark_species: set[tuple[str, str]], rule: SelectionRule) -> Selection:
    """Decide for each picture (rows of `join_records`, of all sources in the order they were given).

    First what cannot be used, then copies, then what the benchmark shows, then what might show a held-out clade. The
    benchmark's pictures, whatever their labels, and those of its species keep their copies out by any name.
    """
    tables = []

    def keep(wanted_N: np.ndarray, reason: str | pa.ChunkedArray) -> None:
        nonlocal pictures
        left = pictures.append_column("why", _column(reason, pictures.num_rows)).filter(pa.array(~wanted_N))
        tables.append(_rejects(left["source"], left["source_id"], left["why"]))
        pictures = pictures.filter(pa.array(wanted_N))

    of_benchmark_N = pictures["benchmark"].to_numpy() & pc.is_valid(pictures["digest"]).to_numpy()
    keep(of_benchmark_N | pc.equal(pictures["reason"], "").to_numpy(), pictures["reason"])
    keep(_is_first(pictures), "repeated_id")
    guards_N = pictures["benchmark"].to_numpy() | shows_species(pictures, benchmark_species)
    pictures, copies = _without_copies(pictures, guards_N, rule.copy_bits)
    keep(~pictures["benchmark"].to_numpy(), "of_benchmark")
    keep(~shows_species(pictures, benchmark_species), "benchmark_species")
    held_N = held_out(pictures, rule.splits)
    doubt_N = may_show(pictures, held_N)
    held_N = held_N[~doubt_N]
    keep(~doubt_N, "may_show_held_out_clade")
    split_N = assign_splits(pictures, held_N, rule.splits)
    return Selection(pictures, split_N, pa.concat_tables([*tables, copies]))


def shows_species(lineages: pa.Table, species: set[tuple[str, str]]) -> np.ndarray:
    """Which lineages are of one of these (genus, epithet), whatever stands above the genus: (N,) bool."""
    names = pa.array([f"{genus} {epithet}" for genus, epithet in species], pa.string())
    return pc.is_in(names_at(lineages, Rank.SPECIES), value_set=names).to_numpy()


def binomials(lineages: pa.Table) -> set[tuple[str, str]]:
    """The (genus, epithet) of all rows that are named to the species."""
    named = lineages.filter(pa.array(depths(lineages) == Rank.SPECIES)).group_by(["genus", "species"]).aggregate([])
    return set(zip(named["genus"].to_pylist(), named["species"].to_pylist(), strict=True))


def _without_copies(pictures: pa.Table, guards_N: np.ndarray, copy_bits: int) -> tuple[pa.Table, pa.Table]:
    """One picture of each group of copies: the one with the deepest name, or of the source given first. Guards are all
    kept, and nothing that is a copy of one."""
    source_order = pc.index_in(pictures["source"], value_set=pc.unique(pictures["source"]))
    keys = (pictures["sample_id"].to_numpy(), source_order.to_numpy(), -depths(pictures), ~guards_N)
    pictures = pictures.take(pa.array(np.lexsort(keys)))
    num_guards = int(guards_N.sum())
    exact_N = _first_of(pictures["digest"])
    exact_N[:num_guards] = np.arange(num_guards)
    pictures, exact = _split_copies(pictures, exact_N, "duplicate")
    if copy_bits < 0:
        return pictures, exact
    near_N = np.arange(pictures.num_rows)
    told = np.flatnonzero(pictures["fingerprint"].is_valid().to_numpy())
    joined = b"".join(pictures["fingerprint"].take(pa.array(told)).to_pylist())
    hashes = np.frombuffer(joined, np.uint64).reshape(-1, BITS // 64)
    near_N[told] = told[originals(hashes, copy_bits, int((told < num_guards).sum()))]
    pictures, near = _split_copies(pictures, near_N, "near_duplicate")
    return pictures, pa.concat_tables([exact, near])


def _is_first(pictures: pa.Table) -> np.ndarray:
    """Whether no picture before has the same id in its source, as where an archive holds a name twice: (N,) bool."""
    ids = pc.binary_join_element_wise(pictures["source"], pictures["source_id"], "\0")
    return _first_of(ids) == np.arange(pictures.num_rows)


def _first_of(column: pa.ChunkedArray) -> np.ndarray:
    """For each value the position where it first stands."""
    codes = column.combine_chunks().dictionary_encode().indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    return first[codes]


def _split_copies(pictures: pa.Table, original_N: np.ndarray, reason: str) -> tuple[pa.Table, pa.Table]:
    copy_N = original_N != np.arange(len(original_N))
    copies = pictures.filter(pa.array(copy_N))
    of = pictures.take(pa.array(original_N[copy_N]))
    names = pc.binary_join_element_wise(of["source"], of["source_id"], ":")
    return pictures.filter(pa.array(~copy_N)), _rejects(copies["source"], copies["source_id"], reason, names)


def _rejects(
    source: str | pa.ChunkedArray,
    source_id: pa.ChunkedArray,
    reason: str | pa.ChunkedArray,
    copy_of: pa.ChunkedArray | None = None,
) -> pa.Table:
    number = len(source_id)
    copied = pa.nulls(number, pa.string()) if copy_of is None else copy_of
    return pa.table([_column(source, number), source_id, _column(reason, number), copied], schema=REJECT)


def _column(value: str | pa.ChunkedArray, number: int) -> pa.Array | pa.ChunkedArray:
    return pa.repeat(value, number) if isinstance(value, str) else value
