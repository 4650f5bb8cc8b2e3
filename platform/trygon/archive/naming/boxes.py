"""All boxes of a run as columns, without their vectors: a few dozen bytes each."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from trygon.archive.detection.detector import Thresholds
from trygon.archive.naming.events import Events
from trygon.labelling.decisions import CATEGORIES, UNKNOWN
from trygon.rows import Rows


@dataclass(frozen=True)
class Boxes(Rows):
    """Detections in frames that count: `frame_M` points into `Events`, `picture_M` is the number of the picture in a
    video and -1 in a still one, `corner_M4` are left, top, right and bottom, `category_M` a type of
    `decisions.CATEGORIES`."""

    detection_M: np.ndarray
    frame_M: np.ndarray
    picture_M: np.ndarray
    category_M: np.ndarray
    confidence_M: np.ndarray
    corner_M4: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, events: Events) -> tuple["Boxes", np.ndarray]:
        """From rows of DETECTION, and which rows those are: those of files that are gone are left out."""
        frame_M = events.frames_of(table["media_id"].to_numpy())
        rows = np.flatnonzero(frame_M >= 0)
        x, y, width, height = (table[name].to_numpy()[rows] for name in ("x", "y", "width", "height"))
        boxes = cls(
            table["detection_id"].to_numpy()[rows],
            frame_M[rows],
            table["frame_number"].fill_null(-1).to_numpy()[rows],
            _categories(table["category"])[rows],
            table["confidence"].to_numpy()[rows],
            np.stack([x, y, x + width, y + height], axis=1),
        )
        return boxes, rows

    @property
    def moment_M(self) -> np.ndarray:
        """The same for boxes of one picture, in the order of frames and of a video's pictures: (M,) int64."""
        return (self.frame_M.astype(np.int64) << 32) + self.picture_M + 1

    def __len__(self) -> int:
        return len(self.detection_M)


def sure_enough(table: pa.Table, thresholds: Thresholds) -> pa.Table:
    """The rows of DETECTION, or of BOX, that reach the least confidence of their category; all where there is none."""
    kept = np.ones(table.num_rows, bool)
    for category, least in thresholds.items():
        # As float32, like the confidence: else the threshold itself would not reach it.
        sure = table["confidence"].to_numpy() >= np.float32(least)
        kept &= sure | np.asarray(table["category"].to_numpy() != category, bool)
    return table if kept.all() else table.filter(pa.array(kept))


def _categories(column: pa.ChunkedArray) -> np.ndarray:
    encoded = column.combine_chunks().dictionary_encode()
    codes = [CATEGORIES.get(name, UNKNOWN) for name in encoded.dictionary.to_pylist()]
    return np.asarray(codes, np.int8)[encoded.indices.to_numpy()]
