"""A run's observations and boxes as columns in the order in which people look at them: event by event, frame by frame.

A few dozen bytes an observation are held, so that a million of them fit. Knows nothing of reviews.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.archive.media.pictures import PERSON
from trygon.archive.run_folder.run import Run
from trygon.ids import Ids

_BOX = ["x", "y", "width", "height"]


@dataclass(frozen=True)
class Columns:
    """M observations in order, E events in order; `first_E` is the first observation of each event.

    `table` holds the observations, each called what its event calls it, `events` and `media` the run's other tables.
    `box_M4` is left, top, width, height, 0..1 of the frame, NaN without a box; `person_M` says which boxes the
    detector took for a person, `aside_M` which observations the run set aside.
    """

    table: pa.Table
    events: pa.Table
    media: pa.Table
    first_E: np.ndarray
    media_M: np.ndarray
    box_M4: np.ndarray
    person_M: np.ndarray
    aside_M: np.ndarray

    @classmethod
    def of(cls, run: Run) -> "Columns":
        """Of a finished run."""
        media, events = run.media, run.events
        table = run.named()
        media_M = Ids(media["media_id"].to_numpy()).positions(table["media_id"].to_numpy())
        event_M = Ids(events["event_id"].to_numpy()).positions(table["event_id"].to_numpy())
        time = media["timestamp"].cast(pa.int64()).fill_null(0).to_numpy()
        turn = np.empty(media.num_rows, np.int64)
        turn[np.lexsort((np.arange(media.num_rows), time))] = np.arange(media.num_rows)
        order = np.lexsort((turn[media_M], event_M))
        order = order[(event_M[order] >= 0) & (media_M[order] >= 0)]
        table, media_M, event_M = table.take(pa.array(order)), media_M[order], event_M[order]
        shown, first = np.unique(event_M, return_index=True)
        box_M4, person_M = _boxes(run, table["detection_id"].fill_null(-1).to_numpy())
        return cls(
            table=table,
            events=events.take(pa.array(shown)),
            media=media,
            first_E=first,
            media_M=media_M,
            box_M4=box_M4,
            person_M=person_M,
            aside_M=pc.is_valid(table["set_aside"]).to_numpy(),
        )

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def observation_ids(self) -> Ids:
        """The observations, by their ids."""
        return Ids(self.table["observation_id"].to_numpy())

    @cached_property
    def event_ids(self) -> Ids:
        """The events, by their ids."""
        return Ids(self.events["event_id"].to_numpy())

    @cached_property
    def media_ids(self) -> Ids:
        """The frames, by their ids."""
        return Ids(self.media["media_id"].to_numpy())

    @cached_property
    def probability_M(self) -> np.ndarray:
        """Of the name, 0 where there is none: (M,) float32."""
        return self.table["probability"].fill_null(0).to_numpy()

    @cached_property
    def frame_M(self) -> np.ndarray:
        """The number of the frame of a video, -1 in a still picture and for a whole file: (M,) int32."""
        return self.table["frame_number"].fill_null(-1).to_numpy()

    @cached_property
    def event_of_M(self) -> np.ndarray:
        """The event of each observation, as its place in order: (M,) int64."""
        return np.repeat(np.arange(len(self.first_E)), np.diff(np.append(self.first_E, len(self))))

    def event_id(self, event: int) -> int:
        """The id of the event at a place."""
        return self.events["event_id"][event].as_py()

    def rows_of(self, event: int) -> range:
        """The observations of the event at a place."""
        last = int(self.first_E[event + 1]) if event + 1 < len(self.first_E) else len(self)
        return range(int(self.first_E[event]), last)

    def row(self, at: int, names: Sequence[str]) -> dict[str, Any]:
        """Some columns of an observation."""
        return {name: self.table[name][at].as_py() for name in names}

    def frame_numbers(self, at: int) -> list[int] | list[None]:
        """The frames of the video at a place that were looked at, by their numbers; of a still picture its only one,
        which has none."""
        if self.media["kind"][at].as_py() != "video":
            return [None]
        return self.media["frames"][at].as_py() or [0]

    def media_row(self, at: int) -> dict[str, Any]:
        """The frame at a place."""
        return self.media.slice(at, 1).to_pylist()[0]


def _boxes(run: Run, detection_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`box_M4` and `person_M` of Columns."""
    box_M4, person_M = np.full((len(detection_M), 4), np.nan, np.float32), np.zeros(len(detection_M), bool)
    wanted = Ids(detection_M)
    sql = f"SELECT detection_id, {', '.join(_BOX)}, category = '{PERSON}' AS is_person FROM detections"
    for batch in run.batches(sql):
        at = wanted.positions(batch["detection_id"].to_numpy())
        here = at >= 0
        box_M4[at[here]] = np.stack([batch[name].to_numpy() for name in _BOX], 1)[here]
        person_M[at[here]] = batch["is_person"].to_numpy(zero_copy_only=False)[here]
    return box_M4, person_M
