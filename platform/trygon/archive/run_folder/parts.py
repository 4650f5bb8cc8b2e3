"""The run folder while it fills: one commit a part. A part is a few dozen frames with their detections.

`vectors/part-N.parquet` (the detections) is written first and `parts/part-N.parquet` (the frames) after it: the second
one is the commit. What a killed run leaves without its commit is removed by the next one, as is a commit that cannot
be read, and its frames are done again.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trygon.archive.run_folder.tables import is_whole, read_table
from trygon.errors import UserError
from trygon.ids import Ids
from trygon.lease import Hold
from trygon.schemas import DETECTION, MEDIA
from trygon.storage import is_remote, join, list_folder, remove_file
from trygon.tables import write_table

_NAME = re.compile(r"part-(\d+)\.parquet")
_READERS = 16


@dataclass(frozen=True)
class Finished:
    """Files that committed parts hold, each as it was done last, by ascending id: four (N,) int64."""

    media_id: np.ndarray
    bytes: np.ndarray
    mark: np.ndarray
    part: np.ndarray
    num_superseded: int = 0
    """Rows that are left out: of files that were done again."""

    def find(self, media_id: np.ndarray) -> np.ndarray:
        """Where each of the ids (M,) stands in the columns; -1 where it does not."""
        return self._ids.positions(media_id)

    @cached_property
    def _ids(self) -> Ids:
        return Ids(self.media_id)


@dataclass(frozen=True)
class Parts:
    """The parts of a run folder. `hold` is asked before each file that is written or removed."""

    folder: str | Path
    hold: Hold = field(default_factory=Hold)

    def numbers(self) -> list[int]:
        """Numbers of the committed parts."""
        return _numbers(join(self.folder, "parts"))

    def clean(self) -> int:
        """Remove what was not committed, and commits that cannot be read: a disk that was damaged has such. How many
        these were. `UserError` where no part has its detections: a disk that is not mounted looks so."""
        numbers, vectors = self.numbers(), join(self.folder, "vectors")
        there = set(_numbers(vectors))
        if numbers and not there:
            raise UserError(
                f"{vectors} is missing or has none of the run's {len(numbers)} parts: bring it back, or give another "
                f"--out; to have all of it done again, remove {join(self.folder, 'parts')} too"
            )
        broken = self._broken(numbers, there)
        self.remove(broken)
        committed = set(self.numbers())
        self.remove([number for number in _numbers(vectors) if number not in committed])
        for name in () if is_remote(self.folder) else ("parts", "vectors"):
            for unfinished in Path(self.folder, name).glob(".part-*"):
                unfinished.unlink()
        return len(broken)

    def _broken(self, numbers: list[int], vectors: set[int]) -> list[int]:
        """Commits one of whose files is missing or does not end as it should.

        On S3, where each file would be a request, only missing ones are found: what is there was written whole.
        """
        if is_remote(self.folder):
            return [number for number in numbers if number not in vectors]
        with ThreadPoolExecutor(_READERS) as pool:
            return [
                number for number, whole in zip(numbers, pool.map(self._is_whole, numbers), strict=True) if not whole
            ]

    def _is_whole(self, number: int) -> bool:
        return is_whole(self.media_place(number)) and is_whole(self.vectors_place(number))

    def remove(self, numbers: Iterable[int]) -> None:
        """Take parts away, commits first."""
        for number in numbers:
            for place in (self.media_place(number), self.vectors_place(number)):
                self.hold.check()
                remove_file(place)

    def media_place(self, number: int) -> str:
        """The frames of a part."""
        return join(self.folder, "parts", f"part-{number:05d}.parquet")

    def vectors_place(self, number: int) -> str:
        """The detections of a part."""
        return join(self.folder, "vectors", f"part-{number:05d}.parquet")

    def finished(self) -> Finished:
        """The files of all committed parts."""
        columns = ["media_id", "bytes", "mark"]
        kept = [np.zeros((0, 4), np.int64)]
        for number, table in self._tables(columns):
            values = [table[name].fill_null(0).to_numpy() for name in columns]
            kept.append(np.stack([*values, np.full(table.num_rows, number)], axis=1).astype(np.int64))
        rows = np.concatenate(kept)
        rows = rows[np.lexsort((rows[:, 3], rows[:, 0]))]
        last = np.append(rows[1:, 0] != rows[:-1, 0], True)[: len(rows)]
        return Finished(*rows[last].T, num_superseded=int((~last).sum()))

    def digests(self, media_id: np.ndarray) -> dict[int, str | None]:
        """SHA-256 of the files with these ids, as they were done last."""
        found: dict[int, str | None] = {}
        for _, table in self._tables(["media_id", "digest"]):
            wanted = table.filter(pa.array(np.isin(table["media_id"].to_numpy(), media_id), pa.bool_()))
            found.update(zip(wanted["media_id"].to_pylist(), wanted["digest"].to_pylist(), strict=True))
        return found

    def failed(self, reasons: Sequence[str]) -> np.ndarray:
        """Ids of the files that failed for one of these reasons when they were done last: (M,) int64."""
        done, found = self.finished(), [np.empty(0, np.int64)]
        for number, table in self._tables(["media_id", "failure"]):
            is_one = np.isin(table["failure"].fill_null("").to_numpy(), reasons)
            ids = table["media_id"].to_numpy()[is_one]
            found.append(ids[done.part[done.find(ids)] == number])
        return np.concatenate(found)

    def drop_superseded(self) -> None:
        """Take files that were done again out of the parts that hold them as they were."""
        done = self.finished()
        if not done.num_superseded:
            return
        for number, table in self._tables(["media_id"]):
            ids = table["media_id"].to_numpy()
            current = ids[done.part[done.find(ids)] == number]
            if len(current) < len(ids):
                # Both hold at any time what the later part does not, whichever of them is written.
                for place in (self.vectors_place(number), self.media_place(number)):
                    whole = read_table(place)
                    self._write(place, whole.filter(pa.array(np.isin(whole["media_id"].to_numpy(), current))))

    def commit(self, number: int, rows: Sequence[dict[str, Any]]) -> None:
        """Write a part whole: rows of MEDIA, each with `detections`, a list of rows of DETECTION."""
        ordered = sorted(rows, key=lambda row: row["path"])
        detections = [detection for row in ordered for detection in row["detections"]]
        self._write(self.vectors_place(number), pa.Table.from_pylist(detections, DETECTION))
        self._write(self.media_place(number), pa.Table.from_pylist(ordered, MEDIA))

    def _write(self, place: str, table: pa.Table) -> None:
        self.hold.check()
        write_table(place, table, durable=True)

    def media(self) -> pa.Table:
        """MEDIA of all frames, as they were when they were done."""
        tables = (table.cast(MEDIA) for _, table in self._tables(MEDIA.names))  # Parquet has no seconds
        return pa.concat_tables([MEDIA.empty_table(), *tables])

    def _tables(self, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
        """Numbers of the parts, and these columns of their frames."""
        numbers = self.numbers()
        return zip(numbers, _read_all([self.media_place(it) for it in numbers], columns=columns), strict=True)

    def detections(self, columns: list[str] | None = None, numbers: Sequence[int] | None = None) -> Iterator[pa.Table]:
        """The detections, a table a part: of all parts, or of those with these numbers."""
        wanted = self.numbers() if numbers is None else numbers
        return _read_all([self.vectors_place(number) for number in wanted], columns=columns)


class PartWriter:
    """Collects rows as they arrive, in any order, and commits each part with its last row."""

    def __init__(self, parts: Parts, first: int, sizes: Sequence[int]) -> None:
        self._parts = parts
        self._missing = dict(enumerate(sizes, first))
        self._rows: dict[int, list[dict[str, Any]]] = {}

    def add(self, number: int, row: dict[str, Any]) -> bool:
        """Take a row; True where it completed its part."""
        self._rows.setdefault(number, []).append(row)
        if len(self._rows[number]) < self._missing[number]:
            return False
        self._parts.commit(number, self._rows.pop(number))
        del self._missing[number]
        return True

    @property
    def num_waiting(self) -> int:
        """Rows that wait for the rest of their parts."""
        return sum(map(len, self._rows.values()))

    @property
    def num_open(self) -> int:
        """Parts that are not committed yet."""
        return len(self._missing)


def _numbers(folder: str) -> list[int]:
    return sorted(int(match[1]) for file in list_folder(folder) if (match := _NAME.fullmatch(file.name)))


def _read_all(places: Sequence[str], **options: Any) -> Iterator[pa.Table]:
    """The tables in order; some are read ahead, for on S3 each takes its time to come."""
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(places), _READERS):
            yield from pool.map(partial(read_table, **options), places[start : start + _READERS])
