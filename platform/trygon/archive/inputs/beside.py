"""What a list says of files, put beside the files that are there.

The list is held as columns, some tens of bytes an entry; the files stream past it.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta, timezone
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from trygon.archive.inputs.lists import Entry
from trygon.archive.inputs.media import MediaFile, is_media, media_id_of
from trygon.archive.inputs.names import leads_out
from trygon.ids import Ids

_BATCH = 10_000
_COLUMNS = pa.schema(
    [
        ("path", pa.string()),
        ("camera", pa.string()),
        ("timestamp", pa.timestamp("s")),  # as it is written
        ("offset_s", pa.int32()),  # from UTC; null where the list has none
        ("sequence", pa.string()),
    ]
)


def put_beside(files: Iterable[MediaFile], entries: Iterable[Entry]) -> Iterator[MediaFile]:
    """The files that a list names, with what it says of them, and at the end those that are not there (`missing`).

    Entries whose likeliest name is the same are of one file, and the first of them counts. A name that entries of
    different files have leads to none of them. Files that no entry names are `unlisted`. A path that leads out of the
    archive is not looked for (`outside`).
    """
    listed = _Listed(entries)
    remaining = iter(files)
    while batch := list(islice(remaining, _BATCH)):
        for file, said in zip(batch, listed.find(batch), strict=True):
            yield _described(file, said) if said else replace(file, unlisted=True)
    for said in listed.missing():
        reason = "outside" if leads_out(said["path"]) else "missing"
        yield _described(MediaFile(said["path"], 0, failure=reason if is_media(said["path"]) else None), said)


class _Listed:
    """The entries of a list as columns, and where each of their names leads."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        batches, rows = [], list[tuple[Any, ...]]()
        names, owners, first = array("q"), array("q"), array("q")
        for number, entry in enumerate(entries):
            ids = [media_id_of(name) for name in entry.names]
            first.append(ids[0])
            names.extend(ids)
            owners.extend([number] * len(ids))
            rows.append(_row(entry))
            if len(rows) == _BATCH:
                batches.append(batch_of(rows, _COLUMNS))
                rows = []
        self._table = pa.Table.from_batches([*batches, batch_of(rows, _COLUMNS)])
        self._first = np.array(first, np.int64)
        names_M, self._rows = self._unambiguous(np.array(names, np.int64), np.array(owners, np.int64))
        self._names = Ids(names_M)
        self._met = np.zeros(len(self._first), bool)

    def _unambiguous(self, names: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Names (M,) and the row (M,) that each leads to."""
        order = np.lexsort((owners, names))
        names, owners = names[order], owners[order]
        starts = np.flatnonzero(np.append(True, names[1:] != names[:-1])) if len(names) else np.zeros(0, int)
        of_first = np.repeat(self._first[owners[starts]], np.diff(np.append(starts, len(names))))
        differs = np.add.reduceat(self._first[owners] != of_first, starts) if len(names) else starts
        return names[starts][differs == 0], owners[starts][differs == 0]

    def find(self, files: list[MediaFile]) -> list[dict[str, Any] | None]:
        """What the list says of each of the files; None where it names it not."""
        ids = np.array([file.media_id for file in files], np.int64)
        at = self._names.positions(ids)
        known = at >= 0
        rows = self._rows[at[known]]
        self._met[rows] = True
        said = iter(self._table.take(pa.array(rows)).to_pylist())
        return [next(said) if it else None for it in known]

    def missing(self) -> Iterator[dict[str, Any]]:
        """What the list says of files that were never found, once a file."""
        files, rows = np.unique(self._first, return_index=True)
        left = np.sort(rows[~np.isin(files, self._first[self._met])])
        for start in range(0, len(left), _BATCH):
            yield from self._table.take(pa.array(left[start : start + _BATCH])).to_pylist()


def _row(entry: Entry) -> tuple[Any, ...]:
    time, offset = entry.timestamp, entry.timestamp.utcoffset() if entry.timestamp else None
    naive = time.replace(tzinfo=None) if time else None
    return entry.names[0], entry.camera, naive, None if offset is None else int(offset.total_seconds()), entry.sequence


def batch_of(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows as columns of these types."""
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.record_batch([pa.array(it, kind) for it, kind in zip(columns, schema.types, strict=True)], schema=schema)


def _described(file: MediaFile, said: dict[str, Any]) -> MediaFile:
    time, offset = said["timestamp"], said["offset_s"]
    if time is not None and offset is not None:
        time = time.replace(tzinfo=timezone(timedelta(seconds=offset)))
    return replace(file, camera=said["camera"], timestamp=time, sequence=said["sequence"])
