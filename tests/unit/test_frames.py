"""The made archive looks to a program as a camera's card does."""

import csv
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from PIL import ExifTags, Image, ImageFilter, ImageOps

from trygon.data.frames import CAMERAS, HEIGHT, STRIP, WIDTH, write_archive
from trygon.data.images import BadImage, decode
from trygon.data.sample.drawn import drawn_grounds, is_drawn, write_drawn_backgrounds, write_drawn_photos
from trygon.errors import UserError
from trygon.storage import write_bytes
from trygon.taxonomy.taxon import RANKS
from trygon.testing.photos import draw_photo, write_labels

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample folder with drawn animals and grounds in the places where the real ones stand."""
    folder = tmp_path_factory.mktemp("sample")
    rows = []
    for camera in CAMERAS:
        draw_photo(folder / "backgrounds" / camera.background, 90, cutout=False, size=(320, 240))
        for number, path in enumerate(filter(None, camera.visitors)):
            draw_photo(folder / "photos" / path, 20 * number, cutout=True)
            rows.append({"path": path, "kingdom": "Animalia", "genus": "Genus", "species": "novum"})
    write_labels(folder / "photos", rows)
    draw_photo(folder / "frames" / "bushnell-night.jpg", 1, cutout=False)
    return folder


@pytest.fixture(scope="module")
def archive(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive, for tests that only look at it."""
    out = tmp_path_factory.mktemp("made") / "archive"
    assert write_archive(sample, out)
    return out


def test_a_finished_archive_is_not_made_again(sample: Path, archive: Path) -> None:
    assert not write_archive(sample, archive)


def test_archive_is_as_cameras_write_it(archive: Path) -> None:
    files = sorted(path for path in archive.rglob("*") if path.is_file())
    assert 55 <= len(files) <= 70
    assert max(Counter(path.name for path in files).values()) >= 3
    truth = pyarrow.csv.read_csv(archive.with_name("archive-truth.csv")).to_pylist()
    assert {row["path"] for row in truth} == {path.relative_to(archive).as_posix() for path in files}
    assert {"animal", "blank", "broken"} == {row["kind"] for row in truth}
    reasons = []
    for row in truth:
        if row["kind"] == "broken":
            with pytest.raises(BadImage) as caught:
                decode((archive / row["path"]).read_bytes())
            reasons.append(caught.value.reason)
    assert sorted(reasons) == ["empty", "not_an_image", "truncated"]


def test_bursts_are_seconds_apart(archive: Path) -> None:
    folder = archive / CAMERAS[0].deployment / "100EK113"
    times = []
    for path in sorted(folder.glob("IMG_0*.JPG")):
        exif = Image.open(path).getexif()
        assert exif[ExifTags.Base.Make] == "TRYGON"
        stamp = exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal]
        times.append(datetime.strptime(stamp, "%Y:%m:%d %H:%M:%S"))
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    assert min(gaps) >= 1
    assert sum(gap < 10 for gap in gaps) >= 10
    assert sum(gap > 600 for gap in gaps) == len(CAMERAS[0].visitors) - 1


def test_the_same_seed_makes_the_same_bytes(sample: Path, archive: Path, tmp_path: Path) -> None:
    write_archive(sample, tmp_path / "again", seed=0)
    first = {path.relative_to(archive): path.read_bytes() for path in archive.rglob("*.JPG")}
    again = {path.relative_to(tmp_path / "again"): path.read_bytes() for path in (tmp_path / "again").rglob("*.JPG")}
    assert first == again


def test_only_an_archive_that_was_begun_is_made_anew(sample: Path, tmp_path: Path) -> None:
    write_bytes(tmp_path / "mine/holiday.jpg", b"mine")
    with pytest.raises(UserError, match=r"--archive .*/mine holds files that are no archive of the sample data"):
        write_archive(sample, tmp_path / "mine")
    assert (tmp_path / "mine/holiday.jpg").read_bytes() == b"mine"
    for name in (".begun", "half.jpg"):
        write_bytes(tmp_path / "archive" / name, b"")
    assert write_archive(sample, tmp_path / "archive")
    assert not {path.name for path in (tmp_path / "archive").rglob("*")} & {".begun", "half.jpg"}


def test_without_sample_data_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trygon sample"):
        write_archive(tmp_path, tmp_path / "archive")


@pytest.fixture(scope="module")
def drawn_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample folder as it is made without apt."""
    folder = tmp_path_factory.mktemp("drawn")
    write_drawn_photos(folder / "photos", {})
    write_drawn_backgrounds(folder / "backgrounds", {})
    draw_photo(folder / "frames" / "bushnell-night.jpg", 1, cutout=False)
    return folder


def test_drawn_animals_come_by_where_there_are_no_photos(drawn_sample: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    assert write_archive(drawn_sample, archive)
    labels = {row["path"]: row for row in _rows(drawn_sample / "photos/labels.csv")}
    truth = [row for row in _rows(tmp_path / "archive-truth.csv") if row["photo"]]
    assert len(truth) == 3 * sum(bool(visitor) for camera in CAMERAS for visitor in camera.visitors)
    for row in truth:
        assert is_drawn(row["photo"])
        assert [row[rank] for rank in RANKS] == [labels[row["photo"]][rank] for rank in RANKS]
    credits = (tmp_path / "archive-ATTRIBUTION.md").read_text()
    assert all(f"| {row['photo']} |" in credits for row in truth)
    scenes = {
        camera.deployment: _scene(drawn_sample / "backgrounds" / ground)
        for camera, ground in zip(CAMERAS, drawn_grounds(drawn_sample / "backgrounds"), strict=False)
    }
    by_day = [row for row in truth[::3] if not _is_grey(archive / row["path"])]
    assert len(by_day) >= 8
    for row in by_day:
        assert _box_of_difference(archive / row["path"], scenes[row["deployment"]]) == pytest.approx(
            [float(row[side]) for side in ("x", "y", "width", "height")], abs=0.04
        )


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def _scene(background: Path) -> Image.Image:
    return ImageOps.fit(Image.open(background), (WIDTH, HEIGHT - STRIP))


def _pixels(frame: Path) -> np.ndarray:
    """What a frame shows above the strip, without the noise: (H, W, 3) float64."""
    shown = Image.open(frame).crop((0, 0, WIDTH, HEIGHT - STRIP))
    return np.asarray(shown.filter(ImageFilter.BoxBlur(3)), np.float64)


def _is_grey(frame: Path) -> bool:
    return bool(np.ptp(_pixels(frame), axis=-1).mean() < 3)


def _box_of_difference(frame: Path, scene: Image.Image) -> tuple[float, ...]:
    """Where a frame by day is not its scene, as parts of the frame: left, top, width, height."""
    shown_HWC, scene_HWC = _pixels(frame), np.asarray(scene.filter(ImageFilter.BoxBlur(3)), np.float64)
    scene_HWC = scene_HWC * np.median(shown_HWC / np.maximum(scene_HWC, 1))  # the light of the hour
    different = Image.fromarray(np.abs(shown_HWC - scene_HWC).max(axis=-1) > 24)
    box = different.getbbox()
    assert box, frame
    left, top, right, bottom = box
    return left / WIDTH, top / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT
