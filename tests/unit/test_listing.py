"""What counts as a frame of an archive, and which camera took it."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.archive.inputs.listing import Archive, Listing, write_listing
from trygon.archive.inputs.media import MediaFile
from trygon.errors import UserError
from trygon.lease import Hold


def _touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


def _list(root: Path, out: Path, skip: Path | None = None) -> Listing:
    return write_listing(Archive(str(root)), out, Hold(), skip)


def _paths(listing: Listing) -> list[str]:
    return [path for batch in listing.batches() for path in batch["path"].to_pylist()]


def test_frames_of_any_case_are_listed_in_order_and_the_rest_is_counted(tmp_path: Path) -> None:
    root = _touch(tmp_path / "in", "b/IMG_1.JPG", "a/IMG_1.jpeg", "a/x.PnG", "a/notes.txt", "a/clip.avi", "a-b/1.jpg")
    _touch(root, "a/._IMG_1.JPG", "$RECYCLE.BIN/IMG_3.JPG", "a/.DS_Store", "__MACOSX/IMG_4.JPG", ".hidden/IMG_2.JPG")
    listing = _list(root, tmp_path / "out")
    assert _paths(listing) == ["a-b/1.jpg", "a/IMG_1.jpeg", "a/clip.avi", "a/x.PnG", "b/IMG_1.JPG"]
    assert (listing.num_files, listing.num_ignored) == (5, 1)


def test_raw_files_and_other_packings_are_rows_that_say_so_and_what_is_left_alone_is_told(tmp_path: Path) -> None:
    unread = ["DSC_1.NEF", "card.7z", "card.tar.xz", "img.CR2", "img.dng", "old.rar"]
    read = ["a.JFIF", "b.3gp", "c.MTS", "d.webm", "e.jp2", "f.heic"]
    root = _touch(tmp_path / "in", *unread, *read, "notes.txt", "more.txt", "table.xz", "README")
    listing = _list(root, tmp_path / "out")
    (rows,) = (batch.to_pylist() for batch in listing.batches())
    assert {row["path"] for row in rows if row["failure"] == "unsupported"} == set(unread)
    assert {row["path"] for row in rows if row["failure"] is None} == set(read)
    assert listing.num_ignored == 4
    (note,) = listing.notes
    assert note.startswith("4 files of the archive have no extension of a picture or video")
    assert note.endswith(": 2 .txt, 1 without an extension, 1 .xz")


def test_pictures_of_runs_within_the_archive_are_no_frames(tmp_path: Path) -> None:
    _touch(tmp_path, "a/1.jpg", "out/report/1.jpg", "old/parts/part-00000.parquet", "old/config.json", "old/2.jpg")
    assert _paths(_list(tmp_path, tmp_path / "out", skip=tmp_path / "out")) == ["a/1.jpg"]


def test_linked_folders_are_listed_once_and_lead_round_no_circle(tmp_path: Path) -> None:
    root = _touch(tmp_path / "in", "a/1.jpg", "out/2.jpg")
    _touch(tmp_path / "disk", "cam 2/100EK113/1.jpg")
    (root / "cam 2").symlink_to(tmp_path / "disk/cam 2")
    (tmp_path / "disk/cam 2/again").symlink_to(root)
    (root / "a/same").symlink_to(".")
    (root / "latest").symlink_to("a")
    (root / "later").symlink_to(tmp_path / "disk/cam 2")
    (root / "gone").symlink_to(tmp_path / "nowhere")
    (root / "b").symlink_to("out")
    listing = _list(root, tmp_path / "out", skip=root / "out")
    assert _paths(listing) == ["a/1.jpg", "cam 2/100EK113/1.jpg"]
    assert Archive(str(root)).read("cam 2/100EK113/1.jpg") == b"x"


def test_link_around_what_another_one_leads_to_brings_the_rest(tmp_path: Path) -> None:
    root = _touch(tmp_path / "in", "a/1.jpg")
    _touch(tmp_path, "nas/season/cam1/1.jpg", "nas/season/cam2/2.jpg", "nas/season/cam3/3.jpg")
    (root / "latest").symlink_to(tmp_path / "nas/season/cam3")
    (root / "season").symlink_to(tmp_path / "nas/season")
    (root / "up").symlink_to(tmp_path)
    (tmp_path / "nas/season/cam1/0").symlink_to(tmp_path / "nas")
    paths = ["a/1.jpg", "latest/3.jpg", "season/cam1/1.jpg", "season/cam2/2.jpg"]
    assert _paths(_list(root, tmp_path / "out")) == paths


@pytest.mark.parametrize(
    ("path", "deployment"),
    [
        ("north/100EK113/IMG_1.JPG", "north"),
        ("north/DCIM/101MEDIA/IMG_1.JPG", "north"),
        ("park/cam 3/100RECNX/RCNX1.JPG", "park/cam 3"),
        ("park/cam 3/102_BTCF/1.JPG", "park/cam 3"),
        ("DCIM/100DSCIM/1.JPG", "."),
        ("north/DCIM/100CANON/1.JPG", "north"),
        ("north/dcim/101_PANA/1.JPG", "north"),
        ("DCIM/100BTCF/1.JPG", "."),
        ("north/100CANON/1.JPG", "north/100CANON"),  # what else may be called so
        ("DCIM/cam 100/1.JPG", "DCIM/cam 100"),
        ("1.JPG", "."),
        ("MEDIA/100/1.JPG", "MEDIA/100"),
    ],
)
def test_deployment_is_the_camera_folder(path: str, deployment: str) -> None:
    assert MediaFile(path, 1).deployment == deployment


def test_id_does_not_depend_on_the_place_of_the_archive(tmp_path: Path) -> None:
    ids = []
    for name in ("here", "there"):
        listing = _list(_touch(tmp_path / name, "a/1.jpg", "b/1.jpg"), tmp_path / "out" / name)
        ids.append(listing.numbers()[0].tolist())
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_name_that_is_no_utf8_is_listed(tmp_path: Path) -> None:
    (tmp_path / b"caf\xe9.jpg".decode(errors="surrogateescape")).write_bytes(b"x")
    assert _paths(_list(tmp_path, tmp_path / "out")) == ["caf\\xe9.jpg"]


def test_names_of_any_kind_are_listed_and_read(tmp_path: Path) -> None:
    deep = "/".join(["Nationalpark Łęczna 2024, zweite Füllung"] * 8)
    names = ["Кабан 1.jpg", "a b/c#1%20.jpg", "新しい/🦌.JPG", f"{deep}/IMG 0001.jpg", "a\nb.jpg", "two..dots/..x.jpg"]
    listing = _list(_touch(tmp_path / "in", *names), tmp_path / "out")
    assert len(f"{deep}/IMG 0001.jpg") > 300
    assert sorted(_paths(listing)) == sorted(name for name in names if "/.." not in name)  # hidden ones are junk
    assert {Archive(str(tmp_path / "in")).read(path) for path in _paths(listing)} == {b"x"}


def test_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        _list(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UserError, match="not a folder"):
        Archive(str(tmp_path / "nowhere")).require()


@given(st.lists(st.lists(st.sampled_from(["a", "a-b", "a.b", "ab", "a b", "Z"]), min_size=1, max_size=3), max_size=12))
def test_order_is_that_of_the_paths(names: list[list[str]]) -> None:
    """The walk sorts folder by folder; what comes out is sorted as S3 sorts keys."""
    with tempfile.TemporaryDirectory() as scratch:
        _touch(Path(scratch), *("/".join(parts) + "/1.jpg" for parts in names), *(f"{it[0]}.jpg" for it in names))
        paths = [file.path for file in Archive(scratch).files()]
    assert paths == sorted(paths)
