"""Which boxes of an event are one animal: all events at once say what going through them one by one says."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from trygon.archive.naming.tracks import STILL, link
from trygon.labelling.classification import Names
from trygon.taxonomy.taxon import RANKS, Rank

Box = tuple[int, int, int]
"""Left edge in eighths of the frame, look, name: equal looks are alike, and name 0 is none."""

_CAT, _DOG = 1, 2
_WIDTH = 4


def _link(events: list[list[list[Box]]]) -> np.ndarray:
    boxes = [(e, f, *box) for e, frames in enumerate(events) for f, frame in enumerate(frames) for box in frame]
    event_M, frame_M, left_M, look_M, name_M = np.asarray(boxes, np.int64).reshape(-1, 5).T
    corner_M4 = np.stack([left_M / 8, left_M * 0, left_M / 8 + 0.5, left_M * 0 + 0.5], 1).astype(np.float32)
    clade_MR = np.repeat(name_M[:, None], len(RANKS), 1).astype(np.int32)
    blank = np.zeros((len(boxes), 1), np.float32)
    names = Names(clade_MR, blank, np.where(name_M, Rank.FAMILY, -1), name_M, blank, blank)
    return link(event_M, event_M * 100 + frame_M, corner_M4, names, np.eye(_WIDTH, dtype=np.float32)[look_M])


def _one_by_one(events: list[list[list[Box]]]) -> list[int]:
    """The same in words: per frame, the likest pair of a box and an animal first."""
    found: list[int] = []
    for frames in events:
        animals: list[tuple[int, Box, int]] = []  # its first box, its latest one, and its name
        for frame in frames:
            start = len(found)
            found.extend(range(start, start + len(frame)))
            pairs = [
                (-_likeness(box, last), number, place)
                for number, box in enumerate(frame)
                for place, (_, last, name) in enumerate(animals)
                if not (box[2] and name and box[2] != name) or _overlap(box, last) >= STILL
            ]
            free_boxes, free_animals = set(range(len(frame))), set(range(len(animals)))
            for _, number, place in sorted(pairs):
                if number in free_boxes and place in free_animals:
                    free_boxes.remove(number)
                    free_animals.remove(place)
                    first, _, name = animals[place]
                    found[start + number] = first
                    animals[place] = first, frame[number], frame[number][2] or name
            animals.extend((start + number, frame[number], frame[number][2]) for number in sorted(free_boxes))
    return found


def _overlap(one: Box, other: Box) -> float:
    shared = max(0.0, 0.5 - abs(one[0] - other[0]) / 8) * 0.5
    return float(np.float32(shared) / np.float32(0.5 - shared))


def _likeness(one: Box, other: Box) -> float:
    return float(np.float32(_overlap(one, other)) + np.float32(one[1] == other[1]))


_boxes = st.tuples(st.integers(0, 4), st.integers(0, _WIDTH - 1), st.integers(0, 2))
_frames = st.lists(st.lists(_boxes, min_size=1, max_size=4), min_size=1, max_size=6)


@given(st.lists(_frames, min_size=1, max_size=4))
@example([[[(0, 0, _CAT)], [(0, 0, _CAT)], [(4, 1, _DOG)]]])
def test_events_go_forward_together_as_they_would_alone(events: list[list[list[Box]]]) -> None:
    simple = [all(len(frame) == 1 for frame in frames) and not _contradicts(frames) for frames in events]
    expected = _one_by_one(events)
    place = 0
    for frames, is_simple in zip(events, simple, strict=True):
        num = sum(map(len, frames))
        if is_simple:  # one animal, where nothing speaks against it
            expected[place : place + num] = [place] * num
        place += num
    assert _link(events).tolist() == expected


def _contradicts(frames: list[list[Box]]) -> bool:
    return len({box[2] for frame in frames for box in frame if box[2]}) > 1


def test_no_boxes_are_no_animals() -> None:
    assert _link([]).tolist() == []
