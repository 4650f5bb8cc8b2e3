"""The run folder while it fills: one commit a part. A part is a few dozen frames with their detections.

`vectors/part-N.parquet` (the detections) is written first and `parts/part-N.parquet` (the frames) after it: the second
one is the commit. What a killed run leaves without its commit is removed by the next one, and its frames are done
again.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trygon.archive.listing import MediaFile
from trygon.lease import Hold
from trygon.schemas import DETECTION, MEDIA
from trygon.storage import is_remote, join, list_folder, open_input, remove_file, write_bytes

_NAME = re.compile(r"part-(\d+)\.parquet")
_READERS = 16


@dataclass(frozen=True)
class Part:
    """Frames that are committed together."""

    number: int
    files: tuple[MediaFile, ...]


@dataclass(frozen=True)
class Parts:
    """The parts of a run folder. `hold` is asked before each file that is written or removed."""

    folder: str | Path
    hold: Hold = field(default_factory=Hold)

    def numbers(self) -> list[int]:
        """Numbers of the committed parts."""
        return _numbers(join(self.folder, "parts"))

    def clean(self) -> None:
        """Remove what was not committed."""
        committed = set(self.numbers())
        for number in _numbers(join(self.folder, "vectors")):
            if number not in committed:
                self.hold.check()
                remove_file(self.vectors_place(number))
        for name in () if is_remote(self.folder) else ("parts", "vectors"):
            for unfinished in Path(self.folder, name).glob(".part-*"):
                unfinished.unlink()

    def media_place(self, number: int) -> str:
        """The frames of a part."""
        return join(self.folder, "parts", f"part-{number:05d}.parquet")

    def vectors_place(self, number: int) -> str:
        """The detections of a part."""
        return join(self.folder, "vectors", f"part-{number:05d}.parquet")

    def finished(self) -> set[int]:
        """Media ids of all committed frames."""
        ids: set[int] = set()
        for table in _read_all([self.media_place(number) for number in self.numbers()], columns=["media_id"]):
            ids.update(table["media_id"].to_pylist())
        return ids

    def plan(self, files: Sequence[MediaFile], part_size: int) -> list[Part]:
        """The frames that no committed part holds, cut into new parts.

        The same archive and the same committed parts give the same plan. Frames that were added to the archive since
        are simply more parts.
        """
        finished = self.finished()
        open_files = [file for file in files if file.media_id not in finished]
        first = max(self.numbers(), default=-1) + 1
        cuts = range(0, len(open_files), part_size)
        return [Part(first + n, tuple(open_files[cut : cut + part_size])) for n, cut in enumerate(cuts)]

    def commit(self, number: int, rows: Sequence[dict[str, Any]]) -> None:
        """Write a part whole: rows of MEDIA, each with `detections`, a list of rows of DETECTION."""
        ordered = sorted(rows, key=lambda row: row["path"])
        detections = [detection for row in ordered for detection in row["detections"]]
        self._write(self.vectors_place(number), pa.Table.from_pylist(detections, DETECTION))
        self._write(self.media_place(number), pa.Table.from_pylist(ordered, MEDIA))

    def _write(self, place: str, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.hold.check()
        write_bytes(place, sink.getvalue().to_pybytes())

    def media(self, wanted: set[int]) -> pa.Table:
        """The frames with these ids, sorted by path."""
        tables = list(_read_all([self.media_place(number) for number in self.numbers()], schema=MEDIA))
        table = pa.concat_tables(tables) if tables else MEDIA.empty_table()
        mask = pa.array([media_id in wanted for media_id in table["media_id"].to_pylist()], pa.bool_())
        return table.filter(mask).sort_by("path")

    def detections(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The detections, a table a part."""
        return _read_all([self.vectors_place(number) for number in self.numbers()], columns=columns)


class PartWriter:
    """Collects rows as they arrive, in any order, and commits each part with its last row."""

    def __init__(self, parts: Parts, plan: Iterable[Part]) -> None:
        self._parts = parts
        self._missing = {part.number: len(part.files) for part in plan}
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


def read_table(place: str | Path, **options: Any) -> pa.Table:
    """A Parquet file of a run folder. Takes pyarrow's options."""
    with open_input(place) as file:
        return pq.read_table(file, **options)


def _read_all(places: Sequence[str], **options: Any) -> Iterator[pa.Table]:
    """The tables in order; some are read ahead, for on S3 each takes its time to come."""
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(places), _READERS):
            yield from pool.map(partial(read_table, **options), places[start : start + _READERS])
