"""Which boxes of an event are one animal. Frames of a burst show it again; two boxes of one frame are two animals.

All events go forward together, a frame of each at a time.

Shapes: M boxes, in the order of events and frames; F the width of their features; R ranks down to the family; A
animals so far; P pairs of a box and an animal.
"""

from dataclasses import dataclass

import numpy as np

from trygon.archive.detection.detector import iou
from trygon.labelling.classification import Names
from trygon.rows import Rows
from trygon.taxonomy.taxon import Rank

STILL = 0.5
"""Boxes that overlap this much from frame to frame are one animal, whatever their names."""

_RANKS = list(Rank)[: Rank.FAMILY + 1]
_PAIRS = 4096
"""Pairs whose vectors are held at once."""


def link(
    event_M: np.ndarray, frame_M: np.ndarray, corner_M4: np.ndarray, names: Names, feature_MF: np.ndarray
) -> np.ndarray:
    """For each box the first box of its animal: (M,) int64. Never the same in two events or twice in a frame.

    A box goes to the animal that it is most like, by its crop's vector and its place. It is never like one whose name
    contradicts its own at the family or above, unless it has stayed where that one was.
    """
    if not len(event_M):
        return np.empty(0, np.int64)
    known_MR = _known(names)
    starts = np.flatnonzero(np.diff(event_M, prepend=-1))
    event_of = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(event_M))))
    crowded = np.zeros(len(starts), bool)
    crowded[event_of[1:][(np.diff(frame_M) == 0) & (np.diff(event_M) == 0)]] = True
    track_M = starts[event_of]  # one animal an event, where nothing speaks against it
    rows = np.flatnonzero((crowded | _contradicts(known_MR, starts))[event_of])
    looks = _Looks(event_of[rows], corner_M4[rows], known_MR[rows], _unit(feature_MF[rows]))
    track_M[rows] = rows[_link(looks, frame_M[rows])]
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


@dataclass(frozen=True)
class _Looks:
    """What boxes are compared by."""

    event_M: np.ndarray
    corner_M4: np.ndarray
    known_MR: np.ndarray
    unit_MF: np.ndarray


@dataclass(frozen=True)
class _Animals(Rows):
    """Animals of events that go on, by their events, then in the order in which they came: their first and their
    latest boxes, and the deepest name that each has had."""

    event_A: np.ndarray
    first_A: np.ndarray
    last_A: np.ndarray
    known_AR: np.ndarray


def _link(looks: _Looks, frame_M: np.ndarray) -> np.ndarray:
    """The first box of each box's animal: (M,)."""
    track_M = np.arange(len(frame_M))
    none = track_M[:0]
    animals = _Animals(looks.event_M[none], none, none, looks.known_MR[none])
    for rows in _steps(looks.event_M, frame_M):
        animals = animals.take(np.flatnonzero(np.isin(animals.event_A, looks.event_M[rows])))
        row_P, animal_P = _matches(*_likeness(looks, rows, animals))
        track_M[row_P] = animals.first_A[animal_P]
        animals.last_A[animal_P] = row_P
        known_PR = looks.known_MR[row_P]
        animals.known_AR[animal_P] = np.where(known_PR < 0, animals.known_AR[animal_P], known_PR)
        fresh = np.setdiff1d(rows, row_P)
        animals = _Animals.concat([animals, _Animals(looks.event_M[fresh], fresh, fresh, looks.known_MR[fresh])])
        animals = animals.take(np.argsort(animals.event_A, kind="stable"))
    return track_M


def _steps(event_M: np.ndarray, frame_M: np.ndarray) -> list[np.ndarray]:
    """The boxes of the first frames of all events, of their second ones, and so on."""
    first_M = np.diff(event_M, prepend=-1) != 0
    number_M = np.cumsum(first_M | (np.diff(frame_M, prepend=-1) != 0))
    step_M = number_M - np.maximum.accumulate(np.where(first_M, number_M, 0))
    order = np.argsort(step_M, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(step_M[order])) + 1) if len(order) else []


def _likeness(looks: _Looks, rows: np.ndarray, animals: _Animals) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of boxes and animals of one event that may be the same: boxes, places of animals, and how like."""
    low, high = (np.searchsorted(animals.event_A, looks.event_M[rows], side) for side in ("left", "right"))
    count = high - low
    row_P = np.repeat(rows, count)
    animal_P = np.arange(len(row_P)) + np.repeat(low - (np.cumsum(count) - count), count)
    last_P = animals.last_A[animal_P]
    overlap_P = iou(looks.corner_M4[row_P], looks.corner_M4[last_P])
    here_PR, there_PR = looks.known_MR[row_P], animals.known_AR[animal_P]
    apart_P = ((here_PR >= 0) & (there_PR >= 0) & (here_PR != there_PR)).any(1) & (overlap_P < STILL)
    kept = np.flatnonzero(~apart_P)
    row_P, animal_P, last_P, overlap_P = row_P[kept], animal_P[kept], last_P[kept], overlap_P[kept]
    score_P = overlap_P.astype(np.float32)
    for at in range(0, len(kept), _PAIRS):
        some = slice(at, at + _PAIRS)
        score_P[some] += np.einsum("pf,pf->p", looks.unit_MF[row_P[some]], looks.unit_MF[last_P[some]])
    return row_P, animal_P, score_P


def _matches(row_P: np.ndarray, animal_P: np.ndarray, score_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of which each is the likest that is left of its box and of its animal, until none is left."""
    order = np.lexsort((animal_P, row_P, -score_P))
    row_P, animal_P = row_P[order], animal_P[order]
    found = []
    while len(row_P):
        of_row, of_animal = (np.unique(column, return_index=True)[1] for column in (row_P, animal_P))
        best = np.intersect1d(of_row, of_animal)
        found.append((row_P[best], animal_P[best]))
        left = ~np.isin(row_P, row_P[best]) & ~np.isin(animal_P, animal_P[best])
        row_P, animal_P = row_P[left], animal_P[left]
    rows, animals = zip((row_P, animal_P), *found, strict=True)
    return np.concatenate(rows), np.concatenate(animals)


def _unit(vector_MF: np.ndarray) -> np.ndarray:
    return vector_MF / np.maximum(np.linalg.norm(vector_MF, axis=1, keepdims=True), 1e-12)
