"""Clocks that are wrong: never set, in the future, set back, or outside the time that the deployment stood.

A wrong clock is told and not mended: nobody but its owner knows by how much.
"""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from trygon.schemas import MEDIA

FIRST = datetime(2001, 1, 1)
"""Cameras whose clock was never set start at 2000: an earlier date is no date."""

_AHEAD = timedelta(days=1)
"""The cameras' zone may be another one than this machine's."""

_BACK_S = 60
"""Files of one burst may be written in another order than they were taken."""


def check_clocks(media: pa.Table, deployments: pa.Table, now: datetime) -> pa.Table:
    """The MEDIA rows, in any order, with `clock`: the first that holds of before_2001, future, outside_deployment,
    backward; null where nothing is wrong, and where there is no time.

    A time before 2001 is taken away: it is no time. The other times stay as they are. `backward` marks the files of a
    folder whose clock stands earlier than that of a file before them, by name.
    """
    time = media["timestamp"].cast(pa.int64()).combine_chunks()
    has_time = time.is_valid().to_numpy(zero_copy_only=False)
    seconds = time.fill_null(0).to_numpy()
    early = has_time & (seconds < _seconds(FIRST))
    future = has_time & (seconds > _seconds(now + _AHEAD))
    reason = np.full(len(seconds), None, object)
    reason[_backward(media, seconds, has_time & ~early & ~future)] = "backward"
    reason[has_time & _outside(media, seconds, deployments)] = "outside_deployment"
    reason[future] = "future"
    reason[early] = "before_2001"
    kept = pa.array(seconds, pa.int64(), mask=~has_time | early).cast(pa.timestamp("s"))
    media = media.set_column(MEDIA.get_field_index("timestamp"), MEDIA.field("timestamp"), kept)
    return media.set_column(MEDIA.get_field_index("clock"), MEDIA.field("clock"), pa.array(reason, pa.string()))


def _seconds(time: datetime) -> int:
    return int((time - datetime(1970, 1, 1)).total_seconds())


def _backward(media: pa.Table, seconds: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether a file's clock stands earlier than that of one before it in its folder: (N,) bool."""
    rows = pa.table({"path": media["path"], "row": np.arange(media.num_rows)})
    by_name = rows.sort_by("path")["row"].to_numpy()
    at = by_name[counts[by_name]]
    found = np.zeros(len(seconds), bool)
    if not len(at):
        return found
    folder = _folders(media)[at]
    # In every folder the latest time so far: folders are kept apart by a step larger than any difference of times.
    order = np.cumsum(np.append(0, folder[1:] != folder[:-1])) * (1 << 40)
    latest = np.maximum.accumulate(seconds[at] + order)
    found[at] = seconds[at] + order < latest - _BACK_S
    return found


def _folders(media: pa.Table) -> np.ndarray:
    """The folder of each file, as a number: (N,)."""
    names: dict[tuple[str, str], int] = {}
    numbers = []
    for batch in media.select(["path", "deployment"]).to_batches():
        for path, deployment in zip(batch["path"].to_pylist(), batch["deployment"].to_pylist(), strict=True):
            numbers.append(names.setdefault((deployment, path.rpartition("/")[0]), len(names)))
    return np.asarray(numbers, np.int64)


def _outside(media: pa.Table, seconds: np.ndarray, deployments: pa.Table) -> np.ndarray:
    """Whether a time lies outside its deployment's: (N,) bool."""
    rows = {row["deployment"]: row for row in deployments.to_pylist()}
    codes = media["deployment"].combine_chunks().dictionary_encode()
    names = codes.dictionary.to_pylist()
    starts = [_seconds(start) if (start := rows.get(name, {}).get("start")) else -(1 << 62) for name in names]
    ends = [_seconds(end) if (end := rows.get(name, {}).get("end")) else 1 << 62 for name in names]
    index = codes.indices.to_numpy()
    return (seconds < np.asarray(starts, np.int64)[index]) | (seconds > np.asarray(ends, np.int64)[index])
