"""What counts as a frame of an archive, and which camera took it."""

from pathlib import Path

import pytest

from trygon.archive.listing import Archive, MediaFile
from trygon.errors import UserError


def _touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


def test_frames_of_any_case_are_listed_in_order_and_the_rest_is_counted(tmp_path: Path) -> None:
    _touch(tmp_path, "b/IMG_1.JPG", "a/IMG_1.jpeg", "a/x.PnG", "a/notes.txt", "a/clip.avi", ".hidden/IMG_2.JPG")
    _touch(tmp_path, "a/._IMG_1.JPG", "$RECYCLE.BIN/IMG_3.JPG", "a/.DS_Store", "__MACOSX/IMG_4.JPG")
    files, num_ignored = Archive(str(tmp_path)).list()
    assert [file.path for file in files] == ["a/IMG_1.jpeg", "a/clip.avi", "a/x.PnG", "b/IMG_1.JPG"]
    assert num_ignored == 1


def test_pictures_of_runs_within_the_archive_are_no_frames(tmp_path: Path) -> None:
    _touch(tmp_path, "a/1.jpg", "out/report/1.jpg", "old/parts/part-00000.parquet", "old/config.json", "old/2.jpg")
    files, _ = Archive(str(tmp_path)).list(skip=tmp_path / "out")
    assert [file.path for file in files] == ["a/1.jpg"]


@pytest.mark.parametrize(
    ("path", "deployment"),
    [
        ("north/100EK113/IMG_1.JPG", "north"),
        ("north/DCIM/101MEDIA/IMG_1.JPG", "north"),
        ("park/cam 3/100RECNX/RCNX1.JPG", "park/cam 3"),
        ("park/cam 3/102_BTCF/1.JPG", "park/cam 3"),
        ("DCIM/100DSCIM/1.JPG", "."),
        ("1.JPG", "."),
        ("MEDIA/100/1.JPG", "MEDIA/100"),
    ],
)
def test_deployment_is_the_camera_folder(path: str, deployment: str) -> None:
    assert MediaFile(path, 1).deployment == deployment


def test_id_does_not_depend_on_the_place_of_the_archive(tmp_path: Path) -> None:
    ids = []
    for name in ("here", "there"):
        files, _ = Archive(str(_touch(tmp_path / name, "a/1.jpg", "b/1.jpg"))).list()
        ids.append([file.media_id for file in files])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2
    assert MediaFile("a/1.jpg", 2).media_id != MediaFile("a/1.jpg", 1).media_id


def test_name_that_is_no_utf8_is_listed(tmp_path: Path) -> None:
    (tmp_path / b"caf\xe9.jpg".decode(errors="surrogateescape")).write_bytes(b"x")
    files, _ = Archive(str(tmp_path)).list()
    assert files[0].path == "caf\\xe9.jpg"
    assert files[0].media_id > 0


def test_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        Archive(str(tmp_path / "nowhere")).list()
