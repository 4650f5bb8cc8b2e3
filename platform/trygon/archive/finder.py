"""What holds the networks in a worker: decoded frames in, detections with their vectors out. Knows nothing of Ray."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from trygon.archive.detection.detector import WHOLE_FRAME, Box, Detector, DetectorFile, crop
from trygon.archive.detection.megadetector import MegaDetector, is_weights
from trygon.archive.media.frames import FRAME
from trygon.archive.work import Work
from trygon.data.images import square, to_array
from trygon.models.encoders import load_encoder
from trygon.schemas import DETECTION, MEDIA
from trygon.storage import stable_id

FOUND = pa.schema(
    [
        pa.field("part", pa.int64()),
        *MEDIA,
        FRAME.field("num_rows"),
        pa.field("detections", pa.list_(pa.struct(list(DETECTION)))),
    ]
)
"""One row a frame."""


class Finder:
    """Detector and encoder, for `num_threads` threads that call at once: each is busy with a batch of its own, so that
    no CPU waits while another one prepares crops."""

    def __init__(self, work: Work, num_threads: int) -> None:
        self._tower = work.encoder.tower
        self._encoder = load_encoder(work.encoder, num_threads)
        self._detector = _load_detector(work.boxes) if isinstance(work.boxes, DetectorFile) else None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A batch of frames to rows of FOUND."""
        rows = batch.to_pylist()
        readable = [row for row in rows if row["frame"] is not None]
        images = [Image.frombuffer("RGB", (row["frame_width"], row["frame_height"]), row["frame"]) for row in readable]
        found = []
        for row, boxes in zip(readable, self._find(readable, images), strict=True):
            row["failure"] = "undecodable" if boxes is None else row["failure"]
            found.append(boxes or [])
        crops = [
            to_array(square(crop(image, box), self._tower.side, self._tower.resize_mode))
            for image, boxes in zip(images, found, strict=True)
            for box in boxes
        ]
        vector_BD = self._encoder.encode_images(np.stack(crops)) if crops else np.zeros((0, 0), np.float32)
        vectors = iter(vector_BD.astype(np.float16))
        for row, boxes in zip(readable, found, strict=True):
            row["detections"] = [_detection(row, box, next(vectors)) for box in boxes]
        rows = [{"detections": []} | row for row in rows]
        return pa.Table.from_pylist(rows, FOUND)

    def _find(self, rows: list[dict[str, Any]], images: list[Image.Image]) -> Sequence[list[Box] | None]:
        """The boxes of each frame; None where the detector cannot take it."""
        if all(row["boxes"] is not None for row in rows):
            return [[Box(**box) for box in row["boxes"]] for row in rows]
        if self._detector is None:
            return [[WHOLE_FRAME] for _ in rows]
        if isinstance(self._detector, MegaDetector):
            return self._detector.detect(images)
        side = self._detector.card.input_side
        inputs = [np.frombuffer(row["input"], np.uint8).reshape(side, side, 3) for row in rows]
        return self._detector.detect(np.stack(inputs), [image.size for image in images]) if inputs else []


def _load_detector(file: DetectorFile) -> Detector | MegaDetector:
    # A session whose operations take one thread runs in those that call it.
    return MegaDetector(file) if is_weights(file.path) else Detector(file, 1)


def _detection(row: Mapping[str, Any], box: Box, vector_D: np.ndarray) -> dict[str, Any]:
    frame = () if row["frame_number"] is None else (str(row["frame_number"]),)
    return {
        "detection_id": stable_id("detection", str(row["media_id"]), str(row["digest"]), *box.key, *frame),
        "media_id": row["media_id"],
        "frame_number": row["frame_number"],
        "category": box.category,
        "confidence": box.confidence,
        "x": box.x,
        "y": box.y,
        "width": box.width,
        "height": box.height,
        "vector": vector_D,
    }
