"""`trygon label` and `export` on small archives, through the command line: what comes out, and what is refused.

On S3 labelling runs with a Ray of its own, elsewhere in this process with the one that the tests share.
"""

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.tables import read_table
from trygon.data.images import preprocess
from trygon.models.model import load_model
from trygon.storage import digest_file, exists, join, list_files, read_bytes
from trygon.testing.archives import BROKEN, frame_jpeg, write_tiny_archive
from trygon.testing.commands import label_words, told, trygon
from trygon.testing.detectors import write_weights
from trygon.testing.s3 import Fault, FaultyS3, Kind, bring, using
from trygon.testing.tiny import write_tiny_model
from trygon.testing.videos import write_video

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def _words(place: Path, archive: str, out: str, *more: str) -> list[str]:
    """With whole paths of what workers read: those of the shared Ray were started in another folder."""
    return label_words(str(place / archive), str(place / out), *more)


def _label(place: Path, archive: str, out: str, *more: str) -> subprocess.CompletedProcess[str]:
    result = told(*_words(place, archive, out, *more), cwd=place)
    assert result.returncode == 0, result.stderr
    return result


def test_archive_becomes_tables_exports_and_a_page(place: Path) -> None:
    num_files = write_tiny_archive(place / "archive")
    result = _label(place, "archive", "run", "--part-size", "4", "--confidence-floor", "0.2")
    run = place / "run"
    media = pq.read_table(run / "media.parquet").to_pylist()
    assert len({row["media_id"] for row in media}) == len(media) == num_files
    assert {row["path"]: row["failure"] for row in media if row["failure"]} == BROKEN
    assert {row["deployment"] for row in media} == {"a", "b", "c"}
    assert sum(row["timestamp"] is not None for row in media) == num_files - 2

    observations = pq.read_table(run / "observations.parquet").to_pylist()
    kinds = [row["type"] for row in observations]
    assert (kinds.count("animal"), kinds.count("blank")) == (8, 4)
    assert all(row["kingdom"] == "Animalia" for row in observations if row["rank"])
    detections = pq.read_table(run / "vectors").to_pylist()
    assert len(detections) == 8
    assert {len(row["vector"]) for row in detections} == {16}

    summary = json.loads((run / "summary.json").read_text())
    assert (summary["num_files"], summary["num_blank"], summary["num_failed"]) == (num_files, 4, 3)
    assert summary["num_ignored"] == 1
    assert f"{num_files} images of 3 cameras: 8 with animals, 4 blank, 3 could not be read" in result.stdout
    with (run / "failures.csv").open(encoding="utf-8-sig") as file:
        assert {row["path"]: row["failure"] for row in csv.DictReader(file)} == BROKEN
    assert (run / "export/camtrap-dp/datapackage.json").is_file()
    page = (run / "report/index.html").read_text()
    assert len(list((run / "report/pictures").iterdir())) == 12
    assert 'src="http' not in page
    assert all(path in page for path in BROKEN)


def test_a_run_is_named_anew_with_examples(place: Path) -> None:
    """Bright squares that random weights call anything are named by pictures of them."""
    _require_run(place)
    cow = "Animalia;Chordata;Mammalia;Artiodactyla;Bovidae;Bos;taurus"
    for name, number in (("raven", 1), ("Stripes", 4), (cow, 0)):
        (place / "shots" / name).mkdir(parents=True)
        (place / "shots" / name / "one.jpg").write_bytes(frame_jpeg(number, blank=name == "Stripes"))
    words = ["label", "--from", "run", "--out", "shown", "--examples", "shots"]
    result = told(*words, "--examples-only", "--confidence-floor", "0.1", cwd=place)
    assert result.returncode == 0, result.stderr
    assert "3 pictures of examples are embedded first" in result.stderr
    observations = pq.read_table(place / "shown/observations.parquet").to_pylist()
    named = [row for row in observations if row["scientific"]]
    assert len(named) == 8
    assert {row["scientific"] for row in named} <= {"Corvus corax", "Stripes", "Bos taurus"}
    assert {row["decided_by"] for row in named} <= {"few_shot", "rollup"}
    columns = ["event_id", "deployment", "start", "end", "num_media"]
    events, named_events = (pq.read_table(place / run / "events.parquet", columns=columns) for run in ("run", "shown"))
    assert named_events.equals(events)
    joined = told(*words, cwd=place)
    assert joined.returncode == 0, joined.stderr
    assert "embedded first" not in joined.stderr  # they were kept
    assert Run.open(place / "shown").summary["num_label_taxa"] == 4 + 2


def test_all_of_a_run_lies_on_s3(place: Path, bucket: str, tmp_path: Path) -> None:
    """Archive, model, labels and run folder, and the export of it, through faults: as on disk."""
    num_files = write_tiny_archive(tmp_path / "archive")
    archive = bring(tmp_path / "archive", join(bucket, "archive"))
    out, table = join(archive, "run"), join(bucket, "table")
    words = ["label", archive, "--model", bring(place / "model", join(bucket, "model"))]
    words += ["--labels", bring(place / "labels", join(bucket, "labels")), "--out", out, "--detector", "detector"]
    words += ["--num-workers", "1", "--part-size", "4", "--confidence-floor", "0.2"]
    faults = [Fault(kind, 10) for kind in (Kind.SLOW_DOWN, Kind.LOSE_ANSWER)]
    faults += [Fault(kind, 7, ("GET",)) for kind in (Kind.TRUNCATE, Kind.DROP_ANSWER, Kind.SLOW)]
    all_refused = Fault(Kind.DENY, 1, ("GET",), r"archive/[abc]/.*(JPG|jpg)")
    with FaultyS3(os.environ["AWS_ENDPOINT_URL"], [all_refused]) as faulty, using(faulty.address):
        result = told(*words, cwd=place)
        assert result.returncode == 2, result.stderr
        assert "S3 refuses 14 of 14 files that were tried" in result.stderr
    refused = Fault(Kind.DENY, 1, ("GET",), "archive/a/DCIM/100EK113/IMG_0000.JPG")  # the first one
    with FaultyS3(os.environ["AWS_ENDPOINT_URL"], [refused, *faults]) as faulty, using(faulty.address):
        result = trygon(*words, cwd=place)
        assert result.returncode == 0, result.stderr
    assert len(faulty.met) == 1 + len(faults)
    assert f"{num_files} images of 3 cameras: 7 with animals, 4 blank, 4 could not be read" in result.stdout
    assert "--retry-failed tries 1 files again that could not be read (denied 1)" in result.stdout
    assert "all of it stood here already" in told(*words, cwd=place).stdout
    result = trygon(*words, "--retry-failed", cwd=place)
    assert f"{num_files} images of 3 cameras: 8 with animals, 4 blank, 3 could not be read" in result.stdout
    assert "--retry-failed" not in result.stdout
    run = Run.open(out)
    assert {row["path"]: row["failure"] for row in run.media.to_pylist() if row["failure"]} == BROKEN
    assert run.row("SELECT count(*) AS num FROM sightings WHERE confidence > 0")["num"] == 8
    assert run.summary["num_ignored"] == 1
    assert exists(join(out, "report/index.html"))
    assert len(list_files(join(out, "report/pictures"), ".jpg")) == 12
    again = told(*words, cwd=place)
    assert "all of it stood here already" in again.stdout, again.stderr
    exported = told("export", out, "--format", "csv", "--out", table, cwd=place)
    assert exported.returncode == 0, exported.stderr
    assert read_bytes(join(table, "observations.csv")).count(b"\n") == 1 + 8 + 4 + 3


def test_finished_run_is_left_alone_added_frames_are_done_and_other_labels_read_no_image(place: Path) -> None:
    _require_run(place)
    # As if moved to another disk, where files keep their times. To label the same frames once more would prove less.
    for name, copy in (("archive", "growing"), ("run", "grown")):
        shutil.copytree(place / name, place / copy)
    parts, num_files = Parts(place / "grown"), Run.open(place / "grown").media.num_rows
    done = parts.numbers()
    moved = _label(place, "growing", "grown")
    assert "to see whether they are still the same" not in moved.stderr
    again = _label(place, "growing", "grown")
    assert "stood here already" in again.stdout
    assert parts.numbers() == done

    # One frame is added, one is written over with as many bytes, one removed, and all others are only touched.
    changed, gone = place / "growing/a/DCIM/100EK113/IMG_0000.JPG", place / "growing/a/DCIM/100EK113/IMG_0001.JPG"
    changed.write_bytes(changed.read_bytes()[:-2] + b"xx")
    gone.unlink()
    for path in (path for path in (place / "growing").rglob("*.JPG") if path != changed):
        os.utime(path, (1, 1))
    (place / "growing/c/IMG_7777.JPG").write_bytes(frame_jpeg(7))
    result = _label(place, "growing", "grown")
    assert "1 are no longer there" in result.stdout
    assert result.stderr.count("to see whether they are still the same") == 1
    media = pq.read_table(place / "grown/media.parquet").to_pylist()
    assert len({row["path"] for row in media}) == len(media) == num_files
    assert pq.read_table(place / "grown/removed.parquet")["path"].to_pylist() == ["a/DCIM/100EK113/IMG_0001.JPG"]
    (row,) = (row for row in media if row["path"] == "a/DCIM/100EK113/IMG_0000.JPG")
    assert row["digest"] == digest_file(changed)
    *before, added = parts.numbers()
    assert before == done
    assert read_table(parts.media_place(added)).num_rows == 2

    # The same frames under other names: the pictures are zeros now, so only stored vectors can have been used.
    for path in (place / "growing").rglob("*.JPG"):
        found = path.stat()
        path.write_bytes(bytes(found.st_size))
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    _label(place, "growing", "grown", "--clade", "Aves", "--confidence-floor", "0.9")
    observations = pq.read_table(place / "grown/observations.parquet")
    assert {name for name in observations["scientific"].to_pylist() if name} == {"Corvus corax"}
    assert parts.numbers() == [*done, added]


def test_without_detector_every_frame_of_a_packed_archive_is_named_whole_by_an_exported_encoder(place: Path) -> None:
    write_tiny_archive(place / "plain", num_frames=6)
    exported = told("export-model", "--model", "model", "--encoder", "openvino", "--pictures", "plain", cwd=place)
    assert exported.returncode == 0, exported.stderr
    shutil.make_archive(str(place / "plain"), "gztar", place / "plain")
    more = ["--deployment-pattern", "^(?P<deployment>[ab])/", "--time-zone", "Africa/Nairobi"]
    (place / "stood.csv").write_text("deployment,latitude,longitude,end\na,1,2,2024-05-30\nb,1,2,\nc,1,2,\n")
    more += ["--deployments", "stood.csv"]
    words = [word if word != "detector" else "none" for word in _words(place, "plain.tar.gz", "plain-run", *more)]
    result = told(*words, "--encoder", "openvino", cwd=place)
    assert result.returncode == 0, result.stderr
    assert "7 from a clock that is wrong" in result.stdout
    media = pq.read_table(place / "plain-run/media.parquet").to_pylist()
    assert {row["path"]: row["failure"] for row in media if row["failure"]} == BROKEN
    assert {row["deployment"] for row in media if row["clock"] == "outside_deployment"} == {"a"}
    with (place / "plain-run/export/camtrap-dp/deployments.csv").open() as file:
        rows = {row["deploymentID"]: row for row in csv.DictReader(file)}
    assert {name: row["timestampIssues"] for name, row in rows.items()} == {"a": "true", "b": "true", "c": "true"}
    assert rows["a"]["deploymentEnd"] == "2024-05-30T23:59:59+03:00"
    detections = pq.read_table(place / "plain-run/vectors").to_pylist()
    assert [(row["category"], row["width"]) for row in detections] == [("frame", 1.0)] * 12
    model, media = load_model(place / "model", "cpu"), Run.open(place / "plain-run").media
    paths = dict(zip(media["media_id"].to_pylist(), media["path"].to_pylist(), strict=True))
    for row in detections:
        frame = (place / "plain" / paths[row["media_id"]]).read_bytes()
        vector_1D = model.encode_images(preprocess(frame, model.side, model.resize_mode)[None])
        assert float(vector_1D[0] @ row["vector"]) > 0.999
    refused = told(*words, cwd=place)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "holds a run with another encoder" in refused.stderr
    refused = told(*words, "--encoder", "openvino", "--use-gpu", cwd=place)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "--use-gpu: this encoder runs on CPUs alone" in refused.stderr


def test_boxes_of_a_result_file_are_taken_in_pictures_and_videos(place: Path) -> None:
    archive = place / "given"
    archive.mkdir()
    for number in range(3):
        (archive / f"IMG_{number}.JPG").write_bytes(frame_jpeg(number))
    (archive / "CLIP.AVI").write_bytes(write_video("bushnell", 3, date="2024-05-31 12:00:00"))
    (archive / "CUT.AVI").write_bytes(write_video("avi", 3)[:20_000])
    (archive / "PHONE.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    box = {"category": "1", "conf": 0.9, "bbox": [0.3, 0.3, 0.3, 0.4]}
    clip = [box | {"frame_number": 5}, box | {"frame_number": 15}, box | {"frame_number": 5, "category": "2"}]
    images = [
        {"file": "given/IMG_0.JPG", "detections": [box, box | {"conf": 0.3}]},
        {"file": "given/IMG_1.JPG", "detections": []},
        {"file": "given/CLIP.AVI", "detections": clip},
        *({"file": f"given/{name}", "detections": []} for name in ("CUT.AVI", "PHONE.HEIC")),
    ]
    categories = {"1": "animal", "2": "person"}
    content = {"info": {"format_version": "1.5"}, "images": images, "detection_categories": categories}
    (place / "given.json").write_text(json.dumps(content))
    words = [word for word in _words(place, "given", "given-run") if word not in ("--detector", "detector")]
    result = told(*words, "--detections", "given.json", "--animal-threshold", "0.5", cwd=place)
    assert result.returncode == 0, result.stderr
    run = Run.open(place / "given-run")
    media = {row["path"]: row for row in run.media.to_pylist()}
    assert {path: row["failure"] for path, row in media.items() if row["failure"]} == {
        "CUT.AVI": "truncated",
        "PHONE.HEIC": "unsupported",
        "IMG_2.JPG": "not_in_detections",
    }
    assert (media["CLIP.AVI"]["kind"], media["CLIP.AVI"]["frames"], media["IMG_0.JPG"]["kind"]) == (
        "video",
        [5, 15],
        "image",
    )
    assert 0 < media["CUT.AVI"]["decoded_share"] < 1
    rows = list(run.rows("FROM sightings ORDER BY path, frame_number, type"))
    assert [(row["path"], row["type"], row["frame_number"]) for row in rows] == [
        ("CLIP.AVI", "animal", 5),
        ("CLIP.AVI", "human", 5),
        ("CLIP.AVI", "animal", 15),
        ("IMG_0.JPG", "animal", None),
        ("IMG_1.JPG", "blank", None),
    ]
    assert len(list((place / "given-run/report/pictures").glob("*.jpg"))) == 3
    counts = list(run.rows("SELECT count FROM event_taxa WHERE type = 'animal'"))
    assert {row["count"] for row in counts} == {1}  # one animal in two frames of a video is one animal
    other = told(*words, "--detections", "given.json", cwd=place)
    assert (other.returncode, "another detector" in other.stderr) == (2, True), other.stderr


def test_megadetectors_weights_tell_animals_people_and_vehicles_apart(place: Path) -> None:
    """Through the package `megadetector`: from a `.pt` file to its result file."""
    for name, colour in (("animal", "red"), ("person", "lime"), ("vehicle", "blue"), ("blank", "gray")):
        frame = Image.new("RGB", (640, 480), (40, 40, 40))
        frame.paste(colour, (160, 120, 320, 360))
        (place / "yard").mkdir(exist_ok=True)
        frame.save(place / "yard" / f"{name}.jpg")
    write_weights(place / "weights.pt")
    words = ["weights.pt" if word == "detector" else word for word in _words(place, "yard", "yard-run")]
    result = told(*words, cwd=place)
    assert result.returncode == 0, result.stderr
    run = Run.open(place / "yard-run")
    rows = list(run.rows("FROM sightings ORDER BY path"))
    assert [(row["path"], row["type"]) for row in rows] == [
        ("animal.jpg", "animal"),
        ("blank.jpg", "blank"),
        ("person.jpg", "human"),
        ("vehicle.jpg", "vehicle"),
    ]
    boxes = pq.read_table(place / "yard-run/detections.parquet").to_pylist()
    assert {row["category"] for row in boxes} == {"animal", "person", "vehicle"}
    for box in boxes:
        place_found = (box["x"], box["y"], box["width"], box["height"])
        assert place_found == pytest.approx((0.25, 0.25, 0.25, 0.5), abs=0.02)
    assert run.summary["detector"] == "weights.pt"
    again = told(*words, "--person-threshold", "0.9", cwd=place)
    assert (again.returncode, "another detector" in again.stderr) == (2, True), again.stderr


def test_a_list_whose_times_have_offsets_says_where_they_went_and_one_without_frames_is_refused(place: Path) -> None:
    (place / "listed").mkdir()
    (place / "listed/a.jpg").write_bytes(frame_jpeg(0))
    (place / "listed/list.csv").write_text("path,timestamp\na.jpg,2024-05-31T12:00:00+02:00\n")
    moved = "times of the list have offsets (+02:00) and were moved to UTC, as no --time-zone was given"
    assert moved in _label(place, "listed/list.csv", "listed-run").stderr
    assert moved not in _label(place, "listed/list.csv", "listed-run", "--time-zone", "+00:00").stderr
    (place / "listed/list.csv").write_text("path\nhttps://pictures/1/file\n")
    refused = trygon(*label_words("listed/list.csv", "no-run"), cwd=place)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "listed/list.csv names no picture or video: give a list that has their names" in refused.stderr
    (place / "empty").mkdir()
    refused = trygon(*label_words("empty", "no-run-either"), cwd=place)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "there is no picture or video in empty, nor any other file: give the folder" in refused.stderr


@pytest.mark.parametrize("format_", ["camtrap-dp", "csv"])
def test_run_is_exported_again(place: Path, format_: str) -> None:
    _require_run(place)
    (place / "places.csv").write_text("deployment,latitude,longitude\na,1,2\nb,3,4\nc,5,6\n")
    words = ["export", "run", "--format", format_, "--out", f"out-{format_}", "--deployments", "places.csv"]
    result = told(*words, cwd=place)
    assert result.returncode == 0, result.stderr
    assert "note:" not in result.stdout
    assert (place / f"out-{format_}" / "observations.csv").is_file()


def _require_run(place: Path) -> None:
    """A finished run at run/, also where a test runs alone."""
    if not (place / "run/observations.parquet").is_file():
        write_tiny_archive(place / "archive")
        _label(place, "archive", "run")


def _latitudes(package: Path) -> dict[str, str]:
    with (package / "deployments.csv").open() as file:
        return {row["deploymentID"]: row["latitude"] for row in csv.DictReader(file)}


def test_export_does_not_replace_its_run(place: Path) -> None:
    _require_run(place)
    before = (place / "run/config.json").read_bytes()
    for out in ("run", str(place / "run") + "/", "other/../run"):
        refused = told("export", "run", "--out", out, cwd=place)
        assert refused.returncode == 2
        assert "is the run itself" in refused.stderr
    assert (place / "run/config.json").read_bytes() == before


def test_edited_table_of_places_is_read_again_and_found_from_another_folder(place: Path, tmp_path: Path) -> None:
    _require_run(place)
    words = label_words("archive", "run", "--deployments", "cameras.csv")
    for latitude in ("1", "2"):
        (place / "cameras.csv").write_text(f"deployment,latitude,longitude\na,{latitude},0\nb,3,0\nc,5,0\n")
        result = told(*words, cwd=place)
        assert result.returncode == 0, result.stderr
        assert "stood here already" not in result.stdout
        found = _latitudes(place / "run/export/camtrap-dp")
        assert {name: float(value) for name, value in found.items()} == {"a": float(latitude), "b": 3, "c": 5}
    assert "stood here already" in told(*words, cwd=place).stdout

    exported = told("export", str(place / "run"), "--out", "package", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert _latitudes(tmp_path / "package") == found


def test_mistakes_are_one_line(place: Path) -> None:
    write_tiny_archive(place / "small", num_frames=1)
    write_tiny_model(place / "other-model", seed=1)
    (place / "closed").write_text("a file")
    swap = {
        "no-archive": (label_words("nowhere", "x"), "nowhere is not a folder"),
        "no-labels": (_replaced("labels", "no-labels"), "not a finished LabelBank"),
        "wrong-model": (_replaced("model", "other-model"), "build them again"),
        "no-model": (_replaced("model", "no-model"), "no such folder"),
        "no-detector": (_replaced("detector", "no-detector"), "no such file"),
        "unknown-clade": ([*label_words("small", "x"), "--clade", "Dragons"], "hold no clade"),
        "closed": (label_words("small", "closed"), "cannot be written to"),
        "pattern": ([*label_words("small", "x"), "--deployment-pattern", "cam(.)"], "no group of that name"),
        "zone": ([*label_words("small", "x"), "--time-zone", "Mars/Olympus"], "time_zone"),
    }
    for name, (words, message) in swap.items():
        result = told(*words, cwd=place)
        assert result.returncode == 2, (name, result.stderr)
        assert message in result.stderr, (name, result.stderr)
        assert result.stderr.count("\n") == 1, (name, result.stderr)
    assert not (place / "x").exists()


def _replaced(old: str, new: str) -> list[str]:
    words = label_words("small", "x")
    return [new if word == old else word for word in words]
