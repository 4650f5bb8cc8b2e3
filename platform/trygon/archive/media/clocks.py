"""Clocks that are wrong: never set, in the future, set back, or outside the time that the deployment stood.

A wrong clock is told and not mended: nobody but its owner knows by how much.
"""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.schemas import MEDIA

FIRST = datetime(2001, 1, 1)
"""Cameras whose clock was never set start at 2000: an earlier date is no date."""

_AHEAD = timedelta(days=1)
"""The cameras' zone may be another one than this machine's."""

_BACK_S = 60
"""Files of one burst may be written in another order than they were taken."""

_FEW = 10
"""Where a clock goes back more often than once in so many files, the names are in no order that tells of time."""

_SEAM_S = 31 * 86_400
"""The longest pause between the last file of a counter and the first after it began again. A clock that lost its time
goes back by more: to the year that it was made for."""

_DIGITS = 20
"""Longer numbers are told apart by their last ones."""


def check_clocks(media: pa.Table, deployments: pa.Table, now: datetime) -> pa.Table:
    """The MEDIA rows, in any order, with `clock`: the first that holds of before_2001, future, outside_deployment,
    backward; null where nothing is wrong, and where there is no time.

    A time before 2001 is taken away, for it is no time; rows that were checked before have lost it. The other times
    stay as they are. `backward` marks the files of a folder whose clock stands earlier than that of a file before them
    by the numbers in their names, where these are in the order of time elsewhere.
    """
    time = media["timestamp"].cast(pa.timestamp("s")).cast(pa.int64()).combine_chunks()
    has_time = time.is_valid().to_numpy(zero_copy_only=False)
    seconds = time.fill_null(0).to_numpy()
    early = has_time & (seconds < _seconds(FIRST))
    future = has_time & (seconds > _seconds(now + _AHEAD))
    was_early = pc.equal(media["clock"], "before_2001").fill_null(False).to_numpy()
    reason = np.full(len(seconds), None, object)
    reason[_backward(media, seconds, has_time & ~early & ~future)] = "backward"
    reason[has_time & _outside(media, seconds, deployments)] = "outside_deployment"
    reason[future] = "future"
    reason[early | was_early] = "before_2001"
    kept = pa.array(seconds, pa.int64(), mask=~has_time | early).cast(pa.timestamp("s"))
    media = media.set_column(MEDIA.get_field_index("timestamp"), MEDIA.field("timestamp"), kept)
    return media.set_column(MEDIA.get_field_index("clock"), MEDIA.field("clock"), pa.array(reason, pa.string()))


def _seconds(time: datetime) -> int:
    return int((time - datetime(1970, 1, 1)).total_seconds())


def _backward(media: pa.Table, seconds: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether a file's clock stands earlier than that of one before it in its series: (N,) bool."""
    found = np.zeros(len(seconds), bool)
    series, numbered = _series(media)
    order = pa.table({"series": series, "name": numbered, "row": np.arange(media.num_rows)})
    by_name = order.sort_by([("series", "ascending"), ("name", "ascending")])["row"].to_numpy()
    at = by_name[counts[by_name]]
    if not len(at):
        return found
    starts = np.flatnonzero(np.append(True, series[at][1:] != series[at][:-1]))
    which = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(at))))
    # In every series the latest time so far: they are kept apart by a step larger than any difference of times.
    time = seconds[at] + which * (1 << 40)
    found[at] = (time < np.maximum.accumulate(time) - _BACK_S) & _in_order(seconds[at], starts)[which]
    return found


def _in_order(seconds: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Of each series, whether its names are in the order of time but for few places, and are not those of a counter
    that began again: (S,) bool."""
    ends = np.append(starts[1:], len(seconds))
    back = np.append(False, np.diff(seconds) < -_BACK_S)
    back[starts] = False
    num_back = np.add.reduceat(back.astype(np.int64), starts)
    # The last by name was then taken shortly before the first.
    seam_s = seconds[starts] - seconds[ends - 1]
    began_again = (num_back == 1) & (seam_s >= 0) & (seam_s <= _SEAM_S)
    return (num_back <= np.maximum(1, (ends - starts) // _FEW)) & ~began_again


def _series(media: pa.Table) -> tuple[np.ndarray, pa.Array]:
    """Of each file the number of its series, whose names in one folder differ in their digits alone, and its name with
    digits that sort as numbers: (N,) both. A camera's films and stills, or the cards of two, are two series."""
    path = media["path"].combine_chunks()
    folder = pc.replace_substring_regex(path, r"[^/]*$", "")
    stem = pc.replace_substring_regex(pc.replace_substring_regex(path, r"^.*/", ""), r"\.[^.]*$", "")
    padded = pc.replace_substring_regex(stem, r"\d+", "0" * _DIGITS + r"\0")
    numbered = pc.replace_substring_regex(padded, rf"\d*(\d{{{_DIGITS}}})", r"\1")
    kind = pc.replace_substring_regex(stem, r"\d+", "0")
    key = pc.binary_join_element_wise(media["deployment"].combine_chunks(), folder, kind, "\0")
    return key.dictionary_encode().indices.to_numpy(), numbered


def _outside(media: pa.Table, seconds: np.ndarray, deployments: pa.Table) -> np.ndarray:
    """Whether a time lies outside its deployment's: (N,) bool."""
    rows = {row["deployment"]: row for row in deployments.to_pylist()}
    codes = media["deployment"].combine_chunks().dictionary_encode()
    names = codes.dictionary.to_pylist()
    starts = [_seconds(start) if (start := rows.get(name, {}).get("start")) else -(1 << 62) for name in names]
    ends = [_seconds(end) if (end := rows.get(name, {}).get("end")) else 1 << 62 for name in names]
    index = codes.indices.to_numpy()
    return (seconds < np.asarray(starts, np.int64)[index]) | (seconds > np.asarray(ends, np.int64)[index])
