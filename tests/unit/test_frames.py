"""The made archive looks to a program as a camera's card does."""

from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pyarrow.csv
import pytest
from PIL import ExifTags, Image

from trygon.data.frames import CAMERAS, write_archive
from trygon.data.images import BadImage, decode
from trygon.errors import UserError
from trygon.testing.photos import draw_photo, write_labels


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample folder with drawn animals and grounds in the places where the real ones stand."""
    folder = tmp_path_factory.mktemp("sample")
    rows = []
    for camera in CAMERAS:
        draw_photo(folder / "backgrounds" / camera.background, 90, cutout=False, size=(320, 240))
        for number, visitor in enumerate(filter(None, camera.visitors)):
            path = f"tuxpaint/animals/{'' if visitor.startswith('birds/') else 'mammals/'}{visitor}.png"
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


def test_without_sample_data_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trygon sample"):
        write_archive(tmp_path, tmp_path / "archive")
