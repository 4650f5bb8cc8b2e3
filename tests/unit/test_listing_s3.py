"""An archive under an s3:// prefix, over HTTP from a real S3 interface on loopback."""

import pickle
import tempfile
from collections.abc import Iterator

import pytest

from trygon import s3
from trygon.archive.inputs.listing import Archive, write_listing
from trygon.archive.inputs.media import MediaFile
from trygon.archive.media.frames import Frames
from trygon.errors import TrygonError, UserError
from trygon.lease import Hold
from trygon.storage import write_bytes
from trygon.testing.s3 import Fault, FaultyS3, Kind, asking_for_keys, s3_server, using

pytestmark = pytest.mark.slow

OBJECTS = {
    "season-3/north/100EK113/IMG_0001.JPG": b"first",
    "season-3/north/100EK113/Ünï #2.jpg": b"second",
    "season-3/notes.txt": b"",
    "season-3/.hidden/IMG_1.JPG": b"",
    "season-30/IMG_1.JPG": b"of another archive",
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server with one bucket, `frames`."""
    with s3_server("frames") as address, using(address):
        for key, body in OBJECTS.items():
            write_bytes(f"s3://frames/{key}", body)
        # What a console writes for a folder that somebody made by hand.
        for folder in ("season-3/", "season-3/south/"):
            write_bytes(f"s3://frames/{folder}", b"")
        yield address


@pytest.fixture(autouse=True)
def _environment(server: str) -> Iterator[None]:
    with using(server):
        yield


def _list(archive: Archive, skip: str | None = None) -> tuple[list[MediaFile], int]:
    """The frames as listed in a run folder, and the number of other files."""
    with tempfile.TemporaryDirectory() as scratch:
        listing = write_listing(archive, scratch, Hold(), skip)
        rows = [row for batch in listing.batches() for row in batch.to_pylist()]
    return [MediaFile(row["path"], row["bytes"], row["mark"]) for row in rows], listing.num_ignored


@pytest.mark.parametrize("uri", ["s3://frames/season-3", "s3://frames/season-3/"])
def test_prefix_is_listed_and_read_like_a_folder(uri: str) -> None:
    archive = Archive(uri)
    files, num_ignored = _list(archive)
    assert [file.path for file in files] == ["north/100EK113/IMG_0001.JPG", "north/100EK113/Ünï #2.jpg"]
    assert [file.bytes for file in files] == [5, 6]
    assert {file.deployment for file in files} == {"north"}
    assert num_ignored == 1
    assert [archive.read(file.path) for file in files] == [b"first", b"second"]


def test_whole_bucket_is_an_archive() -> None:
    archive = Archive("s3://frames")
    files, _ = _list(archive)
    assert len(files) == 3
    assert archive.read("season-30/IMG_1.JPG") == b"of another archive"


def test_server_can_stand_in_the_address(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    host = server.removeprefix("http://")
    files, _ = _list(Archive(f"s3://frames/season-30?endpoint_override={host}&scheme=http"))
    assert [file.path for file in files] == ["IMG_1.JPG"]


def test_opened_archive_travels_to_workers_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    archive = Archive("s3://frames/season-3")
    path = _list(archive)[0][0].path
    archive.read(path)
    sent = pickle.dumps(archive)
    assert b"wJalrXUtnFEMI" not in sent
    assert pickle.loads(sent).read(path) == b"first"


def test_file_that_is_gone_is_an_oserror() -> None:
    with pytest.raises(OSError, match="gone"):
        Archive("s3://frames/season-3").read("gone.jpg")


def test_runs_within_the_archive_are_passed_over() -> None:
    names = ["old/config.json", "old/parts/part-00000.parquet", "old/report/1.jpg", "out/1.jpg", "outer/1.jpg"]
    for name in [*names, "config.json", "parts/1.jpg", "cam/config.json", "cam/1.jpg"]:
        write_bytes(f"s3://frames/runs/{name}", b"")
    frames = ["cam/1.jpg", "out/1.jpg", "outer/1.jpg", "parts/1.jpg"]
    for skip, skipped in {
        "s3://frames/runs/out/": {"out/1.jpg"},
        "s3://frames/runs": set(),
        "/elsewhere": set(),
    }.items():
        files, _ = _list(Archive("s3://frames/runs"), skip)
        assert [file.path for file in files] == [frame for frame in frames if frame not in skipped]


def test_pages_come_through_an_unwell_server_and_keys_stand_as_they_are(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "4")
    names = ["a/../b.jpg", "../up.jpg", "a b/ü%20 #1?.jpg", "x" * 300 + "/1.jpg", *(f"{it}.jpg" for it in range(30))]
    for name in names:
        write_bytes(f"s3://frames/odd/{name}", b"frame")
    kinds = [Kind.SLOW_DOWN, Kind.DROP_ANSWER, Kind.TRUNCATE, Kind.SLOW, Kind.LOSE_ANSWER]
    with FaultyS3(server, [Fault(kind, 5) for kind in kinds]) as faulty, using(faulty.address):
        monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "4")
        files, _ = _list(Archive("s3://frames/odd"))
        assert len(faulty.met) == len(kinds)
    assert [file.path for file in files] == sorted(names)
    assert Archive("s3://frames/odd").read("a/../b.jpg") == b"frame"


def test_a_server_that_says_no_is_no_broken_frame(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, paths = Archive("s3://frames/season-3"), ["north/100EK113/IMG_0001.JPG", "gone.jpg", "two//slashes.jpg"]
    faults = [Fault(Kind.SLOW_DOWN, 7), Fault(Kind.TRUNCATE, 5)]
    with FaultyS3(server, faults) as faulty, using(faulty.address):
        for _ in range(8):
            assert archive.read(paths[0]) == b"first"
    assert len(faulty.met) == len(faults)
    rows = [row for path in paths[1:] for row in Frames(archive).rows({"path": path})]
    assert [row["failure"] for row in rows] == ["vanished", "vanished"]
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with using("http://127.0.0.1:9"), pytest.raises(TrygonError, match=r"IMG_0001.JPG: http://127.0.0.1:9 does not"):
        list(Frames(archive).rows({"path": paths[0]}))


@pytest.mark.parametrize(
    ("uri", "reason"), [("s3://nowhere/a", "NO_SUCH_BUCKET"), ("s3://frames/no", "nothing lies below")]
)
def test_missing_place_is_one_line(uri: str, reason: str) -> None:
    line = _problem(uri)
    assert uri in line
    assert reason in line


@pytest.fixture
def _locked(server: str) -> Iterator[None]:
    with asking_for_keys(server):
        yield


@pytest.mark.usefixtures("_locked")
def test_wrong_key_is_one_line() -> None:
    line = _problem("s3://frames/season-3")
    assert "AWS_ACCESS_KEY_ID" in line
    assert "does not take the keys" in line


def test_missing_key_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "AWS_SECRET_ACCESS_KEY" in _problem("s3://frames/season-3")


def _problem(uri: str) -> str:
    with pytest.raises(UserError) as caught:
        _list(Archive(uri))
    assert "\n" not in str(caught.value)
    return str(caught.value)
