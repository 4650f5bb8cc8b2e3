"""MegaDetector's weights through its own package: what they find, on which thread, and what is told where not."""

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torch import Tensor, nn

from trygon.archive.detection.detector import MEGADETECTOR_CATEGORIES, Box, DetectorFile
from trygon.archive.detection.megadetector import MegaDetector, find
from trygon.errors import TrygonError, UserError
from trygon.testing.detectors import ColouredBoxes, write_weights
from trygon_jobs.label import LabelConfig
from trygon_jobs.label_run import boxes_of


def _frame(width: int = 800, height: int = 600, **places: tuple[int, int, int, int]) -> Image.Image:
    frame = Image.new("RGB", (width, height), (40, 40, 40))
    for colour, place in places.items():
        frame.paste(colour, place)
    return frame


def _config(detector: str, **more: Any) -> LabelConfig:
    return LabelConfig(archive="a", model="m", labels="l", out="o", detector=detector, **more)


def _boxes(detector: MegaDetector, images: list[Image.Image]) -> list[list[Box]]:
    found = detector.detect(images)
    boxes = [it for it in found if it is not None]
    assert len(boxes) == len(found)
    return boxes


def test_animals_people_and_vehicles_are_found_where_they_are(tmp_path: Path) -> None:
    detector = MegaDetector(find(write_weights(tmp_path / "weights.pt")))
    all_of_them = _frame(red=(400, 300, 600, 450), lime=(40, 60, 120, 300), blue=(0, 540, 800, 600))
    tall = _frame(300, 600, red=(0, 300, 150, 600))
    found = _boxes(detector, [all_of_them, _frame(), tall, *[_frame()] * 20])
    assert [len(boxes) for boxes in found] == [3, 0, 1] + [0] * 20
    animal, person, vehicle = found[0]
    assert [box.category for box in found[0]] == ["animal", "person", "vehicle"]
    assert (animal.x, animal.y, animal.width, animal.height) == pytest.approx((0.5, 0.5, 0.25, 0.25), abs=0.01)
    assert (person.x, person.y, person.width, person.height) == pytest.approx((0.05, 0.1, 0.1, 0.4), abs=0.01)
    assert (vehicle.x, vehicle.width, vehicle.confidence) == pytest.approx((0, 1, 0.75), abs=0.01)
    (box,) = found[2]
    assert (box.x, box.y, box.width, box.height) == pytest.approx((0, 0.5, 0.5, 0.5), abs=0.01)


def test_pictures_that_were_cut_off_stay_so_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "megadetector"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    file = find(write_weights(tmp_path / "weights.pt"))
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    monkeypatch.delitem(sys.modules, "megadetector.detection.run_detector")
    monkeypatch.delitem(sys.modules, "megadetector.visualization.visualization_utils")
    MegaDetector(file)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_thresholds_are_those_of_the_version_or_of_the_user(tmp_path: Path) -> None:
    for version, least in (("v1000.0.0-larch", 0.2), ("v1000.0.0-redwood", 0.3), ("another", 0.2)):
        weights = write_weights(tmp_path / "a.pt", model_version_string=version)
        assert find(weights).card.confidence == least
    write_weights(tmp_path / "weights.pt")
    file = boxes_of(_config(str(tmp_path / "weights.pt"), person_threshold=0.85))
    assert isinstance(file, DetectorFile)
    frame = _frame(red=(0, 0, 90, 90), lime=(200, 200, 300, 300), blue=(500, 0, 600, 90))
    (boxes,) = _boxes(MegaDetector(file), [frame])
    assert [box.category for box in boxes] == ["animal", "vehicle"]
    (boxes,) = _boxes(MegaDetector(file.with_thresholds({"person": 0.8, "vehicle": 0.76})), [frame])
    assert [box.category for box in boxes] == ["animal", "person"]


def test_a_real_network_gives_the_packages_own_boxes_on_any_thread(tmp_path: Path) -> None:
    """YOLO11 of random weights, made to call something everywhere. Its layers note the shape that they met last."""
    tasks: Any = import_module("ultralytics.nn.tasks")
    torch.manual_seed(1)
    net = tasks.DetectionModel("yolo11n.yaml", nc=3, verbose=False)
    for branch in net.model[-1].cv3:
        nn.init.normal_(branch[-1].weight, std=1e6)
        nn.init.zeros_(branch[-1].bias)
    file = find(write_weights(tmp_path / "yolo11.pt", net, image_size=128))
    random = np.random.default_rng(0)
    sizes = [(160, 120), (120, 160), (128, 128), (200, 90)]
    images = [Image.fromarray(random.integers(0, 255, (height, width, 3), np.uint8)) for width, height in sizes]
    theirs = import_module("megadetector.detection.run_detector").load_detector(str(file.path), force_cpu=True)
    expected = []
    for image in images:
        with torch.inference_mode():
            rows = theirs.generate_detections_one_image(image, "one", file.card.confidence)["detections"]
        expected.append(sorted((MEGADETECTOR_CATEGORIES[row["category"]], row["conf"], *row["bbox"]) for row in rows))
    assert all(len(rows) > 5 for rows in expected)
    assert len({row[0] for rows in expected for row in rows}) > 1
    detector = MegaDetector(file)
    with ThreadPoolExecutor(4) as pool:
        for turn, boxes in enumerate(pool.map(lambda n: _boxes(detector, [images[n % 4]])[0], range(32))):
            rows = sorted((box.category, box.confidence, box.x, box.y, box.width, box.height) for box in boxes)
            assert rows == expected[turn % 4]


class OneByOne(ColouredBoxes):
    """Has memory for one frame."""

    def forward(self, image: Tensor, augment: bool = False) -> tuple[Tensor]:
        if len(image) > 1 or image.amax() > 0.99:
            raise MemoryError("this network takes one dark frame")
        return super().forward(image)


def test_frames_that_do_not_fit_together_are_taken_one_by_one_and_no_failure_is_a_blank(tmp_path: Path) -> None:
    detector = MegaDetector(find(write_weights(tmp_path / "weights.pt", OneByOne())))
    dim = _frame()
    dim.paste("#c00000", (0, 0, 90, 90))
    assert [len(boxes) for boxes in _boxes(detector, [dim, _frame(), dim])] == [1, 0, 1]
    with pytest.raises(TrygonError, match=r"weights\.pt failed on a frame"):
        _boxes(detector, [dim, _frame(white=(0, 0, 9, 9))])


@pytest.mark.parametrize(
    ("module", "kind", "packages"),
    [
        ("megadetector", "ultralytics", "megadetector=="),
        ("ultralytics", "ultralytics", "ultralytics"),
        ("yolov5", "yolov5", "ultralytics-yolov5"),
        ("yolov9", "yolov9", "yolov9pip"),
    ],
)
def test_missing_packages_are_told_with_how_to_get_them(
    module: str, kind: str, packages: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # what Python calls not installed
    write_weights(tmp_path / "weights.pt", model_type=kind)
    with pytest.raises(UserError, match=rf"{module}: pip install 'trygon\[megadetector\]' .*--no-deps {packages}"):
        boxes_of(_config(str(tmp_path / "weights.pt")))


def test_what_is_not_megadetectors_is_refused_and_only_a_named_file_is_read(tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "weights.pt")
    with pytest.raises(UserError, match="no such file"):
        boxes_of(_config(str(tmp_path)))  # a folder with weights in it
    with pytest.raises(UserError, match="all workers see"):
        boxes_of(_config("s3://bucket/weights.pt"))
    with pytest.raises(UserError, match=r"missing\.pt: no such file"):
        boxes_of(_config(str(tmp_path / "missing.pt")))
    other = weights.rename(tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"give its results with --detections"):
        boxes_of(_config(str(other)))
    weights.write_bytes(b"not a network")
    with pytest.raises(UserError, match=r"no file of PyTorch weights"):
        find(weights)
    file = DetectorFile(weights, find(write_weights(tmp_path / "other.pt")).card)
    with pytest.raises(UserError, match=r"weights\.pt cannot be loaded"):
        MegaDetector(file)
    with pytest.raises(UserError, match="of the kind rtdetr"):
        find(write_weights(weights, model_type="rtdetr"))
    with pytest.raises(UserError, match="finds 4 categories"):
        MegaDetector(find(write_weights(weights, ColouredBoxes(("cat", "dog", "cow", "emu")))))
