"""Repeated false detections: a stump that the detector takes for an animal has the same box in frame after frame.

The idea is MegaDetector's repeat detection elimination: one box (IoU of 0.9) in many frames of a camera. Here it must
also come back in several events, so that an animal that rests through a burst is none. Shapes: M boxes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trygon.archive.detection.detector import iou
from trygon.archive.naming.boxes import Boxes
from trygon.archive.naming.events import Events
from trygon.labelling.decisions import ANIMAL

MIN_IOU = 0.9
MAX_AREA = 0.2
"""Of the frame: a larger box is seldom a mistake of this kind."""

NEAR_IOU, STILL_SHARE = 0.5, 0.5
"""Of the boxes about there, at least this share is the very same: where animals pass all the time, some boxes of a
thousand are alike by chance."""

FRAMES_PER_EVENT = 5
"""The frames must be spread over at least a fifth as many events."""

_CELL = 0.02
_BITS = 6
"""Box centres and sides are counted in cells of 1/50 of the frame: what repeats fills some cell more than once."""


@dataclass(frozen=True)
class Repeat:
    """One place of a deployment: its typical box, as left, top, right, bottom, and where among the boxes it is."""

    corner_4: np.ndarray
    rows: np.ndarray
    num_frames: int
    num_events: int


def find_repeats(boxes: Boxes, events: Events, least: int) -> list[Repeat]:
    """The places whose box is found in `least` frames or more of their deployment; none where `least` is 0."""
    if not least or not len(boxes):
        return []
    side_M2 = boxes.corner_M4[:, 2:] - boxes.corner_M4[:, :2]
    rows = np.flatnonzero((boxes.category_M == ANIMAL) & (side_M2.prod(1) <= MAX_AREA))
    deployment = events.deployment_F[boxes.frame_M[rows]]
    order = np.lexsort((boxes.corner_M4[rows, 0] + boxes.corner_M4[rows, 2], deployment))
    rows, deployment = rows[order], deployment[order]
    cuts = np.flatnonzero(np.diff(deployment, prepend=-1, append=-1))
    found = []
    for low, high in pairwise(cuts.tolist()):
        if high - low >= least:
            found.extend(_of_deployment(boxes, events, rows[low:high], least))
    return found


def _of_deployment(boxes: Boxes, events: Events, rows: np.ndarray, least: int) -> Iterator[Repeat]:
    """`rows` are the boxes of one deployment, from left to right by their middles."""
    corner_M4 = np.asfortranarray(boxes.corner_M4[rows])  # it is read column by column
    middle_M = (corner_M4[:, 0] + corner_M4[:, 2]) / 2
    is_open = np.ones(len(rows), bool)
    for cell in _full_cells(corner_M4):
        members = cell[is_open[cell]]
        if len(members) < 2:
            continue
        typical_4 = corner_M4[members].mean(0)
        # The middles of two boxes that overlap so much are no farther apart.
        middle, reach = (typical_4[0] + typical_4[2]) / 2, (typical_4[2] - typical_4[0]) * (1 / MIN_IOU - 1) / 2
        window = slice(*np.searchsorted(middle_M, [middle - reach, middle + reach]))
        if window.stop - window.start < least:
            continue
        same = window.start + np.flatnonzero(is_open[window] & (iou(typical_4, corner_M4[window]) >= MIN_IOU))
        if len(same) < least or len(same) < STILL_SHARE * np.sum(iou(typical_4, corner_M4) >= NEAR_IOU):
            continue
        frames = np.unique(boxes.frame_M[rows[same]])
        num_events = len(np.unique(events.event_F[frames]))
        if len(frames) >= least and num_events * FRAMES_PER_EVENT >= least:
            is_open[same] = False
            yield Repeat(typical_4, rows[same], len(frames), num_events)


def _full_cells(corner_M4: np.ndarray) -> list[np.ndarray]:
    """The boxes of each cell that holds more than one, the fullest cell first."""
    centre_M2, side_M2 = (corner_M4[:, :2] + corner_M4[:, 2:]) / 2, corner_M4[:, 2:] - corner_M4[:, :2]
    cell_M4 = np.clip(np.rint(np.concatenate([centre_M2, side_M2], 1) / _CELL), 0, (1 << _BITS) - 1).astype(np.int64)
    key_M = cell_M4 @ (1 << (_BITS * np.arange(4)))
    order = np.argsort(key_M, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(key_M[order])) + 1)
    return sorted((group for group in groups if len(group) > 1), key=len, reverse=True)
