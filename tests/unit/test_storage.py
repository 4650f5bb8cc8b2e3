"""Writing so that a reader never sees half a file, and naming by content."""

import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.errors import UserError
from trygon.storage import (
    absolute,
    digest_file,
    digest_texts,
    is_same,
    list_folder,
    open_input,
    read_json,
    remove_unfinished,
    replace_folder,
    require_folder,
    stable_id,
    state_of,
    write_bytes,
    write_json,
)


def test_a_place_is_itself_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for other in (f"{tmp_path}/", f"{tmp_path}/a/..", tmp_path / "link"):
        assert is_same(tmp_path, other)
    assert is_same("s3://b/run", "s3://b/run/?scheme=http")
    for place, other in [("s3://b/run", "s3://b/run2"), ("s3://b/run", "b/run"), ("a", "b")]:
        assert not is_same(place, other)


def test_a_folder_is_listed_while_another_process_writes_to_it(tmp_path: Path) -> None:
    place, content, stop = tmp_path / "folder", b"whole", threading.Event()
    write_bytes(place / "part-1.json", content)

    def write() -> None:
        while not stop.is_set():
            write_bytes(place / "part-0.json", content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(1000):
            found = {file.name: file.bytes for file in list_folder(place, "part-", ".json")}
            assert found.items() <= {"part-0.json": len(content), "part-1.json": len(content)}.items()
            assert "part-1.json" in found
    finally:
        stop.set()
        writer.join()
    assert [file.name for file in list_folder(place, suffix=".json")] == ["part-0.json", "part-1.json"]


def test_json_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "a.json"
    write_json(path, {"name": "Ærfugl", "n": [1, None]})
    assert read_json(path) == {"name": "Ærfugl", "n": [1, None]}
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_reader_sees_old_or_new_and_nothing_between(tmp_path: Path) -> None:
    path, contents = tmp_path / "a", [bytes([value]) * 1_000_000 for value in (1, 2)]
    write_bytes(path, contents[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(40):
            write_bytes(path, contents[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert path.read_bytes() in contents
    writer.join()


def test_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_the_disk_has_a_durable_file_before_its_name_and_its_name_before_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_sync(handle: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"{os.fstat(handle).st_size} bytes")
        fsync(handle)

    def record_name(name: str | Path, path: str | Path) -> None:
        steps.append("name")
        replace(name, path)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_name)
    write_bytes(tmp_path / "a", b"123", durable=True)
    assert steps == ["3 bytes", "name", "folder"]


def test_finished_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for name in ("finished", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace_folder(tmp_path / "finished", tmp_path / "target")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["target", "target/finished"]


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_bad_json_is_a_user_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.json"):
        read_json(tmp_path / "bad.json")


def test_what_is_missing_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json"):
        read_json(tmp_path / "none.json")
    with pytest.raises(UserError, match=r"the shards .* is not a folder\. Run trygon curate"):
        require_folder(tmp_path / "none", "the shards", "Run trygon curate")
    with pytest.raises(UserError, match="nosuch://"):
        open_input("nosuch://bucket/key")


def test_local_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("a/b") == str(tmp_path / "a/b")


def test_digests(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_texts(["ab", "c"]) != digest_texts(["a", "bc"])
    assert digest_texts([os.fsdecode(b"\xe9.jpg")]) != digest_texts([os.fsdecode(b"\xe8.jpg")])


def test_a_file_that_is_written_anew_has_another_state(tmp_path: Path) -> None:
    path, states = tmp_path / "a", [state_of(tmp_path / "a")]
    assert states == [""]
    for content, time_s in ((b"abc", 1), (b"abd", 2), (b"abcd", 2)):
        path.write_bytes(content)
        os.utime(path, (time_s, time_s))
        states.append(state_of(path))
        assert state_of(path) == states[-1]
    assert len(set(states)) == 4


def test_what_a_killed_writer_left_is_removed_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.json", ".work/b.json", ".lock", ".notes", ".work/.kept"):
        write_bytes(tmp_path / name, b"1")
    for killed in ("fdopen", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, killed, _killed)
            patch.setattr(Path, "unlink", lambda *_, **__: None)
            for name in ("c.json", ".work/d.json"):
                with pytest.raises(KeyboardInterrupt):
                    write_bytes(tmp_path / name, b"1")
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) == 9
    remove_unfinished(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"a.json", ".work/b.json", ".lock", ".notes", ".work/.kept"}
    remove_unfinished(tmp_path / "none")


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_ids_are_positive_int64(parts: list[str]) -> None:
    assert 0 <= stable_id(*parts) < 2**63


def test_ids_never_change() -> None:
    assert stable_id("inat21", "00001/a.jpg") == 4609578947319302575
