"""Which boxes of an event are one animal. Frames of a burst show it again; two boxes of one frame are two animals.

Shapes: M boxes, in the order of events and frames; F the width of their features; R ranks down to the family.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from trygon.labelling.classification import Names
from trygon.taxonomy.taxon import Rank

STILL = 0.5
"""Boxes that overlap this much from frame to frame are one animal, whatever their names."""

_RANKS = list(Rank)[: Rank.FAMILY + 1]


def link(
    event_M: np.ndarray, frame_M: np.ndarray, corner_M4: np.ndarray, names: Names, feature_MF: np.ndarray
) -> np.ndarray:
    """A number for the animal of each box: (M,) int64. Never the same in two events or twice in a frame.

    A box goes to the animal that it is most like, by its crop's vector and its place. It is never like one whose name
    contradicts its own at the family or above, unless it has stayed where that one was.
    """
    if not len(event_M):
        return np.empty(0, np.int64)
    known_MR = _known(names)
    starts = np.flatnonzero(np.diff(event_M, prepend=-1))
    ends = np.append(starts[1:], len(event_M))
    crowded = np.zeros(len(starts), bool)
    event_of = np.repeat(np.arange(len(starts)), ends - starts)
    crowded[event_of[1:][(np.diff(frame_M) == 0) & (np.diff(event_M) == 0)]] = True
    torn = _contradicts(known_MR, starts)
    track_M = starts[event_of]  # one animal an event, where nothing speaks against it
    for event in np.flatnonzero(crowded | torn):
        rows = slice(int(starts[event]), int(ends[event]))
        track_M[rows] = starts[event] + _link_event(
            frame_M[rows], corner_M4[rows], known_MR[rows], _unit(feature_MF[rows])
        )
    return track_M


def _known(names: Names) -> np.ndarray:
    """The clades of each name down to the family, -1 below what can be trusted: (M, R) int32."""
    clade_MR = names.clade_BR[:, : len(_RANKS)]
    return np.where(names.rank_B[:, None] >= np.asarray(_RANKS), clade_MR, np.int32(-1))


def _contradicts(known_MR: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """In which events two names contradict each other: (E,) bool."""
    highest = np.maximum.reduceat(known_MR, starts)
    lowest = np.minimum.reduceat(np.where(known_MR < 0, np.iinfo(np.int32).max, known_MR), starts)
    return np.any(highest > lowest, axis=1)


def _link_event(frame_M: np.ndarray, corner_M4: np.ndarray, known_MR: np.ndarray, unit_MF: np.ndarray) -> np.ndarray:
    """Numbers from 0 within one event: frame by frame, the likest pair of animal and box first."""
    track_M = np.zeros(len(frame_M), np.int64)
    last: list[int] = []  # the row of each animal's latest box
    known = np.empty((0, known_MR.shape[1]), known_MR.dtype)  # the deepest name that each animal has had
    cuts = [*np.flatnonzero(np.diff(frame_M, prepend=-1)).tolist(), len(frame_M)]
    for low, high in pairwise(cuts):
        taken: set[int] = set()
        for row, animal in _pairs(low, high, last, known, corner_M4, known_MR, unit_MF):
            track_M[row] = animal
            last[animal] = row
            known[animal] = np.where(known_MR[row] < 0, known[animal], known_MR[row])
            taken.add(row)
        fresh = [row for row in range(low, high) if row not in taken]
        track_M[fresh] = np.arange(len(last), len(last) + len(fresh))
        last.extend(fresh)
        known = np.concatenate([known, known_MR[fresh]])
    return track_M


def _pairs(
    low: int,
    high: int,
    last: list[int],
    known: np.ndarray,
    corner_M4: np.ndarray,
    known_MR: np.ndarray,
    unit_MF: np.ndarray,
) -> Iterator[tuple[int, int]]:
    """Rows of a frame and the animals that they show again, each at most once."""
    if not last:
        return
    overlap = _overlaps(corner_M4[low:high], corner_M4[last])
    here = known_MR[low:high, None]
    apart = ((here >= 0) & (known >= 0) & (here != known)).any(2) & (overlap < STILL)
    score = np.where(apart, -np.inf, unit_MF[low:high] @ unit_MF[last].T + overlap)
    for _ in range(min(score.shape)):
        row, animal = divmod(int(score.argmax()), len(last))
        if score[row, animal] == -np.inf:
            return
        yield low + row, animal
        score[row], score[:, animal] = -np.inf, -np.inf


def _overlaps(corner_M4: np.ndarray, corner_A4: np.ndarray) -> np.ndarray:
    """Intersection over union of all pairs: (M, A)."""
    low_MA2 = np.maximum(corner_M4[:, None, :2], corner_A4[:, :2])
    side_MA2 = np.maximum(np.minimum(corner_M4[:, None, 2:], corner_A4[:, 2:]) - low_MA2, 0)
    shared_MA = side_MA2[..., 0] * side_MA2[..., 1]
    areas = [(it[:, 2] - it[:, 0]) * (it[:, 3] - it[:, 1]) for it in (corner_M4, corner_A4)]
    return shared_MA / np.maximum(areas[0][:, None] + areas[1] - shared_MA, 1e-9)


def _unit(vector_MF: np.ndarray) -> np.ndarray:
    return vector_MF / np.maximum(np.linalg.norm(vector_MF, axis=1, keepdims=True), 1e-12)
