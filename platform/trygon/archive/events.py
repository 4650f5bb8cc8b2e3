"""Which frames belong together: an event is a run of frames of one deployment without a longer pause than the gap."""

import numpy as np
import pyarrow as pa
from pyarrow.dataset import field

from trygon.schemas import EVENT
from trygon.storage import stable_id


def find_events(media: pa.Table, gap_s: float) -> tuple[pa.Table, dict[int, int]]:
    """EVENT rows, and the event id of every frame that was read (MEDIA rows in, seconds of pause).

    A frame without a date is an event of its own; a file that could not be read is in none. An event is named after
    its first frame, so that frames added to the archive later leave the other events' ids alone.
    """
    frames = media.filter(field("failure").is_null()).select(["media_id", "deployment", "timestamp", "path"])
    frames = frames.sort_by([("deployment", "ascending"), ("timestamp", "ascending"), ("path", "ascending")])
    if not frames.num_rows:
        return EVENT.empty_table(), {}
    starts = np.flatnonzero(_begins(frames, gap_s))
    ids = frames["media_id"].to_numpy()
    lengths = np.diff(np.append(starts, len(ids)))
    event_ids = [stable_id("event", str(ids[start])) for start in starts]
    last = pa.array(starts + lengths - 1)
    events = pa.table(
        [
            pa.array(event_ids, pa.int64()),
            frames["deployment"].take(pa.array(starts)),
            frames["timestamp"].take(pa.array(starts)),
            frames["timestamp"].take(last),
            pa.array(lengths, pa.int32()),
            pa.array([[]] * len(starts), EVENT.field("taxa").type),
        ],
        schema=EVENT,
    )
    of_media = np.repeat(np.asarray(event_ids, np.int64), lengths)
    return events, dict(zip(ids.tolist(), of_media.tolist(), strict=True))


def _begins(frames: pa.Table, gap_s: float) -> np.ndarray:
    """Whether a frame, in order of deployment and time, begins an event: (N,) bool."""
    deployment = frames["deployment"].combine_chunks().dictionary_encode().indices.to_numpy()
    time = frames["timestamp"].combine_chunks()
    dateless = time.is_null().to_numpy(zero_copy_only=False)
    seconds = time.cast(pa.int64()).fill_null(0).to_numpy()
    paused = (np.diff(deployment) != 0) | (np.diff(seconds) > gap_s)
    return np.concatenate([[True], paused]) | dateless
