"""`trygon label` on a small real archive, through the command line: whole, killed, continued, refused."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trygon.archive.parts import Parts, read_table
from trygon.archive.run import Run
from trygon.data.images import preprocess
from trygon.disk import only_writer
from trygon.errors import UserError
from trygon.models.model import load_model
from trygon.storage import copy_file, digest_file, exists, join, list_files, read_bytes, write_bytes
from trygon.testing.archives import BROKEN, frame_jpeg, write_tiny_archive
from trygon.testing.detectors import write_tiny_detector
from trygon.testing.s3 import Fault, FaultyS3, Kind, s3_server, using
from trygon.testing.tiny import write_tiny_model
from trygon.testing.videos import write_video

pytestmark = [pytest.mark.slow, pytest.mark.ray]

TAXA = """kingdom,phylum,class,order,family,genus,species,common
Animalia,Chordata,Mammalia,Carnivora,Felidae,Panthera,leo,lion
Animalia,Chordata,Mammalia,Carnivora,Felidae,Panthera,onca,jaguar
Animalia,Chordata,Mammalia,Carnivora,Canidae,Canis,lupus,wolf
Animalia,Chordata,Aves,Passeriformes,Corvidae,Corvus,corax,raven
Plantae,Tracheophyta,Magnoliopsida,Fagales,Fagaceae,Quercus,robur,oak
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model/, detector/, taxa.csv and labels/."""
    root = tmp_path_factory.mktemp("label")
    write_tiny_model(root / "model")
    write_tiny_detector(root / "detector")
    (root / "taxa.csv").write_text(TAXA)
    built = _trygon(root, "build-labels", "--model", "model", "--taxa", "taxa.csv", "--out", "labels", "--empty-clade")
    assert built.returncode == 0, built.stderr
    return root


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "trygon_jobs", *words]


def _trygon(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(*words), cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def _label_words(archive: str, out: str, *more: str) -> list[str]:
    fixed = ["--model", "model", "--labels", "labels", "--detector", "detector", "--num-workers", "1"]
    return ["label", archive, *fixed, "--out", out, *more]


def _label(place: Path, archive: str, out: str, *more: str) -> subprocess.CompletedProcess[str]:
    result = _trygon(place, *_label_words(archive, out, *more))
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
    with (run / "failures.csv").open() as file:
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
    result = _trygon(place, *words, "--examples-only", "--confidence-floor", "0.1")
    assert result.returncode == 0, result.stderr
    assert "3 pictures of examples are embedded first" in result.stderr
    observations = pq.read_table(place / "shown/observations.parquet").to_pylist()
    named = [row for row in observations if row["scientific"]]
    assert len(named) == 8
    assert {row["scientific"] for row in named} <= {"Corvus corax", "Stripes", "Bos taurus"}
    assert {row["decided_by"] for row in named} <= {"few_shot", "rollup"}
    joined = _trygon(place, *words)
    assert joined.returncode == 0, joined.stderr
    assert "embedded first" not in joined.stderr  # they were kept
    assert Run.open(place / "shown").summary["num_label_taxa"] == 4 + 2


def test_all_of_a_run_lies_on_s3(place: Path, bucket: str, tmp_path: Path) -> None:
    """Archive, model, labels and run folder, and the export of it, through faults: as on disk."""
    num_files = write_tiny_archive(tmp_path / "archive")
    archive = _bring(tmp_path / "archive", join(bucket, "archive"))
    out, table = join(archive, "run"), join(bucket, "table")
    words = ["label", archive, "--model", _bring(place / "model", join(bucket, "model"))]
    words += ["--labels", _bring(place / "labels", join(bucket, "labels")), "--out", out, "--detector", "detector"]
    words += ["--num-workers", "1", "--part-size", "4", "--confidence-floor", "0.2"]
    faults = [Fault(kind, 10) for kind in (Kind.SLOW_DOWN, Kind.LOSE_ANSWER)]
    faults += [Fault(kind, 7, ("GET",)) for kind in (Kind.TRUNCATE, Kind.DROP_ANSWER, Kind.SLOW)]
    refused = Fault(Kind.DENY, 1, ("GET",), "archive/b/100EK113/IMG_0001.JPG")
    with FaultyS3(os.environ["AWS_ENDPOINT_URL"], [refused, *faults]) as faulty, using(faulty.address):
        result = _trygon(place, *words)
        assert result.returncode == 0, result.stderr
    assert len(faulty.met) == 1 + len(faults)
    assert f"{num_files} images of 3 cameras: 7 with animals, 4 blank, 4 could not be read" in result.stdout
    assert "--retry-failed tries 1 files again that could not be read (denied 1)" in result.stdout
    assert "all of it stood here already" in _trygon(place, *words).stdout
    result = _trygon(place, *words, "--retry-failed")
    assert f"{num_files} images of 3 cameras: 8 with animals, 4 blank, 3 could not be read" in result.stdout
    assert "--retry-failed" not in result.stdout
    run = Run.open(out)
    assert {row["path"]: row["failure"] for row in run.media.to_pylist() if row["failure"]} == BROKEN
    assert run.row("SELECT count(*) AS num FROM sightings WHERE confidence > 0")["num"] == 8
    assert run.summary["num_ignored"] == 1
    assert exists(join(out, "report/index.html"))
    assert len(list_files(join(out, "report/pictures"), ".jpg")) == 12
    again = _trygon(place, *words)
    assert "all of it stood here already" in again.stdout, again.stderr
    exported = _trygon(place, "export", out, "--format", "csv", "--out", table)
    assert exported.returncode == 0, exported.stderr
    assert read_bytes(join(table, "observations.csv")).count(b"\n") == 1 + 8 + 4 + 3


def _start(place: Path, words: list[str], parts: Parts, num_parts: int) -> subprocess.Popen[str]:
    """The running command, as soon as that many parts are committed."""
    process = subprocess.Popen(
        _command(*words), cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while len(parts.numbers()) < num_parts:
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A bucket on S3, for this process and those that it starts."""
    with s3_server("field") as server, using(server):
        monkeypatch.setenv("TRYGON_CACHE", str(tmp_path / "cache"))
        yield "s3://field"


def _bring(folder: Path, to: str) -> str:
    for path in (path for path in folder.rglob("*") if path.is_file()):
        copy_file(path, join(to, path.relative_to(folder).as_posix()))
    return to


@pytest.mark.parametrize("remote", [False, True])
def test_killed_run_is_completed_with_every_file_once(remote: bool, place: Path, bucket: str, tmp_path: Path) -> None:
    num_files = write_tiny_archive(tmp_path / "killed", num_frames=150)
    archive = _bring(tmp_path / "killed", join(bucket, "killed")) if remote else str(tmp_path / "killed")
    out = join(bucket, "run") if remote else str(tmp_path / "run")
    words, parts = _label_words(archive, out, "--part-size", "8"), Parts(out)
    with only_writer(out):
        refused = _trygon(place, *words)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert f"another process is writing to {out}" in refused.stderr
        assert not list_files(out)
    process = _start(place, words, parts, 3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = {number: read_bytes(parts.media_place(number)) for number in parts.numbers()}
    assert not exists(join(out, "observations.parquet"))
    assert sum(read_table(parts.media_place(number)).num_rows for number in before) < num_files
    with pytest.raises(UserError, match="not a finished run"):
        Run.open(out)

    result = _trygon(place, *words, "--price-per-hour", "0.36")
    assert result.returncode == 0, result.stderr
    assert re.search(rf"{num_files} images, \d+ to do, 0.0 GB to read", result.stderr), result.stderr
    summary = Run.open(out).summary
    assert summary["num_sessions"] == 2
    assert 0 <= summary["num_redone"] <= num_files
    media = Run.open(out).media
    assert len(set(media["path"].to_pylist())) == media.num_rows == num_files
    committed = [read_table(parts.media_place(number)).num_rows for number in parts.numbers()]
    assert sum(committed) == num_files
    found = [one for table in parts.detections(["detection_id"]) for one in table["detection_id"].to_pylist()]
    assert len(set(found)) == len(found) == 200
    assert {number: read_bytes(parts.media_place(number)) for number in before} == before


def test_outage_of_s3_ends_the_run_and_makes_no_frame_unreadable(place: Path, bucket: str, tmp_path: Path) -> None:
    num_files = write_tiny_archive(tmp_path / "far")
    archive, out = _bring(tmp_path / "far", join(bucket, "far")), tmp_path / "run"
    words = _label_words(archive, str(out))
    with FaultyS3(os.environ["AWS_ENDPOINT_URL"], []) as proxy, using(proxy.address):
        process = subprocess.Popen(_command(*words), cwd=place, stderr=subprocess.PIPE, text=True)
        while not (out / "config.json").is_file():  # what follows the listing
            assert process.poll() is None
            time.sleep(0.01)
        proxy.faults = [Fault(Kind.LOSE_ANSWER, 1)]  # it closes the connections that are open
    _, said = process.communicate(timeout=240)
    assert process.returncode == 1, said
    assert re.fullmatch(rf"error: {archive}/\S+: {proxy.address} does not answer; .*", said.splitlines()[-1])
    assert Parts(out).numbers() == []
    result = _trygon(place, *words)
    assert result.returncode == 0, result.stderr
    media = Run.open(out).media.to_pylist()
    assert len(media) == num_files
    assert {row["path"]: row["failure"] for row in media if row["failure"]} == BROKEN


def test_run_that_was_taken_over_leaves_the_others_files(place: Path, bucket: str, tmp_path: Path) -> None:
    """Stopped like a machine that sleeps, it is taken over, and ends when it goes on."""
    write_tiny_archive(tmp_path / "slept", num_frames=150)
    out = join(bucket, "slept")
    process = _start(place, _label_words(str(tmp_path / "slept"), out, "--part-size", "8"), Parts(out), 2)
    try:
        process.send_signal(signal.SIGSTOP)
        with only_writer(out) as hold:
            write_bytes(join(out, "summary.json"), b"of another run")
            before = {file: digest_file(file) for file in list_files(out)}
            process.send_signal(signal.SIGCONT)
            _, said = process.communicate(timeout=120)
            assert process.returncode == 1, said
            assert [line for line in said.splitlines() if line.startswith("error:")] == [said.splitlines()[-1]]
            assert "another one has taken its place" in said
            hold.check()
            after = {file: digest_file(file) for file in list_files(out)}
            assert {file: digest for file, digest in after.items() if file in before} == before
            # What was on its way to S3 when it was stopped may still arrive there, and nothing after it.
            assert len(after.keys() - before.keys()) <= 1
    finally:
        process.kill()


def test_finished_run_is_left_alone_added_frames_are_done_and_other_labels_read_no_image(place: Path) -> None:
    num_files = write_tiny_archive(place / "growing")
    _label(place, "growing", "grown")
    again = _label(place, "growing", "grown")
    assert "stood here already" in again.stdout

    # One frame is added, one is written over with as many bytes, one removed, and all others are only touched.
    changed, gone = place / "growing/a/DCIM/100EK113/IMG_0000.JPG", place / "growing/a/DCIM/100EK113/IMG_0001.JPG"
    before = changed.read_bytes()
    changed.write_bytes(before[:-2] + b"xx")
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
    parts = Parts(place / "grown")
    assert parts.numbers() == [0, 1]
    assert read_table(parts.media_place(1)).num_rows == 2

    # The same frames under other names: the pictures are zeros now, so only stored vectors can have been used.
    for path in (place / "growing").rglob("*.JPG"):
        found = path.stat()
        path.write_bytes(bytes(found.st_size))
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    _label(place, "growing", "grown", "--clade", "Aves", "--confidence-floor", "0.9")
    observations = pq.read_table(place / "grown/observations.parquet")
    assert {name for name in observations["scientific"].to_pylist() if name} == {"Corvus corax"}
    assert Parts(place / "grown").numbers() == [0, 1]


def test_without_detector_every_frame_of_a_packed_archive_is_named_whole_by_an_exported_encoder(place: Path) -> None:
    write_tiny_archive(place / "plain", num_frames=6)
    exported = _trygon(place, "export-model", "--model", "model", "--encoder", "openvino", "--pictures", "plain")
    assert exported.returncode == 0, exported.stderr
    shutil.make_archive(str(place / "plain"), "gztar", place / "plain")
    more = ["--deployment-pattern", "^(?P<deployment>[ab])/", "--time-zone", "Africa/Nairobi"]
    (place / "stood.csv").write_text("deployment,latitude,longitude,end\na,1,2,2024-05-30\nb,1,2,\nc,1,2,\n")
    more += ["--deployments", "stood.csv"]
    words = [word if word != "detector" else "none" for word in _label_words("plain.tar.gz", "plain-run", *more)]
    result = _trygon(place, *words, "--encoder", "openvino")
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
    refused = _trygon(place, *words)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "holds a run with another encoder" in refused.stderr


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
    words = [word for word in _label_words("given", "given-run") if word not in ("--detector", "detector")]
    result = _trygon(place, *words, "--detections", "given.json", "--animal-threshold", "0.5")
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
    other = _trygon(place, *words, "--detections", "given.json")
    assert (other.returncode, "another detector" in other.stderr) == (2, True), other.stderr


@pytest.mark.parametrize("format_", ["camtrap-dp", "csv"])
def test_run_is_exported_again(place: Path, format_: str) -> None:
    _require_run(place)
    (place / "places.csv").write_text("deployment,latitude,longitude\na,1,2\nb,3,4\nc,5,6\n")
    words = ["export", "run", "--format", format_, "--out", f"out-{format_}", "--deployments", "places.csv"]
    result = _trygon(place, *words)
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
        refused = _trygon(place, "export", "run", "--out", out)
        assert refused.returncode == 2
        assert "is the run itself" in refused.stderr
    assert (place / "run/config.json").read_bytes() == before


def test_edited_table_of_places_is_read_again_and_found_from_another_folder(place: Path, tmp_path: Path) -> None:
    _require_run(place)
    words = _label_words("archive", "run", "--deployments", "cameras.csv")
    for latitude in ("1", "2"):
        (place / "cameras.csv").write_text(f"deployment,latitude,longitude\na,{latitude},0\nb,3,0\nc,5,0\n")
        result = _trygon(place, *words)
        assert result.returncode == 0, result.stderr
        assert "stood here already" not in result.stdout
        found = _latitudes(place / "run/export/camtrap-dp")
        assert {name: float(value) for name, value in found.items()} == {"a": float(latitude), "b": 3, "c": 5}
    assert "stood here already" in _trygon(place, *words).stdout

    exported = _trygon(tmp_path, "export", str(place / "run"), "--out", "package")
    assert exported.returncode == 0, exported.stderr
    assert _latitudes(tmp_path / "package") == found


def test_mistakes_are_one_line(place: Path) -> None:
    write_tiny_archive(place / "small", num_frames=1)
    write_tiny_model(place / "other-model", seed=1)
    (place / "closed").write_text("a file")
    swap = {
        "no-archive": (_label_words("nowhere", "x"), "nowhere is not a folder"),
        "no-labels": (_replaced("labels", "no-labels"), "not a finished LabelBank"),
        "wrong-model": (_replaced("model", "other-model"), "build them again"),
        "no-model": (_replaced("model", "no-model"), "no such folder"),
        "no-detector": (_replaced("detector", "no-detector"), "no such file"),
        "unknown-clade": ([*_label_words("small", "x"), "--clade", "Dragons"], "hold no clade"),
        "closed": (_label_words("small", "closed"), "cannot be written to"),
        "pattern": ([*_label_words("small", "x"), "--deployment-pattern", "cam(.)"], "no group of that name"),
        "zone": ([*_label_words("small", "x"), "--time-zone", "Mars/Olympus"], "time_zone"),
    }
    for name, (words, message) in swap.items():
        result = _trygon(place, *words)
        assert result.returncode == 2, (name, result.stderr)
        assert message in result.stderr, (name, result.stderr)
        assert result.stderr.count("\n") == 1, (name, result.stderr)
    assert not (place / "x").exists()


def _replaced(old: str, new: str) -> list[str]:
    words = _label_words("small", "x")
    return [new if word == old else word for word in words]
