"""Places on S3: through faults nothing is lost or doubled, and refusals are one line."""

import errno
import io
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import FlexibleChecksumError, IncompleteReadError
from urllib3.exceptions import SSLError

from trygon import s3, s3_clients
from trygon.disk import only_writer
from trygon.errors import TrygonError, UserError
from trygon.storage import (
    copy_file,
    digest_file,
    exists,
    join,
    list_files,
    open_input,
    read_bytes,
    read_json,
    read_ranges,
    remove_tree,
    write_bytes,
    write_json,
    write_text,
)
from trygon.testing.s3 import BREAKS, Fault, FaultyS3, Kind, asking_for_keys, using

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _environment(server: str) -> Iterator[None]:
    with using(server):
        yield


def _contents(num: int) -> dict[str, bytes]:
    """Objects of mixed sizes: blank, shorter than an answer that says no, of some MB, and in two parts."""
    rng = random.Random(num)
    sizes = [0, 1, 40, 700, 5_000, 30_000, 100_000] * num
    sizes[-1], sizes[-2] = 3_000_000, 12_000_000
    return {f"{index:03d}.bin": rng.randbytes(size) for index, size in enumerate(sizes)}


@pytest.mark.parametrize("kind", BREAKS)
def test_through_faults_all_is_there_once_byte_for_byte(server: str, kind: Kind) -> None:
    contents, root = _contents(15), f"s3://shards/{kind}"
    with FaultyS3(server, [Fault(kind, 3)]) as faulty, using(faulty.address), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: write_bytes(join(root, name), contents[name]), contents))
        found = list(pool.map(lambda name: read_bytes(join(root, name)), contents))
        assert list_files(root) == [join(root, name) for name in contents]
    assert found == list(contents.values())
    assert faulty.met[kind] > 20
    # And past the proxy: what lies there, not what the client believes.
    assert [read_bytes(place) for place in list_files(root)] == list(contents.values())


def test_a_server_that_falls_silent_is_asked_again(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes("s3://shards/silent", b"x" * 100_000)  # with a client that other tests use
    monkeypatch.setattr(s3_clients, "READ_TIMEOUT_S", 1.0)
    with FaultyS3(server, [Fault(Kind.STALL, 2, ("GET",))]) as faulty, using(faulty.address):
        for _ in range(3):
            assert read_bytes("s3://shards/silent") == b"x" * 100_000
    assert faulty.met[Kind.STALL]


def test_ranges_are_read_through_faults(server: str) -> None:
    data = random.Random(1).randbytes(5_000_000)
    write_bytes("s3://shards/ranges", data)
    with (
        FaultyS3(server, [Fault(Kind.TRUNCATE, 2), Fault(Kind.SLOW_DOWN, 3)]) as faulty,
        using(faulty.address),
        open_input("s3://shards/ranges") as file,
    ):
        for start, count in ((4_999_990, 100), (0, 1), (2_000_000, 1_500_000), (4_000_000, 0)):
            file.seek(start)
            assert file.read(count) == data[start : start + count]
        assert file.seek(-8, io.SEEK_END) == len(data) - 8
        assert file.read() == data[-8:]
    assert faulty.met[Kind.TRUNCATE] > 1


def test_stretches_are_read_by_one_request_each(server: str) -> None:
    write_bytes("s3://shards/stretches", b"0123456789")
    # Whoever asked for the size first would be refused.
    with FaultyS3(server, [Fault(Kind.DENY, 1, ("HEAD",))]) as faulty, using(faulty.address):
        assert read_ranges("s3://shards/stretches", [(2, 5), (0, 0), (9, 10)]) == [b"234", b"", b"9"]
        for past in ((8, 12), (10, 11)):
            with pytest.raises(OSError, match="ends before the bytes"):
                read_ranges("s3://shards/stretches", [past])
        assert read_bytes("s3://shards/stretches", 10) == b"0123456789"
        with pytest.raises(OSError, match="too large") as caught:
            read_bytes("s3://shards/stretches", 9)
    assert caught.value.errno == errno.EFBIG


_BROKEN = (
    IncompleteReadError(actual_bytes=1, expected_bytes=2),
    FlexibleChecksumError(error_msg="of another body"),
    SSLError("bad record mac"),
)


@pytest.mark.parametrize("error", _BROKEN, ids=lambda error: type(error).__name__)
def test_what_breaks_off_or_arrives_damaged_is_asked_for_again(error: Exception) -> None:
    turns = iter([error])

    def read() -> bytes:
        for error in turns:
            raise error
        return b"whole"

    assert s3.persist(s3.Address.parse("s3://shards/broken"), read) == b"whole"


def test_a_server_that_knows_no_checksums_gets_none(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyS3(server, [Fault(Kind.NO_CHECKSUMS, 1)]) as faulty, using(faulty.address):
        for size in (10, 10_000_000):  # one request, and several parts
            write_bytes("s3://shards/plain", bytes(size))
            assert read_bytes("s3://shards/plain") == bytes(size)
        with only_writer("s3://shards/plain-run") as hold:
            hold.check()
        assert not faulty.met
        monkeypatch.setattr(s3, "ATTEMPTS", 1)
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
        with pytest.raises(TrygonError, match="NotImplemented"):
            write_bytes("s3://shards/plain", b"")


def test_keys_stand_as_they_are(tmp_path: Path) -> None:
    names = ["a b/Ünï #2.jpg", "100%25.json", "what?.txt", "a+b=c&d.txt", "two//slashes.txt"]
    for name in names:
        write_text(join("s3://shards/keys", name), name)
    assert list_files("s3://shards/keys") == sorted(f"s3://shards/keys/{name}" for name in names)
    assert [read_bytes(f"s3://shards/keys/{name}").decode() for name in names] == names
    write_text("s3://shards/keys/a/../b.txt", "here")  # not listed: a part of it begins with a dot
    assert read_bytes("s3://shards/keys/a/../b.txt") == b"here"
    assert [open_input(f"s3://shards/keys/{name}").read().decode() for name in names] == names
    assert list_files("s3://shards/keys", ".json") == ["s3://shards/keys/100%25.json"]


def test_a_folder_on_s3_is_as_one_on_disk(tmp_path: Path) -> None:
    seen = []
    for root in (str(tmp_path / "a"), "s3://shards/alike"):
        write_json(join(root, "x", "a.json"), {"a": 1})
        write_bytes(join(root, "b.bin"), b"b")
        write_bytes(join(root, ".lock"), b"")
        write_bytes(join(root, "x", ".b.bin.unfinished"), b"")
        write_bytes(root + "b", b"beside")
        copy_file(tmp_path / "ab", join(root, "copied"))
        names = [place.removeprefix(root) for place in list_files(root)]
        there = [exists(join(root, name)) for name in ("", "x", "x/a.json", "x/a", ".lock")]
        seen.append((names, there, read_json(join(root, "x/a.json")), digest_file(join(root, "b.bin"))))
        remove_tree(root)
        remove_tree(root)
        assert not exists(root)
        assert read_bytes(root + "b") == b"beside"
        assert list_files(root) == []
        with pytest.raises(FileNotFoundError):
            read_bytes(join(root, "b.bin"))
        with pytest.raises(UserError, match=r"none\.json"):
            read_json(join(root, "none.json"))
    assert seen[0] == seen[1]
    assert seen[0][:2] == (["/b.bin", "/copied", "/x/a.json"], [True, True, True, False, True])


def test_more_than_a_page_is_listed_and_removed() -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: write_bytes(f"s3://shards/many/{number:04d}", b""), range(1_005)))
    assert len(list_files("s3://shards/many")) == 1_005
    remove_tree("s3://shards/many")
    assert list_files("s3://shards/many") == []


def test_server_can_stand_in_the_address(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    root = f"s3://shards/addressed?endpoint_override={server.removeprefix('http://')}&scheme=http"
    write_text(join(root, "a", "b"), "there")
    (place,) = list_files(root)
    assert place == join(root, "a/b")
    assert read_bytes(place) == b"there"


def test_endpoint_and_keys_come_from_a_profile(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(f"[profile lab]\nendpoint_url = {server}\nregion = eu-north-1\n")
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = a\naws_secret_access_key = b\n")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    write_text("s3://shards/profile", "there")
    assert read_bytes("s3://shards/profile") == b"there"
    assert s3.client(s3.Address.parse("s3://shards")).meta.region_name == "eu-north-1"
    monkeypatch.setenv("AWS_PROFILE", "none")
    with pytest.raises(UserError, match="none"):
        read_bytes("s3://shards/profile")


@pytest.fixture
def _locked(server: str) -> Iterator[None]:
    with asking_for_keys(server):
        yield


def _problems(root: str) -> list[str]:
    """What reading, listing and writing say."""
    said = []
    for act in (
        lambda: read_bytes(join(root, "a")),
        lambda: list_files(root),
        lambda: write_bytes(join(root, "a"), b""),
    ):
        with pytest.raises(TrygonError) as caught:
            act()
        assert root in str(caught.value)
        assert "\n" not in str(caught.value)
        said.append(str(caught.value))
    return said


def test_missing_bucket_is_one_line() -> None:
    assert all("NO_SUCH_BUCKET" in line for line in _problems("s3://nowhere/x"))


@pytest.mark.usefixtures("_locked")
def test_wrong_keys_are_one_line_that_does_not_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "very-public")
    lines = _problems("s3://shards/x")
    assert all("AWS_ACCESS_KEY_ID" in line and "very" not in line for line in lines)


def test_a_file_that_is_read_for_long_outlives_its_keys(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = random.Random(0).randbytes(5_000_000)
    write_bytes("s3://shards/long", content)
    iam = boto3.client("iam", endpoint_url=server, region_name="us-east-1")
    iam.create_user(UserName="reader")
    allowed = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=policy)
    first, second = (iam.create_access_key(UserName="reader")["AccessKey"] for _ in range(2))

    def use(key: dict[str, str]) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])

    use(first)
    with open_input("s3://shards/long") as file:
        with asking_for_keys(server):
            begin = file.read(1000)
        iam.delete_access_key(UserName="reader", AccessKeyId=first["AccessKeyId"])
        use(second)
        with asking_for_keys(server):
            assert begin + file.read() == content


def test_what_needs_keys_says_so_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes("s3://shards/x/a", b"")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(UserError, match=r"s3://shards/x/a: access denied; no keys were found.* AWS_PROFILE"):
        read_bytes("s3://shards/x/a")


def test_without_keys_a_public_bucket_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    client = s3.client(s3.Address("shards", ""))
    client.create_bucket(Bucket="open-to-all", ACL="public-read")
    client.put_object(Bucket="open-to-all", Key="a", Body=b"all", ACL="public-read")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert read_bytes("s3://open-to-all/a") == b"all"
    assert list_files("s3://open-to-all") == ["s3://open-to-all/a"]


def test_a_server_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert all("AWS_ENDPOINT_URL" in line for line in _problems("s3://shards/x"))


@pytest.mark.parametrize(
    "place",
    ["s3://", "s3:///x", "s3://key:very-secret@shards/x", "s3://key:very/very-secret@shards/x", "gs://shards/x"],
)
def test_what_is_no_address_is_refused(place: str) -> None:
    with pytest.raises(UserError) as caught:
        read_bytes(place)
    assert "very-secret" not in str(caught.value)
