"""Which files of a listing are to be done, cut into parts: those that no part holds, and those that have changed.

The plan lies in the run folder, where workers read their parts of it. In memory are some bytes a file.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trygon.archive.inputs.listing import Listing
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.tables import read_table
from trygon.ids import Ids
from trygon.schemas import LISTED
from trygon.storage import exists, join, open_input, remove_tree
from trygon.tables import write_table

_FOLDER, _TOUCHED = "plan", "touched.parquet"
_PARTS_PER_FILE = 64
_READERS = 16
_MARK = pa.schema([LISTED.field("media_id"), LISTED.field("mark")])

Digest = Callable[[str, str | None], str | None]
"""Path and member of a file to the SHA-256 of what it holds now; None where it cannot be read."""


@dataclass(frozen=True)
class Plan:
    """Parts to be done: the first one's number, and how many files each of them has."""

    folder: str
    first: int = 0
    sizes: list[int] = field(default_factory=list)
    num_bytes: int = 0
    """Of all files."""

    @property
    def num_files(self) -> int:
        """Of all parts."""
        return sum(self.sizes)

    def part(self, index: int) -> pa.Table:
        """LISTED rows of a part; the first one has index 0."""
        file, group = divmod(index, _PARTS_PER_FILE)
        with open_input(self._place(file)) as source:
            return pq.ParquetFile(source).read_row_group(group).cast(LISTED)

    def _place(self, file: int) -> str:
        return join(self.folder, _FOLDER, f"{file:05d}.parquet")


def some_files(plan: Plan, most: int) -> list[dict[str, Any]]:
    """LISTED rows of some files that are to be done, from all over the plan: all of them where they are no more."""
    if plan.num_files <= most:
        return [row for index in range(len(plan.sizes)) for row in plan.part(index).to_pylist()]
    ends = np.cumsum(plan.sizes)
    wanted = np.linspace(0, ends[-1] - 1, most).astype(int)
    parts = np.searchsorted(ends, wanted, side="right")
    tables = {index: plan.part(int(index)) for index in np.unique(parts)}
    starts = ends - np.asarray(plan.sizes)
    pairs = zip(parts, wanted, strict=True)
    return [row for index, at in pairs for row in tables[index].slice(int(at - starts[index]), 1).to_pylist()]


def plan_missing(parts: Parts, listing: Listing, part_size: int, digest: Digest, again: Sequence[str] = ()) -> Plan:
    """The files that no committed part holds as they are now, and those that failed for a reason that is to be tried
    `again`, cut into new parts.

    The same archive and the same committed parts give the same plan. A file has changed when its size has, or its mark
    and its digest: one that was only touched or copied is read, and not done again.
    """
    folder = str(parts.folder)
    is_open = _missing_or_changed(parts, listing, digest)
    if again:
        is_open |= np.isin(listing.numbers()[0], parts.failed(again))
    first = max(parts.numbers(), default=-1) + 1
    parts.hold.check()
    remove_tree(join(folder, _FOLDER))
    plan, num_bytes = Plan(folder, first), 0
    for table in _cut(listing, is_open, part_size * _PARTS_PER_FILE):
        starts = range(0, table.num_rows, part_size)
        write_table(plan._place(len(plan.sizes) // _PARTS_PER_FILE), table, row_group_size=part_size)
        plan.sizes.extend(min(part_size, table.num_rows - start) for start in starts)
        num_bytes += int(table["bytes"].to_numpy().sum())
    return replace(plan, num_bytes=num_bytes)


def _missing_or_changed(parts: Parts, listing: Listing, digest: Digest) -> np.ndarray:
    """Whether each file of the listing is to be done: (N,) bool."""
    media_id, num_bytes, mark = listing.numbers()
    done = parts.finished()
    at = done.find(media_id)
    is_open, known = at < 0, np.flatnonzero(at >= 0)
    changed, marked = np.zeros_like(is_open), np.zeros_like(is_open)
    changed[known] = done.bytes[at[known]] != num_bytes[known]
    marked[known] = (done.mark[at[known]] != mark[known]) & ~changed[known]
    marked[marked] = ~_is_noted(join(parts.folder, _TOUCHED), media_id[marked], mark[marked])
    if marked.any():
        same = _same_content(parts, listing, marked, digest)
        changed |= marked & ~np.isin(media_id, same)
        _note(parts, media_id, mark, marked & ~changed)
    return is_open | changed


def _is_noted(place: str, media_id: np.ndarray, mark: np.ndarray) -> np.ndarray:
    """Whether an earlier run has found the files the same under these marks: (M,) bool."""
    known = read_table(place) if exists(place) else _MARK.empty_table()
    ids, marks = (column.to_numpy() for column in known.columns)
    at = Ids(ids).positions(media_id)
    noted = at >= 0
    noted[noted] = marks[at[noted]] == mark[noted]
    return noted


def _note(parts: Parts, media_id: np.ndarray, mark: np.ndarray, same: np.ndarray) -> None:
    """Keep the marks under which files are the same: the next run need not read them."""
    place = join(parts.folder, _TOUCHED)
    known = read_table(place) if exists(place) else _MARK.empty_table()
    known = known.filter(pa.array(~np.isin(known["media_id"].to_numpy(), media_id[same]), pa.bool_()))
    added = pa.table([media_id[same], mark[same]], schema=_MARK)
    parts.hold.check()
    write_table(place, pa.concat_tables([known, added]))


def _same_content(parts: Parts, listing: Listing, marked: np.ndarray, digest: Digest) -> list[int]:
    """Of the marked files those that hold what they held when they were done. What could not be read then has no
    digest, and is not read for this."""
    digests = parts.digests(listing.numbers()[0][marked])

    def is_same(row: tuple[int, str, str | None]) -> bool:
        before = digests[row[0]]
        return before is not None and digest(*row[1:]) == before

    same = []
    with ThreadPoolExecutor(_READERS) as pool:
        for table in _cut(listing, marked, 1024):
            rows = list(zip(*(table[name].to_pylist() for name in ("media_id", "path", "member")), strict=True))
            same += [row[0] for row, kept in zip(rows, pool.map(is_same, rows), strict=True) if kept]
    return same


def _cut(listing: Listing, wanted: np.ndarray, size: int) -> Iterator[pa.Table]:
    """The wanted rows of a listing in tables of `size`."""
    waiting, start = LISTED.empty_table(), 0
    for batch in listing.batches():
        kept = batch.filter(pa.array(wanted[start : start + batch.num_rows], pa.bool_()))
        start += batch.num_rows
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([kept])])
        while waiting.num_rows >= size:
            yield waiting.slice(0, size)
            waiting = waiting.slice(size)
    if waiting.num_rows:
        yield waiting
