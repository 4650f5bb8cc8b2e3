"""What people said of a run's observations: a log in the run folder that only grows, and the table with it applied.

The predictions are never changed. Reviews name observations, whose ids come from the frames and boxes alone: they
stand when the run is labelled anew. Knows nothing of pages.
"""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.errors import TrygonError
from trygon.ids import Ids
from trygon.lease import Hold
from trygon.schemas import NAME_COLUMNS, REVIEW, reviewed
from trygon.storage import is_remote, join, list_folder, read_bytes, write_bytes

FOLDER = "reviews"
_PER_FILE = 500
"""On S3 nothing can be appended to: a file is written again with each review, until it holds so many."""


class ReviewLog:
    """Appends reviews to a run folder, for as long as this process holds it. Safe to call from several threads."""

    def __init__(self, folder: str | Path, hold: Hold) -> None:
        self._folder, self._hold = folder, hold
        self._lines: list[bytes] = []
        self._place = ""
        self._mutex = threading.Lock()

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows of REVIEW, together or not at all; they are on the disk when this returns."""
        data = b"".join(json.dumps(_plain(row), ensure_ascii=False).encode() + b"\n" for row in rows)
        with self._mutex:
            self._hold.check()
            if not self._place or len(self._lines) >= _PER_FILE:
                started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
                self._place, self._lines = join(self._folder, FOLDER, f"{started}-{uuid4().hex[:8]}.jsonl"), []
            if is_remote(self._folder):
                write_bytes(self._place, b"".join([*self._lines, data]))
            else:
                _append(Path(self._place), data)
            self._lines.append(data)


def _append(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            if file.write(data) != len(data):
                raise OSError(f"{path} took only a part of what was written")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)  # a full disk leaves half a line, which the next one would be joined to
            raise


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    time = row["reviewed_at"].astimezone(UTC).isoformat(timespec="milliseconds")
    return {name: value for name, value in row.items() if value is not None} | {"reviewed_at": time}


def read_reviews(folder: str | Path) -> pa.Table:
    """All rows of REVIEW in the order of their times, also those taken back and what took them back.

    A last line that a power cut left unfinished is passed over. `TrygonError` for a file that is no log.
    """
    rows = [row for file in list_folder(join(folder, FOLDER), suffix=".jsonl") for row in _rows(file.place)]
    rows.sort(key=lambda row: row["reviewed_at"])
    return pa.Table.from_pylist(rows, REVIEW)


def _rows(place: str) -> Iterator[dict[str, Any]]:
    lines = read_bytes(place).split(b"\n")
    for number, line in enumerate(lines[:-1], 1):  # what follows the last line's end was not finished
        try:
            row = json.loads(line)
            yield row | {"reviewed_at": datetime.fromisoformat(row["reviewed_at"])}
        except (ValueError, KeyError, TypeError) as error:
            raise TrygonError(f"{place}, line {number} is no review: {error}; mend or remove the line") from error


def standing(reviews: pa.Table) -> pa.Table:
    """The reviews that name something and were not taken back."""
    undone = pc.is_in(reviews["review_id"], value_set=reviews["undoes"].combine_chunks().drop_null())
    return reviews.filter(pc.and_(pc.is_null(reviews["undoes"]), pc.invert(undone)))


def apply(observations: pa.Table, reviews: pa.Table) -> pa.Table:
    """OBSERVATION rows with what people said of them, in the columns of `reviewed`.

    Of several reviews of an observation the last one counts. A person's name has no probability. A detection that a
    person calls blank is no observation any more, unless it was the last one of its frame that counts: that frame is
    blank then. A frame in which a person brings back what was set aside is not blank any more.
    """
    said = standing(reviews)
    choice = choices(observations, said)
    there = pa.array(choice >= 0)
    take = pa.array(np.maximum(choice, 0), mask=choice < 0)
    columns = {name: observations[name] for name in observations.column_names}
    for name in NAME_COLUMNS:
        columns[name] = pc.if_else(there, said[name].take(take), columns[name])
    columns["probability"] = pc.if_else(there, pa.scalar(None, pa.float32()), columns["probability"])
    columns["decided_by"] = pc.if_else(there, "human", columns["decided_by"])
    columns["set_aside"] = pc.if_else(there, pa.scalar(None, pa.string()), columns["set_aside"])
    schema = reviewed(observations.schema)
    for name in schema.names[len(columns) :]:
        columns[name] = said[name].take(take)
    return _without_contradicted(_without_rejected(pa.table(columns, schema=schema), choice >= 0))


def choices(observations: pa.Table, said: pa.Table) -> np.ndarray:
    """The one of the standing reviews that counts for each observation, -1 where there is none: (N,) int64."""
    choice_N = np.full(observations.num_rows, -1, np.int64)
    lists = said["observation_ids"].combine_chunks()
    ids = lists.flatten().to_numpy()
    if not ids.size:
        return choice_N
    of_review = np.repeat(np.arange(said.num_rows), pc.list_value_length(lists).to_numpy())
    at = Ids(observations["observation_id"].to_numpy()).positions(ids)
    here = at >= 0  # frames may have left the archive
    choice_N[at[here]] = of_review[here]  # the last to be set stays
    return choice_N


def _without_rejected(table: pa.Table, is_reviewed: np.ndarray) -> pa.Table:
    """Detections called blank leave the table, but for one of a frame that holds nothing else: that frame is blank."""
    blank = pc.equal(table["type"], "blank").to_numpy(zero_copy_only=False)
    found = pc.is_valid(table["detection_id"]).to_numpy(zero_copy_only=False)
    rejected = np.flatnonzero(is_reviewed & blank & found)
    if not rejected.size:
        return table
    media = table["media_id"].to_numpy()
    counts = pc.is_null(table["set_aside"]).to_numpy(zero_copy_only=False)
    counts[rejected] = False
    others = np.isin(media[rejected], media[counts])
    _, first = np.unique(media[rejected], return_index=True)
    stays = np.zeros(len(rejected), bool)
    stays[first] = True
    stays &= ~others
    kept = np.ones(len(media), bool)
    kept[rejected[~stays]] = False
    without_box = np.zeros(len(media), bool)
    without_box[rejected[stays]] = True
    at = table.schema.get_field_index("detection_id")
    ids = pc.if_else(pa.array(without_box), pa.scalar(None, pa.int64()), table["detection_id"])
    return table.set_column(at, table.schema.field(at), ids).filter(pa.array(kept))


def _without_contradicted(table: pa.Table) -> pa.Table:
    """Frames that hold something leave off being blank: what is in them was set aside when they were called so."""
    blank = pc.equal(table["type"], "blank").to_numpy(zero_copy_only=False)
    whole = blank & pc.is_null(table["detection_id"]).to_numpy(zero_copy_only=False)
    counts = pc.is_null(table["set_aside"]).to_numpy(zero_copy_only=False)
    media = table["media_id"].to_numpy()
    return table.filter(pa.array(~(whole & np.isin(media, media[counts & ~blank]))))
