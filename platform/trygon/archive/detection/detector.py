"""Where the animals are: an ONNX detector, its letterbox and suppression, and the crop of a box.

Shapes: B frames, S the detector's side, N candidate boxes. Pixels have their origin top left.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from trygon.errors import UserError
from trygon.storage import digest_file, read_json

CROP_MARGIN = 0.1
"""A crop is this much wider than the longer side of its box: a little surrounding helps to name what is in it."""

MEGADETECTOR_CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle"}
"""MegaDetector's numbers for what it finds; SpeciesNet has the same."""

_MIN_SIDE_PX = 4
"""A box narrower than this in the detector's input is noise."""


Thresholds = Mapping[str, float]
"""The least confidence at which a box of a category counts."""


class DetectorCard(BaseModel):
    """`detector.json` beside an ONNX file. A side of 0: the detector takes whole frames and scales them itself."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    input_side: int = 640
    confidence: float = 0.25
    nms: float = 0.45
    categories: tuple[str, ...] = ("animal",)
    thresholds: Thresholds = {}
    """The least confidence of a category, where it is not `confidence`."""

    def least(self) -> dict[str, float]:
        """The least confidence of each category."""
        return {name: self.thresholds.get(name, self.confidence) for name in self.categories}

    def threshold_C(self) -> np.ndarray:
        """The same, (C,) float32."""
        return np.asarray(list(self.least().values()), np.float32)


@dataclass(frozen=True, slots=True)
class Box:
    """Left, top, width, height, each 0..1 of the upright frame."""

    x: float
    y: float
    width: float
    height: float
    confidence: float
    category: str

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others in its frame: its category and its place, to four digits."""
        return self.category, f"{self.x:.4f} {self.y:.4f} {self.width:.4f} {self.height:.4f}"


WHOLE_FRAME = Box(0.0, 0.0, 1.0, 1.0, 1.0, "frame")
"""What stands for a detection where no detector runs."""


class BoxSource(Protocol):
    """What says where the animals of a frame are: a detector, another program's result file, or nothing at all."""

    @property
    def name(self) -> str | None:
        """What people call it; None where nothing looks for boxes."""
        ...

    @property
    def digest(self) -> str:
        """Another one whenever it may give other boxes."""
        ...

    def least(self) -> Mapping[str, float]:
        """The least confidence of the boxes that it gives, by category."""
        ...


@dataclass(frozen=True)
class WholeFrames:
    """Nothing looks for animals: a frame counts as a whole."""

    name: str | None = None
    digest: str = "none"

    def least(self) -> Mapping[str, float]:
        """None: what stands for a detection is always sure."""
        return {}


WHOLE_FRAMES = WholeFrames()


@dataclass(frozen=True)
class DetectorFile:
    """A detector as files, checked but not loaded."""

    path: Path
    card: DetectorCard

    @classmethod
    def find(cls, path: Path) -> "DetectorFile":
        """From the ONNX file or its folder. `UserError` where a part is missing."""
        onnx = next(iter(sorted(path.glob("*.onnx"))), path / "detector.onnx") if path.is_dir() else path
        if not onnx.is_file():
            raise UserError(
                f"--detector {onnx}: no such file; `trygon sample` brings one, `--detector none` does without"
            )
        if onnx.suffix != ".onnx":
            raise UserError(
                f"--detector {onnx} is neither ONNX nor MegaDetector's weights (.pt): run it where it runs, "
                "and give its results with --detections"
            )
        try:
            return cls(onnx, DetectorCard.model_validate(read_json(onnx.with_name("detector.json"))))
        except ValidationError as error:
            raise UserError(f"{onnx.with_name('detector.json')}: {error.errors()[0]['msg']}") from error

    def with_thresholds(self, thresholds: Thresholds) -> "DetectorFile":
        """The same with other thresholds for some categories."""
        card = self.card.model_copy(update={"thresholds": {**self.card.thresholds, **thresholds}})
        return DetectorFile(self.path, card)

    @property
    def name(self) -> str:
        """As its card has it."""
        return self.card.name

    @property
    def digest(self) -> str:
        """SHA-256 of the file, and the settings that decide what it finds."""
        return f"{digest_file(self.path)}:{self.card.model_dump_json()}"

    def least(self) -> Mapping[str, float]:
        """The least confidence of each category."""
        return self.card.least()


class Detector:
    """A loaded detector: uint8 letterboxed frames (B, S, S, 3) to candidate boxes.

    Input `image` float32 (B, 3, S, S), RGB 0..255; output (B, N, 5 + categories): centre x, y, width, height in input
    pixels, objectness, score of each category.
    """

    def __init__(self, file: DetectorFile, num_threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or os.cpu_count() or 1
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        available = onnxruntime.get_available_providers()
        try:
            self._session = onnxruntime.InferenceSession(
                str(file.path), options, providers=[name for name in wanted if name in available]
            )
        except Exception as error:
            raise UserError(f"--detector {file.path} cannot be loaded: {str(error).splitlines()[0]}") from error
        self.card = file.card

    def detect(self, frame_BSSC: np.ndarray, sizes: Sequence[tuple[int, int]]) -> list[list[Box]]:
        """The boxes of every frame, best first. `sizes` are widths and heights before the letterbox."""
        if not len(frame_BSSC):
            return []
        image_BCSS = np.ascontiguousarray(frame_BSSC.transpose(0, 3, 1, 2), np.float32)
        name = self._session.get_inputs()[0].name
        found_BNK = np.asarray(self._session.run(None, {name: image_BCSS})[0])
        return [self._boxes(found_NK, size) for found_NK, size in zip(found_BNK, sizes, strict=True)]

    def _boxes(self, found_NK: np.ndarray, size: tuple[int, int]) -> list[Box]:
        card = self.card
        score_NC = found_NK[:, 4:5] * found_NK[:, 5:]
        category_N, score_N = score_NC.argmax(1), score_NC.max(1)
        rows = np.flatnonzero(score_N >= card.threshold_C()[category_N.clip(max=len(card.categories) - 1)])
        corner_N4 = corners(found_NK[rows, :4])
        kept = suppress(corner_N4, score_N[rows], card.nms)
        # The letterbox is top left, so the frame ends where its scaled size does.
        scale = card.input_side / max(size)
        limit = np.asarray([size[0] * scale, size[1] * scale] * 2)
        boxes = []
        for index in kept:
            left, top, right, bottom = np.clip(corner_N4[index], 0, limit)
            if min(right - left, bottom - top) < _MIN_SIDE_PX:
                continue
            x, y, width, height = np.asarray([left, top, right - left, bottom - top]) / limit
            row = rows[index]
            category = card.categories[min(int(category_N[row]), len(card.categories) - 1)]
            boxes.append(Box(float(x), float(y), float(width), float(height), float(score_N[row]), category))
        return boxes


def letterbox(image: Image.Image, side: int) -> np.ndarray:
    """An RGB frame scaled into the top left of a black square: (S, S, 3) uint8."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas_SSC = np.zeros((side, side, 3), np.uint8)
    canvas_SSC[: size[1], : size[0]] = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    return canvas_SSC


def corners(box_N4: np.ndarray) -> np.ndarray:
    """Centre x, y, width, height to left, top, right, bottom: (N, 4)."""
    half_N2 = box_N4[:, 2:] / 2
    return np.concatenate([box_N4[:, :2] - half_N2, box_N4[:, :2] + half_N2], 1)


def suppress(corner_N4: np.ndarray, score_N: np.ndarray, max_iou: float) -> list[int]:
    """Greedy non-maximum suppression: positions of the boxes that stay, best first."""
    order, kept = np.argsort(-score_N, kind="stable"), []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[iou(corner_N4[best], corner_N4[rest]) <= max_iou]
    return kept


def iou(box_4: np.ndarray, box_N4: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with others, as corners: (N,). Of as many (N, 4), each with its own."""
    left, top, right, bottom = box_4.T
    left_N, top_N, right_N, bottom_N = box_N4.T  # column by column: pairs of two numbers are slow to multiply
    width_N = np.maximum(np.minimum(right, right_N) - np.maximum(left, left_N), 0)
    height_N = np.maximum(np.minimum(bottom, bottom_N) - np.maximum(top, top_N), 0)
    shared_N = width_N * height_N
    total_N = (right - left) * (bottom - top) + (right_N - left_N) * (bottom_N - top_N)
    return shared_N / np.maximum(total_N - shared_N, 1e-9)


def crop(image: Image.Image, box: Box) -> Image.Image:
    """The box, widened to a square with a margin, and moved into the frame where it would stick out."""
    width, height = box.width * image.width, box.height * image.height
    side = max(width, height) * (1 + CROP_MARGIN)
    spans = []
    for start, length, limit in (
        (box.x * image.width, width, image.width),
        (box.y * image.height, height, image.height),
    ):
        span = min(max(side, 1.0), limit)
        low = min(max(start + length / 2 - span / 2, 0), limit - span)
        spans.append((round(low), max(round(low + span), round(low) + 1)))
    (left, right), (top, bottom) = spans
    return image.crop((left, top, right, bottom))
