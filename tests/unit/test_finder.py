"""From files to vectors without Ray: what the tasks read and the workers find, and how many workers there are."""

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from trygon.archive.detection.detector import WHOLE_FRAMES, DetectorFile
from trygon.archive.detection.megadetector import find
from trygon.archive.finder import Finder
from trygon.archive.inputs.listing import Archive
from trygon.archive.pipeline import READ, Workers, frames_of
from trygon.archive.work import Work
from trygon.data.images import preprocess
from trygon.errors import UserError
from trygon.models.encoders import find_encoder
from trygon.models.folder import describe
from trygon.models.model import load_model
from trygon.testing.archives import frame_jpeg
from trygon.testing.detectors import write_tiny_detector, write_weights
from trygon.testing.tiny import write_tiny_model


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finder")
    write_tiny_model(root / "model")
    write_tiny_detector(root / "detector")
    (root / "archive").mkdir()
    for number in range(4):
        (root / f"archive/{number}.jpg").write_bytes(frame_jpeg(number, blank=number == 2))
    (root / "archive/4.jpg").write_bytes(b"")
    return root


def _frames(work: Work, root: Path) -> pa.Table:
    paths = sorted(path.name for path in (root / "archive").iterdir())
    rows = [{"part": 0, "media_id": n, "path": path, "deployment": "."} for n, path in enumerate(paths)]
    return pa.Table.from_pylist([it for listed in rows for it in frames_of(work).rows(listed)], READ)


def test_whole_frames_become_the_models_vectors_and_carry_no_more_than_it_is_fed(root: Path) -> None:
    work = Work(Archive(str(root / "archive")), find_encoder("torch", describe(str(root / "model"))), WHOLE_FRAMES)
    frames, finder, model = _frames(work, root), Finder(work, 2), load_model(root / "model", "cpu")
    assert set(frames["frame_width"].to_pylist()) == {model.side, None}
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(finder, [frames] * 4):
            rows = found.to_pylist()
            assert [row["failure"] for row in rows] == [None] * 4 + ["empty"]
            assert [len(row["detections"]) for row in rows] == [1, 1, 1, 1, 0]
            for row in rows[:4]:
                data = (root / "archive" / row["path"]).read_bytes()
                expected_1D = model.encode_images(preprocess(data, model.side, model.resize_mode)[None])
                np.testing.assert_allclose(row["detections"][0]["vector"], expected_1D[0], atol=2e-3)


def test_animals_become_boxes_with_vectors(root: Path) -> None:
    detector = DetectorFile.find(root / "detector")
    work = Work(Archive(str(root / "archive")), find_encoder("torch", describe(str(root / "model"))), detector)
    rows = Finder(work, 1)(_frames(work, root)).to_pylist()
    assert [len(row["detections"]) for row in rows] == [1, 1, 0, 1, 0]
    boxes = [box for row in rows for box in row["detections"]]
    assert len({box["detection_id"] for box in boxes}) == 3
    assert all(abs(np.linalg.norm(box["vector"]) - 1) < 1e-2 for box in boxes)


def test_frame_that_megadetector_cannot_prepare_is_a_row(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As YOLOv5's code, of which most versions are made, does not with what is so flat that its height becomes 0."""
    (tmp_path / "archive").mkdir()
    for name, height in (("a.png", 300), ("b.png", 1), ("c.png", 300)):
        Image.new("RGB", (3000, height), "red").save(tmp_path / "archive" / name)
    weights = find(write_weights(tmp_path / "weights.pt"))
    work = Work(Archive(str(tmp_path / "archive")), find_encoder("torch", describe(str(root / "model"))), weights)
    finder, package = Finder(work, 1), import_module("megadetector.detection.pytorch_detector")
    theirs = package.letterbox

    def letterbox(image: np.ndarray, new_shape: int, **options: Any) -> Any:
        size = [round(side * new_shape / max(image.shape)) for side in image.shape[1::-1]]
        return theirs(package.cv2.resize(image, size), new_shape=new_shape, **options)

    monkeypatch.setattr(package, "letterbox", letterbox)
    rows = finder(_frames(work, tmp_path)).to_pylist()
    assert [row["failure"] for row in rows] == [None, "undecodable", None]
    assert [len(row["detections"]) for row in rows] == [1, 0, 1]


@pytest.mark.parametrize(
    ("cpus", "gpus", "wanted", "on_gpu", "expected"),
    [
        (4, 0, 0, True, (1, 4, 2.0, 0)),
        (2, 0, 0, True, (1, 4, 1.0, 0)),
        (64, 0, 0, True, (16, 4, 2.0, 0)),
        (4, 0, 4, True, (4, 4, 0.5, 0)),
        (16, 2, 0, True, (2, 2, 1, 1)),
        (16, 2, 0, False, (4, 4, 2.0, 0)),
    ],
)
def test_half_of_the_cpus_stay_for_decoding(
    cpus: int, gpus: int, wanted: int, on_gpu: bool, expected: tuple[int, int, float, int]
) -> None:
    workers = Workers.fit({"CPU": cpus, "GPU": gpus}, wanted, on_gpu)
    assert (workers.num, workers.num_threads, workers.num_cpus, workers.num_gpus) == expected
    assert workers.num * workers.num_cpus <= cpus / 2


def test_workers_of_a_cluster_that_has_no_nodes_yet_are_as_the_user_says() -> None:
    def fit(wanted: int = 0, use_gpu: bool | None = None, **resources: float) -> tuple[int, float, int]:
        workers = Workers.fit(resources, wanted, True, use_gpu, may_grow=True)
        return workers.num, workers.num_cpus, workers.num_gpus

    assert fit(8, use_gpu=True) == (8, 1, 1)
    assert fit(8, use_gpu=True, CPU=16, GPU=1) == (8, 1, 1)
    assert fit(use_gpu=True, CPU=32, GPU=2) == (2, 1, 1)
    assert fit(8) == fit(8, use_gpu=False) == (8, 2, 0)
    assert fit(CPU=32, GPU=2) == (2, 1, 1)
    assert fit(CPU=32, GPU=2, use_gpu=False) == (8, 2, 0)
    for use_gpu, what in ((True, "no GPU yet"), (None, "no CPUs yet"), (False, "no CPUs yet")):
        with pytest.raises(UserError, match=f"{what}.*--num-workers"):
            fit(use_gpu=use_gpu)


def test_gpus_that_are_asked_for_are_there_or_it_is_told() -> None:
    machine = {"CPU": 8.0, "GPU": 2.0}
    assert Workers.fit(machine, 2, use_gpu=True).num_gpus == 1
    with pytest.raises(UserError, match="4 workers need as many GPUs, and there are 2: give --num-workers 2, or"):
        Workers.fit(machine, 4, use_gpu=True)
    with pytest.raises(UserError, match="there are 0: give --no-use-gpu"):
        Workers.fit({"CPU": 8.0}, use_gpu=True)
