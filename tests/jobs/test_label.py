"""`trygon label` on a small real archive, through the command line: whole, killed, continued, refused."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trygon.archive.parts import Parts
from trygon.archive.run import Run
from trygon.storage import copy_file, join, read_bytes
from trygon.testing.archives import BROKEN, frame_jpeg, write_tiny_archive
from trygon.testing.detectors import write_tiny_detector
from trygon.testing.s3 import Fault, FaultyS3, Kind, s3_server, using
from trygon.testing.tiny import write_tiny_model

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
    detections = pq.read_table(run / "detections").to_pylist()
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
    assert page.count("data:image/jpeg") == 12
    assert 'src="http' not in page
    assert all(path in page for path in BROKEN)


def test_all_of_a_run_lies_on_s3(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archive, model, labels and run folder, and the export of it, through faults: as on disk."""
    num_files, root = write_tiny_archive(tmp_path / "archive"), "s3://field"
    monkeypatch.setenv("TRYGON_CACHE", str(tmp_path / "cache"))
    with s3_server("field") as server, using(server):
        for folder in (tmp_path / "archive", place / "model", place / "labels"):
            for path in (path for path in folder.rglob("*") if path.is_file()):
                copy_file(path, join(root, folder.name, path.relative_to(folder).as_posix()))
        words = ["label", join(root, "archive"), "--model", join(root, "model"), "--labels", join(root, "labels")]
        words += ["--detector", "detector", "--num-workers", "1", "--part-size", "4", "--confidence-floor", "0.2"]
        words += ["--out", join(root, "archive/run")]
        faults = [Fault(kind, 10) for kind in (Kind.SLOW_DOWN, Kind.LOSE_ANSWER)]
        faults += [Fault(kind, 7, ("GET",)) for kind in (Kind.TRUNCATE, Kind.DROP_ANSWER, Kind.SLOW)]
        with FaultyS3(server, faults) as faulty, using(faulty.address):
            result = _trygon(place, *words)
            assert result.returncode == 0, result.stderr
        assert len(faulty.met) == len(faults)
        assert f"{num_files} images of 3 cameras: 8 with animals, 4 blank, 3 could not be read" in result.stdout
        run = Run.open(join(root, "archive/run"))
        assert {row["path"]: row["failure"] for row in run.media.to_pylist() if row["failure"]} == BROKEN
        assert len(run.boxes) == 8
        assert run.summary["num_ignored"] == 1
        assert read_bytes(join(root, "archive/run/report/index.html")).count(b"data:image/jpeg") == 12
        again = _trygon(place, *words)
        assert "all of it stood here already" in again.stdout, again.stderr
        exported = _trygon(place, "export", join(root, "archive/run"), "--format", "csv", "--out", join(root, "table"))
        assert exported.returncode == 0, exported.stderr
        assert read_bytes(join(root, "table/observations.csv")).count(b"\n") == 1 + 8 + 4 + 3


def _kill_after(place: Path, words: list[str], parts: Parts, num_parts: int) -> None:
    """Start the command and SIGKILL it as soon as that many parts are committed."""
    process = subprocess.Popen(_command(*words), cwd=place, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(parts.numbers()) < num_parts:
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_run_is_completed_with_every_file_once(place: Path) -> None:
    num_files = write_tiny_archive(place / "killed", num_frames=150)
    words = _label_words("killed", "killed-run", "--part-size", "8")
    parts = Parts(place / "killed-run")
    _kill_after(place, words, parts, 3)
    before = {number: Path(parts.media_place(number)).stat() for number in parts.numbers()}
    assert not (place / "killed-run/observations.parquet").exists()
    assert sum(pq.read_metadata(parts.media_place(number)).num_rows for number in before) < num_files

    assert _trygon(place, *words).returncode == 0
    media = pq.read_table(place / "killed-run/media.parquet", columns=["media_id", "path"])
    assert len(set(media["path"].to_pylist())) == media.num_rows == num_files
    committed = [pq.read_metadata(parts.media_place(number)).num_rows for number in parts.numbers()]
    assert sum(committed) == num_files
    detections = pq.read_table(place / "killed-run/detections", columns=["detection_id"])["detection_id"]
    assert len(set(detections.to_pylist())) == len(detections) == 200
    after = {number: Path(parts.media_place(number)).stat() for number in before}
    assert {n: (it.st_ino, it.st_mtime_ns) for n, it in after.items()} == {
        n: (it.st_ino, it.st_mtime_ns) for n, it in before.items()
    }


def test_finished_run_is_left_alone_added_frames_are_done_and_other_labels_read_no_image(place: Path) -> None:
    num_files = write_tiny_archive(place / "growing")
    _label(place, "growing", "grown")
    again = _label(place, "growing", "grown")
    assert "stood here already" in again.stdout

    (place / "growing/c/IMG_7777.JPG").write_bytes(frame_jpeg(7))
    _label(place, "growing", "grown")
    media = pq.read_table(place / "grown/media.parquet").to_pylist()
    assert len({row["path"] for row in media}) == len(media) == num_files + 1
    assert Parts(place / "grown").numbers() == [0, 1]

    # The same frames under other names: the pictures are zeros now, so only stored vectors can have been used.
    for path in (place / "growing").rglob("*.JPG"):
        path.write_bytes(bytes(path.stat().st_size))
    _label(place, "growing", "grown", "--clade", "Aves", "--confidence-floor", "0.9")
    observations = pq.read_table(place / "grown/observations.parquet")
    assert {name for name in observations["scientific"].to_pylist() if name} == {"Corvus corax"}
    assert Parts(place / "grown").numbers() == [0, 1]


def test_without_detector_every_frame_is_named_whole(place: Path) -> None:
    write_tiny_archive(place / "plain", num_frames=2)
    words = [word if word != "detector" else "none" for word in _label_words("plain", "plain-run")]
    result = _trygon(place, *words)
    assert result.returncode == 0, result.stderr
    detections = pq.read_table(place / "plain-run/detections").to_pylist()
    assert [(row["category"], row["width"]) for row in detections] == [("frame", 1.0)] * 4


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
        "zone": ([*_label_words("small", "x"), "--time-zone", "CET"], "time_zone"),
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
