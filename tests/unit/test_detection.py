"""The geometry around the detector, and a real ONNX file with its contract."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trygon.archive.detection.detector import Box, Detector, DetectorFile, crop, iou, letterbox, suppress
from trygon.errors import UserError
from trygon.testing.detectors import write_tiny_detector


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a detector: making one takes some seconds."""
    return write_tiny_detector(tmp_path_factory.mktemp("detector")).parent


def test_letterbox_is_top_left_on_black() -> None:
    canvas_SSC = letterbox(Image.new("RGB", (200, 100), "white"), 64)
    assert canvas_SSC.shape == (64, 64, 3)
    assert canvas_SSC[:32].min() == 255
    assert canvas_SSC[32:].max() == 0


def test_suppression_keeps_the_best_of_overlapping_boxes() -> None:
    corner_N4 = np.asarray([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]], float)
    assert suppress(corner_N4, np.asarray([0.5, 0.9, 0.6]), 0.45) == [1, 2]
    assert suppress(np.zeros((0, 4)), np.zeros(0), 0.45) == []


def test_iou() -> None:
    found = iou(np.asarray([0, 0, 2, 2.0]), np.asarray([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6.0]]))
    assert found == pytest.approx([1, 1 / 3, 0])


@pytest.mark.parametrize("place", [(0.4, 0.4, 0.2, 0.1), (0.0, 0.0, 0.1, 0.3), (0.9, 0.95, 0.1, 0.05), (0, 0, 1, 1)])
def test_crop_is_square_with_a_margin_and_within_the_frame(place: tuple[float, float, float, float]) -> None:
    cut = crop(Image.new("RGB", (400, 300)), Box(*place, 0.9, "animal"))
    longer = max(place[2] * 400, place[3] * 300) * 1.1
    assert cut.width == pytest.approx(min(longer, 400), abs=1)
    assert cut.height == pytest.approx(min(longer, 300), abs=1)


def test_detector_finds_the_bright_square_where_it_is(written: Path) -> None:
    detector = Detector(DetectorFile.find(written), num_threads=1)
    frame = Image.new("RGB", (800, 600), (10, 10, 10))
    frame.paste((255, 255, 255), (400, 300, 600, 450))
    blank = Image.new("RGB", (800, 600), (10, 10, 10))
    inputs = np.stack([letterbox(image, detector.card.input_side) for image in (frame, blank)])
    (boxes, nothing) = detector.detect(inputs, [frame.size, blank.size])
    assert nothing == []
    (box,) = boxes
    assert (box.x, box.y, box.width, box.height) == pytest.approx((0.5, 0.5, 0.25, 0.25), abs=0.03)
    assert box.category == "animal"
    assert 0.25 <= box.confidence <= 1


def test_folder_and_file_name_the_same_detector(written: Path) -> None:
    assert DetectorFile.find(written).digest == DetectorFile.find(written / "detector.onnx").digest


def test_missing_and_broken_detectors_are_one_line(written: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        DetectorFile.find(tmp_path / "detector.onnx")
    path = Path(shutil.copytree(written, tmp_path, dirs_exist_ok=True), "detector.onnx")
    path.write_bytes(b"not a network")
    with pytest.raises(UserError, match="cannot be loaded"):
        Detector(DetectorFile.find(path))
    path.with_name("detector.json").write_text('{"input_side": "wide"}')
    with pytest.raises(UserError, match=r"detector\.json"):
        DetectorFile.find(path)
