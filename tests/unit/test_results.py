"""Result files of MegaDetector and SpeciesNet as detections."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trygon.archive.detection.results import ResultFile
from trygon.archive.inputs.listing import Archive
from trygon.archive.media.frames import Frames
from trygon.archive.media.reading import Reading
from trygon.archive.media.video import Sampling
from trygon.errors import UserError
from trygon.testing.videos import write_video

PATHS = ["north/IMG_1.JPG", "north/IMG_2.JPG", "south/IMG_1.JPG", "south/clip.avi"]
ROOT = "/archives/season 3"


def _box(confidence: float, category: str = "1", **more: Any) -> dict[str, Any]:
    return {"category": category, "conf": confidence, "bbox": [0.1, 0.2, 0.3, 0.4], **more}


def _megadetector(prefix: str = "", version: str | None = "1.6", **more: Any) -> dict[str, Any]:
    images: list[dict[str, Any]] = [
        {"file": f"{prefix}north/IMG_1.JPG", "detections": [_box(0.3), _box(0.9, "2"), _box(0.05)]},
        {"file": f"{prefix}north/IMG_2.JPG", "detections": []},
        {"file": f"{prefix}south/IMG_1.JPG", "detections": None, "failure": "image access failure"},
        {"file": f"{prefix}gone.JPG", "detections": []},
    ]
    info = {"format_version": version} if version else {}
    return {"images": images, "detection_categories": {"1": "animal", "2": "person"}, "info": info, **more}


def _write(folder: Path, content: Any) -> str:
    place = folder / "results.json"
    place.write_text(json.dumps(content))
    return str(place)


def test_thresholds_are_those_given_else_the_typical_one_of_the_file(tmp_path: Path) -> None:
    place = _write(tmp_path, _megadetector())
    assert ResultFile(place, {"person": 0.5}).least() == {"animal": 0.2, "person": 0.5, "vehicle": 0.2}
    typical = {"detector_metadata": {"typical_detection_threshold": 0.3}}
    place = _write(tmp_path, _megadetector() | {"info": typical})
    assert ResultFile(place).least() == {"animal": 0.3, "person": 0.3, "vehicle": 0.3}


@pytest.mark.parametrize(
    "about", ["x", None, [], *({"typical_detection_threshold": it} for it in (None, "unknown", True, 20, [0.3]))]
)
def test_typical_threshold_that_is_no_confidence_is_none(about: Any, tmp_path: Path) -> None:
    place = _write(tmp_path, _megadetector() | {"info": {"detector_metadata": about}})
    assert ResultFile(place).least() == {"animal": 0.2, "person": 0.2, "vehicle": 0.2}


@pytest.mark.parametrize("name", ["images", "predictions"])
@pytest.mark.parametrize("entry", [None, "north/IMG_1.JPG", ["north/IMG_1.JPG"]])
def test_entry_that_is_no_object_ends_in_a_line_that_says_which(name: str, entry: Any, tmp_path: Path) -> None:
    first = {"file": PATHS[0], "filepath": PATHS[0], "detections": []}
    place = _write(tmp_path, {name: [first, entry]})
    with pytest.raises(UserError, match=f"entry 2 of `{name}` is no object"):
        ResultFile(place).read(ROOT, PATHS)


@pytest.mark.parametrize("prefix", ["", "/mnt/disk/", "C:\\cards\\season 3\\", "./"])
@pytest.mark.parametrize("version", ["1.0", "1.6", None])
def test_megadetector_results_are_found_whatever_stands_before_the_paths(
    prefix: str, version: str | None, tmp_path: Path
) -> None:
    results = ResultFile(_write(tmp_path, _megadetector(prefix, version))).read(ROOT, PATHS)
    given = results.of("north/IMG_1.JPG")
    assert given is not None
    assert [(box.category, round(box.confidence, 3)) for _, box in given.boxes] == [("person", 0.9), ("animal", 0.3)]
    box = given.boxes[0][1]
    assert (box.x, box.y, box.width, box.height) == pytest.approx((0.1, 0.2, 0.3, 0.4))
    blank, failed = results.of("north/IMG_2.JPG"), results.of("south/IMG_1.JPG")
    assert blank is not None
    assert (blank.failed, blank.boxes) == (False, ())
    assert failed is not None
    assert failed.failed
    assert results.of("south/clip.avi") is None


def _of_a_disk(*folders: str) -> dict[str, Any]:
    """The same names in each of the folders, with as many boxes as its number in the row."""
    images = [
        {"file": f"{folder}{path}", "detections": [_box(0.9)] * number}
        for number, folder in enumerate(folders, 1)
        for path in PATHS[:3]
    ]
    return {"images": images}


@pytest.mark.parametrize(
    ("folders", "root", "num_boxes"),
    [
        (("season 2/", "season 3/"), "/archives/season 3", 2),
        (("season 2/", "season 3/"), "s3://archives/season 2/", 1),
        (("season 2/", "season 3/"), "s3://archives/season 2/?region=eu-west-1", 1),
        (("season 2/", "season 3/"), "/archives/season 3.ZIP", 2),
        (("season 2/", "season 3/"), "s3://archives/season 3.tar.gz?scheme=http&region=eu-west-1", 2),
        (("old/season 3/", "new/season 3/", "season 3/"), "/disk/new/season 3", 2),
    ],
)
def test_boxes_are_those_of_the_archives_own_folder(
    folders: tuple[str, ...], root: str, num_boxes: int, tmp_path: Path
) -> None:
    results = ResultFile(_write(tmp_path, _of_a_disk(*folders))).read(root, PATHS)
    given = [results.of(path) for path in PATHS]
    assert [it and len(it.boxes) for it in given] == [num_boxes, num_boxes, num_boxes, None]


def test_the_folder_is_found_behind_all_others(tmp_path: Path) -> None:
    content = _of_a_disk("season 2/", "season 3/")
    content["images"][3:3] = [{"file": f"season 2/more/{number}.jpg", "detections": []} for number in range(3000)]
    given = ResultFile(_write(tmp_path, content)).read(ROOT, PATHS).of(PATHS[0])
    assert given is not None
    assert len(given.boxes) == 2


def test_folders_that_the_archive_may_all_be_are_told(tmp_path: Path) -> None:
    place = _write(tmp_path, _of_a_disk("season 2/", "season 3/"))
    with pytest.raises(
        UserError, match="such as 'season 2/' and 'season 3/', and the archive's own path does not say"
    ):
        ResultFile(place).read("/archives/today", PATHS)


def test_merged_files_of_several_disks_serve_an_archive_that_has_both(tmp_path: Path) -> None:
    ours = {"D:\\cards\\batch1\\": ["cam1/1.jpg", "cam1/2.jpg", "cam1/3.jpg"], "E:\\batch2\\": ["cam2/1.jpg"]}
    images = [{"file": f"{begin}{path}", "detections": [_box(0.9)]} for begin, paths in ours.items() for path in paths]
    by_chance = [{"file": f"F:/other/{path}", "detections": []} for path in ("cam2/2.jpg", "cam7/1.jpg", "cam8/1.jpg")]
    paths = [*(path for paths in ours.values() for path in paths), "cam2/2.jpg"]
    results = ResultFile(_write(tmp_path, {"images": images + by_chance})).read("/archives/today", paths)
    assert [bool(results.of(path)) for path in paths] == [True, True, True, True, False]
    rival = [{"file": "F:/old/cam2/1.jpg", "detections": []}]
    place = _write(tmp_path, {"images": images + rival})
    with pytest.raises(UserError, match="such as 'F:/old/' and 'E:/batch2/'"):
        ResultFile(place).read("/archives/today", paths)
    found = ResultFile(place).read("/archives/old", paths).of("cam2/1.jpg")
    assert found is not None
    assert not found.boxes


def test_names_that_repeat_on_another_level_lead_nowhere_else(tmp_path: Path) -> None:
    images = [{"file": f"{path}", "detections": []} for path in ("a/1.jpg", "a/b/1.jpg", "a/b/2.jpg")]
    results = ResultFile(_write(tmp_path, {"images": images})).read(ROOT, ["1.jpg", "b/1.jpg", "b/2.jpg"])
    assert all(results.of(path) for path in ("1.jpg", "b/1.jpg", "b/2.jpg"))


def test_thresholds_are_those_given_then_the_files_then_the_usual(tmp_path: Path) -> None:
    def found(content: Any, **thresholds: float) -> list[str]:
        given = ResultFile(_write(tmp_path, content), thresholds).read(ROOT, PATHS).of("north/IMG_1.JPG")
        assert given is not None
        return [box.category for _, box in given.boxes]

    typical = {"detector_metadata": {"typical_detection_threshold": 0.5}}
    assert found(_megadetector()) == ["person", "animal"]
    assert found(_megadetector(info=typical)) == ["person"]
    assert found(_megadetector(info=typical), animal=0.01) == ["person", "animal", "animal"]
    assert found(_megadetector(), person=0.95) == ["animal"]


def test_both_shapes_of_speciesnet(tmp_path: Path) -> None:
    whole = {
        "filepath": "north/IMG_1.JPG",
        "detections": [_box(0.8, "2", label="human")],
        "prediction": "x;;;;;;human",
    }
    each = {"filepath": "north/IMG_2.JPG", "detections": [_box(0.7, "1", label="animal", prediction="x;;;;;;animal")]}
    each["failures"] = 5  # which says nothing
    broken = {"filepath": "south/IMG_1.JPG", "failures": ["DETECTOR"]}
    unseen = {"filepath": "south/clip.avi", "classifications": {"classes": [], "scores": []}}
    results = ResultFile(_write(tmp_path, {"predictions": [whole, each, broken, unseen]})).read(ROOT, PATHS)
    found = [results.of(path) for path in PATHS]
    assert [(it.failed, [box.category for _, box in it.boxes]) for it in found if it] == [
        (False, ["person"]),
        (False, ["animal"]),
        (True, []),
        (True, []),
    ]


def test_entry_that_makes_no_sense_has_failed_and_boxes_stay_in_the_frame(tmp_path: Path) -> None:
    content = _megadetector()
    for path, detection in (("a.jpg", {"bbox": [0, 1]}), ("b.jpg", _box(0.9, "7")), ("c.jpg", "a lion")):
        content["images"].append({"file": path, "detections": [detection]})
    content["images"].append({"file": "d.jpg", "detections": [_box(0.9) | {"bbox": [-0.1, 0.9, 0.5, 0.5]}]})
    results = ResultFile(_write(tmp_path, content)).read(ROOT, [*PATHS, "a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    given = [results.of(f"{name}.jpg") for name in "abcd"]
    assert [it.failed for it in given if it] == [True, True, True, False]
    assert given[3] is not None
    ((_, box),) = given[3].boxes
    assert (box.x, box.y, box.width, box.height) == pytest.approx((0, 0.9, 0.4, 0.1))


@pytest.mark.parametrize("bbox", [[1.0, 0.2, 0.1, 0.1], [0.2, -0.5, 0.1, 0.5], [0.2, 0.2, 0.0, 0.3]])
def test_boxes_of_which_nothing_is_in_the_frame_are_left_out(bbox: list[float], tmp_path: Path) -> None:
    content = {"images": [{"file": PATHS[0], "detections": [_box(0.9) | {"bbox": bbox}, _box(0.8)]}]}
    given = ResultFile(_write(tmp_path, content)).read(ROOT, PATHS).of(PATHS[0])
    assert given is not None
    assert [box.x for _, box in given.boxes] == pytest.approx([0.1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [{"file": "elsewhere.jpg", "detections": []}]}', "speaks of no file of the archive"),
        ('{"annotations": []}', "has neither"),
        ('{"images": [{"file": "north/', "no whole JSON"),
        ('{"images": [{"detections": []}]}', "no 'file'"),
    ],
)
def test_what_is_no_result_file_of_the_archive_is_told(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=message):
        ResultFile(str(tmp_path / "results.json")).read(ROOT, PATHS)


def test_frames_take_the_boxes_and_files_without_are_told(tmp_path: Path) -> None:
    for path in PATHS[:3]:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / path)
    (tmp_path / PATHS[3]).write_bytes(write_video("avi", 3))
    content = _megadetector()
    again = _box(0.8, frame_number=7)
    again["bbox"][0] += 0.00001  # another program rounded it otherwise
    boxes = [_box(0.9, frame_number=7), _box(0.5, frame_number=21), again]
    content["images"][3] = {
        "file": PATHS[3],
        "detections": boxes,
        "frame_rate": 10,
        "frames_processed": [0, 7, 14, 21],
    }
    del content["images"][1]
    results = ResultFile(_write(tmp_path, content)).read(ROOT, PATHS)
    frames = Frames(Archive(str(tmp_path)), reading=Reading(sampling=Sampling(1, 60)), results=results)
    (first,), (second,), (third,), clip = (list(frames.rows({"path": path})) for path in PATHS)
    assert [box["category"] for box in first["boxes"]] == ["person", "animal"]
    assert (second["failure"], third["failure"]) == ("not_in_detections", "failed_in_detections")
    assert len(second["digest"]) == 64
    assert [(row["frame_number"], len(row["boxes"])) for row in clip] == [(7, 1), (21, 1)]  # one box is there twice
    surest = Frames(Archive(str(tmp_path)), reading=Reading(sampling=Sampling(1, 1)), results=results)
    assert [row["frame_number"] for row in surest.rows({"path": PATHS[3]})] == [7]
