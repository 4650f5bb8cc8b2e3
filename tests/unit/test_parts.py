"""Commits part by part: what is finished, what is left, what a crash leaves; and to whom a run folder belongs."""

import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.archive.inputs.listing import Archive, Listing, write_listing
from trygon.archive.inputs.media import MediaFile
from trygon.archive.run_folder import sessions
from trygon.archive.run_folder.parts import Parts, PartWriter
from trygon.archive.run_folder.planning import Plan, plan_missing, some_files
from trygon.archive.run_folder.presence import sort_media
from trygon.archive.run_folder.sessions import Session, bind, figures, num_uncommitted, record
from trygon.archive.run_folder.tables import read_table
from trygon.disk import only_writer, writing_to
from trygon.errors import TrygonError, UserError
from trygon.lease import Hold
from trygon.schemas import FAILURES, PASSING
from trygon.storage import exists, is_remote, remove_file
from trygon.testing.s3 import s3_server, using

FILES = [MediaFile(f"a/{number}.jpg", 1) for number in range(10)]


def _row(file: MediaFile, content: bytes = b"x") -> dict[str, Any]:
    facts = {"bytes": file.bytes, "mark": file.mark, "digest": sha256(content).hexdigest()}
    return {"media_id": file.media_id, "path": file.path, "deployment": "a", "detections": [], **facts}


class Memory(Archive):
    """An archive whose files are given."""

    files_: ClassVar[list[MediaFile]] = FILES

    def files(self, skip: Any = None, times: Any = None) -> Iterator[MediaFile]:
        return iter(self.files_)


def _listing(folder: str, files: list[MediaFile]) -> Listing:
    archive = Memory("memory")
    archive.__class__.files_ = files
    return write_listing(archive, folder, Hold())


def _never(path: str, member: str | None) -> str:
    raise AssertionError("no file has changed its mark")


def _plan(folder: str, files: list[MediaFile], part_size: int = 4) -> Plan:
    return plan_missing(Parts(folder), _listing(folder, files), part_size, _never)


def _paths(plan: Plan) -> list[list[str]]:
    return [plan.part(index)["path"].to_pylist() for index in range(len(plan.sizes))]


@pytest.fixture(params=["disk", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A run folder, on disk and on S3."""
    if request.param == "disk":
        yield str(tmp_path)
        return
    with s3_server("runs") as address, using(address):
        yield f"s3://runs/{tmp_path.name}"  # servers in one process hold the same objects


def test_some_files_are_from_all_over_the_plan(tmp_path: Path) -> None:
    files = [MediaFile(f"a/{number:02d}.jpg", 1) for number in range(23)]
    plan = _plan(str(tmp_path), files)
    assert [row["path"] for row in some_files(plan, 23)] == [file.path for file in files]
    assert [row["path"] for row in some_files(plan, 3)] == ["a/00.jpg", "a/11.jpg", "a/22.jpg"]
    assert some_files(_plan(str(tmp_path), []), 3) == []


def test_plan_holds_what_no_commit_holds(root: str) -> None:
    parts, paths = Parts(root), [file.path for file in FILES]
    plan = _plan(root, FILES)
    assert (plan.first, plan.sizes, plan.num_files) == (0, [4, 4, 2], 10)
    assert _paths(plan) == [paths[:4], paths[4:8], paths[8:]]
    parts.commit(1, [_row(file) for file in FILES[4:8]])
    again = _plan(root, FILES)
    assert (again.first, again.sizes) == (2, [4, 2])
    assert _paths(again) == [paths[:4], paths[8:]]
    assert _plan(root, FILES[4:8]).sizes == []


@given(st.permutations(range(10)), st.integers(1, 11))
def test_part_is_committed_with_its_last_row_whatever_the_order(order: list[int], part_size: int) -> None:
    committed: dict[int, list[str]] = {}

    class Kept(Parts):
        def commit(self, number: int, rows: Any) -> None:
            assert number not in committed
            committed[number] = [row["path"] for row in rows]

    sizes = [min(part_size, 10 - start) for start in range(0, 10, part_size)]
    writer = PartWriter(Kept(Path("/nowhere")), 0, sizes)
    for index in order:
        writer.add(index // part_size, _row(FILES[index]))
    assert writer.num_open == 0
    assert sorted(path for paths in committed.values() for path in paths) == [file.path for file in FILES]


@pytest.mark.parametrize("content", [b"", bytes(1000)])
@pytest.mark.parametrize("name", ["parts", "vectors"])
def test_commit_that_cannot_be_read_is_done_again(name: str, content: bytes, tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    for number in (0, 1):
        parts.commit(number, [_row(FILES[number])])
    (tmp_path / name / "part-00001.parquet").write_bytes(content)
    assert parts.clean() == 1
    assert _paths(_plan(str(tmp_path), FILES[:2])) == [["a/1.jpg"]]
    assert not exists(parts.vectors_place(1))
    assert parts.clean() == 0


def test_what_was_not_committed_is_removed(root: str, tmp_path: Path) -> None:
    parts = Parts(root)
    for number in (0, 1):
        parts.commit(number, [_row(FILES[number])])
    remove_file(parts.media_place(1))  # as if the power went between the two files
    if not is_remote(root):
        (tmp_path / "parts" / ".part-00001.parquet.x1").write_bytes(b"half")
    parts.clean()
    assert parts.numbers() == [0]
    assert sum(table.num_rows for table in parts.detections()) == 0
    assert not exists(parts.vectors_place(1))
    assert parts.media()["path"].to_pylist() == ["a/0.jpg"]
    if not is_remote(root):
        assert [path.name for path in (tmp_path / "parts").iterdir()] == ["part-00000.parquet"]


def _changed(index: int, **facts: Any) -> list[MediaFile]:
    return [*FILES[:index], replace(FILES[index], **facts), *FILES[index + 1 :]]


def test_changed_file_is_done_again_and_touched_one_is_not(root: str) -> None:
    parts = Parts(root)
    parts.commit(0, [_row(file) for file in FILES])
    assert _paths(_plan(root, _changed(2, bytes=2))) == [["a/2.jpg"]]
    read: list[str] = []

    def reads(path: str, member: str | None) -> str:
        read.append(path)
        return sha256(b"y" if path == "a/3.jpg" else b"x").hexdigest()

    touched = [replace(file, mark=7) for file in FILES]
    listing = _listing(root, touched)
    assert _paths(plan_missing(parts, listing, 4, reads)) == [["a/3.jpg"]]
    assert sorted(read) == [file.path for file in FILES]
    read.clear()
    assert _paths(plan_missing(parts, listing, 4, reads)) == [["a/3.jpg"]]  # as after a kill
    assert read == ["a/3.jpg"]
    parts.commit(1, [_row(touched[3], b"y")])
    assert plan_missing(parts, listing, 4, _never).sizes == []


def test_only_what_failed_for_a_passing_reason_is_tried_again_when_asked(root: str) -> None:
    parts, files = Parts(root), _changed(0)
    failures = [None, "s3_error", "truncated", "timeout"]
    rows = [_row(file) | {"failure": reason} for file, reason in zip(files, failures, strict=False)]
    parts.commit(0, rows)
    listing = _listing(root, files[: len(rows)])
    assert plan_missing(parts, listing, 4, _never).sizes == []
    assert _paths(plan_missing(parts, listing, 4, _never, PASSING)) == [[files[1].path, files[3].path]]
    parts.commit(1, [_row(files[1]), _row(files[3]) | {"failure": "denied"}])
    assert parts.failed(PASSING).tolist() == [files[3].media_id]
    assert _paths(plan_missing(parts, listing, 4, _never, PASSING)) == [[files[3].path]]
    assert set(PASSING) <= set(FAILURES)


def test_what_was_done_again_is_there_once_and_what_is_gone_is_kept_apart(root: str) -> None:
    parts = Parts(root)
    boxes = [{"detection_id": n, "media_id": FILES[n].media_id, "category": "animal"} for n in range(10)]
    boxes = [box | dict.fromkeys(("confidence", "x", "y", "width", "height"), 0.5) for box in boxes]
    parts.commit(0, [_row(file) | {"detections": [box]} for file, box in zip(FILES, boxes, strict=True)])
    parts.commit(1, [_row(FILES[4], b"new") | {"detections": [boxes[4] | {"detection_id": 77}]}])
    for _ in range(2):
        parts.drop_superseded()
        ids = [one for table in parts.detections() for one in table["detection_id"].to_pylist()]
        assert sorted(ids) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 77]
    media, removed = sort_media(parts, _listing(root, [replace(file, camera="b") for file in FILES[3:]]))
    assert media["path"].to_pylist() == [file.path for file in FILES[3:]]
    assert set(media["deployment"].to_pylist()) == {"b"}
    assert media["digest"].to_pylist()[1] == sha256(b"new").hexdigest()
    assert removed["path"].to_pylist() == ["a/0.jpg", "a/1.jpg", "a/2.jpg"]
    assert sort_media(parts, _listing(root, []))[1].num_rows == 10


def test_file_that_is_listed_twice_is_one_file(root: str) -> None:
    listing = _listing(root, [*FILES, FILES[3]])
    assert listing.num_files == 10
    assert len(read_table(listing.place)) == 10


class Lost(Hold):
    """Held for so many checks, then taken over by another process."""

    def __init__(self, after: int) -> None:
        self._left = after

    def check(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TrygonError("another one has taken its place")


@pytest.mark.parametrize("after", [0, 1])
def test_who_lost_the_folder_commits_and_removes_nothing(root: str, after: int) -> None:
    with pytest.raises(TrygonError, match="taken its place"):
        Parts(root, Lost(after)).commit(0, [_row(FILES[0])])
    assert exists(Parts(root).vectors_place(0)) == bool(after)
    assert Parts(root).numbers() == []
    Parts(root).commit(1, [_row(FILES[1])])
    remove_file(Parts(root).media_place(1))
    with pytest.raises(TrygonError, match="taken its place"):
        Parts(root, Lost(0)).clean()
    assert exists(Parts(root).vectors_place(1))


def test_run_folder_belongs_to_one_model_and_detector(root: str) -> None:
    bind(root, {"model": "a", "detector": "b"})
    bind(root, {"model": "a", "detector": "b"})
    with pytest.raises(UserError, match="another detector"):
        bind(root, {"model": "a", "detector": "c"})


def _session(folder: str, sizes: list[int], waiting: int, interrupted: bool) -> None:
    with record(folder, Hold()) as session:
        for size in sizes:
            session.add(size, waiting)
        if interrupted:
            raise KeyboardInterrupt


def test_sessions_say_what_was_read_and_what_was_done_twice(root: str) -> None:
    assert figures(root) == {}
    with pytest.raises(KeyboardInterrupt):
        _session(root, [100, 200, 300], waiting=1, interrupted=True)
    assert num_uncommitted(root) == 1
    _session(root, [300], waiting=0, interrupted=False)
    found = figures(root, price_per_hour=3.6)
    assert (found["num_sessions"], found["num_bytes_read"]) == (2, 900)
    assert found["num_redone"] == 1
    assert num_uncommitted(root) == 0  # by now they are done
    # All came at once: nothing can be said of how fast.
    assert found["images_per_s"] is None
    assert "cost_per_million" not in found


def test_session_that_is_killed_has_said_how_far_it_came(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_EVERY_S", 0.0)
    monkeypatch.setattr(sessions, "_TOGETHER_S", 0.0)
    session = Session(root, Hold())
    for waiting in range(1, 41):
        time.sleep(0.001)
        session.add(1000, waiting)
    found = figures(root, price_per_hour=3.6)
    assert (found["num_bytes_read"], found["num_redone"]) == (40_000, 40)
    assert 0 < found["images_per_s"] < 1000
    assert found["cost_per_million"] == pytest.approx(1000 / found["images_per_s"], abs=0.01)


def test_a_few_images_after_most_came_at_once_tell_no_rate(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_TOGETHER_S", 0.05)
    session = Session(root, Hold())
    for number in range(10):
        time.sleep(0.06 if number == 8 else 0)
        session.add(1000, 0)
    session.write()
    assert figures(root)["images_per_s"] is None


def test_full_disk_is_one_line_and_says_that_the_run_goes_on(tmp_path: Path) -> None:
    with (
        pytest.raises(TrygonError, match="is full; free some space"),
        writing_to(tmp_path),
        open("/dev/full", "wb") as file,
    ):
        file.write(b"x" * 100_000)


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"), writing_to(tmp_path / "file" / "run"):
        (tmp_path / "file" / "run").mkdir(parents=True)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with only_writer(tmp_path), pytest.raises(UserError, match="another process"), only_writer(tmp_path):
        pass
    with only_writer(tmp_path):
        pass


def test_commit_without_its_detections_is_done_again(root: str) -> None:
    parts = Parts(root)
    for number in (0, 1):
        parts.commit(number, [_row(FILES[number])])
    remove_file(parts.vectors_place(1))
    with pytest.raises(UserError, match=r"vectors/part-00001\.parquet is missing: give the `trygon label` command"):
        list(parts.detections())
    assert parts.clean() == 1
    assert _paths(_plan(root, FILES[:2])) == [["a/1.jpg"]]


def test_parts_none_of_which_has_its_detections_are_left_alone(root: str) -> None:
    parts = Parts(root)
    for number in (0, 1):
        parts.commit(number, [_row(FILES[number])])
        remove_file(parts.vectors_place(number))
    with pytest.raises(UserError, match=r"vectors is missing or has none of the run's 2 parts: bring it back"):
        parts.clean()
    assert parts.numbers() == [0, 1]
