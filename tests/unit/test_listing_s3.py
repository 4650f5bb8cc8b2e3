"""An archive under an s3:// prefix, over HTTP from a real S3 interface on loopback."""

import pickle
from collections.abc import Iterator

import pytest
import requests

from trygon.archive.listing import Archive
from trygon.errors import UserError
from trygon.storage import write_bytes
from trygon.testing.s3 import s3_server, using

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
        write_bytes("s3://frames/season-3/south/", b"")
        yield address


@pytest.fixture(autouse=True)
def _environment(server: str) -> Iterator[None]:
    with using(server):
        yield


@pytest.mark.parametrize("uri", ["s3://frames/season-3", "s3://frames/season-3/"])
def test_prefix_is_listed_and_read_like_a_folder(uri: str) -> None:
    archive = Archive(uri)
    files, num_ignored = archive.list()
    assert [file.path for file in files] == ["north/100EK113/IMG_0001.JPG", "north/100EK113/Ünï #2.jpg"]
    assert [file.bytes for file in files] == [5, 6]
    assert {file.deployment for file in files} == {"north"}
    assert num_ignored == 1
    assert [archive.read(file.path) for file in files] == [b"first", b"second"]


def test_whole_bucket_is_an_archive() -> None:
    archive = Archive("s3://frames")
    files, _ = archive.list()
    assert len(files) == 3
    assert archive.read("season-30/IMG_1.JPG") == b"of another archive"


def test_server_can_stand_in_the_address(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    host = server.removeprefix("http://")
    files, _ = Archive(f"s3://frames/season-30?endpoint_override={host}&scheme=http").list()
    assert [file.path for file in files] == ["IMG_1.JPG"]


def test_opened_archive_travels_to_workers() -> None:
    archive = Archive("s3://frames/season-3")
    path = archive.list()[0][0].path
    assert pickle.loads(pickle.dumps(archive)).read(path) == b"first"


def test_file_that_is_gone_is_an_oserror() -> None:
    with pytest.raises(OSError, match="gone"):
        Archive("s3://frames/season-3").read("gone.jpg")


@pytest.mark.parametrize(("uri", "reason"), [("s3://nowhere/a", "NO_SUCH_BUCKET"), ("s3://frames/no", "not exist")])
def test_missing_place_is_one_line(uri: str, reason: str) -> None:
    line = _problem(uri)
    assert uri in line
    assert reason in line


@pytest.fixture
def _locked(server: str) -> Iterator[None]:
    """The server asks for keys that it knows, as S3 does; else it takes any."""
    requests.post(f"{server}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
    yield
    requests.post(f"{server}/moto-api/reset-auth", data=b"inf", timeout=10).raise_for_status()


@pytest.mark.usefixtures("_locked")
def test_wrong_key_is_one_line() -> None:
    line = _problem("s3://frames/season-3")
    assert "AWS_ACCESS_KEY_ID" in line
    assert "INVALID_ACCESS_KEY_ID" in line


@pytest.mark.usefixtures("_locked")
def test_missing_key_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "AWS_ACCESS_KEY_ID" in _problem("s3://frames/season-3")


def _problem(uri: str) -> str:
    with pytest.raises(UserError) as caught:
        Archive(uri).list()
    assert "\n" not in str(caught.value)
    return str(caught.value)
