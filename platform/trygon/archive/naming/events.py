"""Which frames belong together: an event is a run of frames of one deployment without a longer pause than the gap."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.dataset import field

from trygon.ids import Ids
from trygon.schemas import EVENT
from trygon.storage import stable_id

_LONGEST_S = 86_400
"""No camera films for longer: what a header says beyond that is wrong."""

_COLUMNS = [name for name in EVENT.names if name != "taxa"]


@dataclass(frozen=True)
class Events:
    """The frames that were read, in the order of deployment, time and path, and the events that they are cut into.

    `media_F` are their ids, `event_F` the event of each, counted from 0, and `deployment_F` a number for each
    deployment. `blank_F` is the id of what is said of each frame without a box: another one when the picture is, so
    that nobody's word is carried over to it. `table` has a row an event: EVENT without its taxa.
    """

    table: pa.Table
    media_F: np.ndarray
    event_F: np.ndarray
    deployment_F: np.ndarray
    blank_F: np.ndarray

    @cached_property
    def event_ids(self) -> np.ndarray:
        """The id of each event: (E,) int64."""
        return self.table["event_id"].to_numpy()

    def frames_of(self, media_M: np.ndarray) -> np.ndarray:
        """The frames with these ids, -1 for files that are in no event: (M,) int64."""
        return self._ids.positions(media_M)

    @cached_property
    def _ids(self) -> Ids:
        return Ids(self.media_F)


def find_events(media: pa.Table, gap_s: float) -> Events:
    """The events of MEDIA rows; `gap_s` is the longest pause within one.

    The pause after a video begins with its end. Where a list named bursts, these are the events, whatever the pause,
    and frames of none are in none of them. A frame without a date is an event of its own else; a file that could not
    be read is in none. An event is named after its first frame, so that frames added to the archive later leave the
    other events' ids alone.
    """
    used = ["media_id", "deployment", "timestamp", "path", "duration", "sequence", "digest"]
    frames = media.filter(field("failure").is_null()).select(used)
    frames = frames.sort_by([("deployment", "ascending"), ("timestamp", "ascending"), ("path", "ascending")])
    schema = pa.schema([EVENT.field(name) for name in _COLUMNS])
    if not frames.num_rows:
        none = np.empty(0, np.int64)
        return Events(schema.empty_table(), none, none, none, none)
    frames = frames.take(pa.array(_together(frames)))
    deployment_F = frames["deployment"].combine_chunks().dictionary_encode().indices.to_numpy()
    burst_F = frames["sequence"].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    dateless_F = frames["timestamp"].is_null().to_numpy()
    # Parquet keeps milliseconds.
    second_F = frames["timestamp"].cast(pa.timestamp("s")).cast(pa.int64()).fill_null(0).to_numpy()
    until_F = second_F + _lengths(frames["duration"])
    starts = np.flatnonzero(_begins(deployment_F, burst_F, dateless_F, second_F, until_F, gap_s))
    media_F = frames["media_id"].to_numpy()
    lengths = np.diff(np.append(starts, len(media_F)))
    dateless_E = np.logical_and.reduceat(dateless_F, starts)
    first_E = np.minimum.reduceat(np.where(dateless_F, np.iinfo(np.int64).max, second_F), starts)
    last_E = np.maximum.reduceat(np.where(dateless_F, np.iinfo(np.int64).min, until_F), starts)
    columns = [
        pa.array([stable_id("event", str(first)) for first in media_F[starts].tolist()], pa.int64()),
        frames["deployment"].take(pa.array(starts)),
        *(pa.array(it, pa.timestamp("s"), mask=dateless_E) for it in (first_E, last_E)),
        pa.array(lengths, pa.int32()),
    ]
    event_F = np.repeat(np.arange(len(starts)), lengths)
    blank_F = media_F ^ _numbers(frames["digest"])
    return Events(pa.table(columns, schema=schema), media_F, event_F, deployment_F, blank_F)


def _lengths(duration: pa.ChunkedArray) -> np.ndarray:
    """Whole seconds that a file lasts, 0 for a still picture: (F,) int64."""
    seconds = np.nan_to_num(duration.fill_null(0).to_numpy())
    return np.rint(np.clip(seconds, 0, _LONGEST_S)).astype(np.int64)


def _numbers(digest: pa.ChunkedArray) -> np.ndarray:
    """Positive int64 of the first digits of SHA-256s; 0 where there is none."""
    digits = pc.utf8_slice_codeunits(pc.fill_null(digest, "0" * 16), 0, 16).to_pylist()
    return np.frombuffer(bytes.fromhex("".join(digits)), ">u8").astype(np.int64) & np.iinfo(np.int64).max


def _together(frames: pa.Table) -> np.ndarray:
    """An order in which the frames of a burst follow its first one: bursts of cameras that stand side by side in one
    deployment come interleaved. (F,) int64."""
    place_F = np.arange(frames.num_rows)
    in_burst = np.flatnonzero(frames["sequence"].is_valid().to_numpy())
    if in_burst.size:
        columns = [frames[name].take(pa.array(in_burst)).combine_chunks() for name in ("deployment", "sequence")]
        deployment_B, sequence_B = (column.dictionary_encode().indices.to_numpy() for column in columns)
        pair_B = deployment_B.astype(np.int64) * (sequence_B.max() + 1) + sequence_B
        _, first, burst_B = np.unique(pair_B, return_index=True, return_inverse=True)
        place_F[in_burst] = in_burst[first][burst_B]
    return np.argsort(place_F, kind="stable")


def _begins(
    deployment_F: np.ndarray,
    burst_F: np.ndarray,
    dateless_F: np.ndarray,
    second_F: np.ndarray,
    until_F: np.ndarray,
    gap_s: float,
) -> np.ndarray:
    """Whether a frame, in order of deployment and time, begins an event: (F,) bool. `burst_F` is -1 for none.

    A pause begins when all files before it have ended: a long video may last beyond those that begin after it.
    """
    other = (np.diff(deployment_F) != 0) | (np.diff(burst_F) != 0)
    # What stands on either side of a border is kept apart by a step larger than any difference of times.
    side_F = np.concatenate([[0], np.cumsum(other)]) * (1 << 40)
    ended_F = np.maximum.accumulate(until_F + side_F) - side_F
    paused = (second_F[1:] - ended_F[:-1] > gap_s) | dateless_F[1:]
    return np.concatenate([[True], other | ((burst_F[1:] < 0) & paused)])
