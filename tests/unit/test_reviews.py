"""What people said: the log on disk and on S3, and the observations with it applied."""

import json
import os
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.archive.naming.counts import count_rows
from trygon.archive.run_folder import database
from trygon.archive.run_folder.database import open_database
from trygon.archive.run_folder.reviews import ReviewLog, apply, read_reviews
from trygon.errors import TrygonError
from trygon.lease import Hold
from trygon.schemas import OBSERVATION, REPOOLED, REVIEW
from trygon.storage import list_files
from trygon.testing.s3 import s3_server, using
from trygon.testing.shots import Seen, Shot, write_run

NOON = datetime(2026, 5, 31, 12, tzinfo=UTC)
FOX = {"type": "animal", "rank": "genus", "family": "Canidae", "genus": "Vulpes", "scientific": "Vulpes"}


def _said(number: int, *ids: int, **what: Any) -> dict[str, Any]:
    about = {"review_id": f"r{number}", "event_id": 1, "observation_ids": list(ids), "reviewed_by": "Ana"}
    return about | {"reviewed_at": NOON + timedelta(seconds=number)} | what


def _undone(number: int, of: int) -> dict[str, Any]:
    about = {"review_id": f"r{number}", "undoes": f"r{of}", "reviewed_by": "Ana"}
    return about | {"reviewed_at": NOON + timedelta(seconds=number)}


def _seen(number: int, media_id: int = 1, kind: str = "animal") -> dict[str, Any]:
    named = {"scientific": "Felidae", "family": "Felidae", "rank": "family", "probability": 0.75}
    ids = {"observation_id": number, "media_id": media_id, "event_id": 1, "type": kind, "decided_by": "detector"}
    return ids | ({"detection_id": 100 + number} | named if kind == "animal" else {})


def _applied(seen: list[dict[str, Any]], *reviews: dict[str, Any]) -> dict[int, dict[str, Any]]:
    table = apply(pa.Table.from_pylist(seen, OBSERVATION), pa.Table.from_pylist(list(reviews), REVIEW))
    return {row["observation_id"]: row for row in table.to_pylist()}


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "disk":
        yield str(tmp_path)
        return
    with s3_server("runs") as server, using(server):
        yield "s3://runs/one"


def test_log_keeps_every_row_in_the_order_of_their_times(folder: str) -> None:
    assert read_reviews(folder).num_rows == 0
    first, second = ReviewLog(folder, Hold()), ReviewLog(folder, Hold())
    first.append([_said(3, 1, **FOX)])
    second.append([_said(1, 2, 3, type="blank", event_count=2), _undone(2, 1)])
    first.append([_said(4, 5, type="human", reviewed_by="Zoë")])
    rows = read_reviews(folder).to_pylist()
    assert [row["review_id"] for row in rows] == ["r1", "r2", "r3", "r4"]
    assert rows[0]["observation_ids"] == [2, 3]
    assert (rows[1]["undoes"], rows[2]["genus"], rows[3]["reviewed_by"]) == ("r1", "Vulpes", "Zoë")
    assert rows[0]["reviewed_at"] == NOON + timedelta(seconds=1)


def test_line_that_was_cut_off_is_passed_over_and_a_broken_one_is_told(tmp_path: Path) -> None:
    ReviewLog(tmp_path, Hold()).append([_said(1, 1, **FOX), _said(2, 2, **FOX)])
    (place,) = list_files(tmp_path / "reviews")
    whole = Path(place).read_bytes()
    Path(place).write_bytes(whole[:-20])
    assert read_reviews(tmp_path)["review_id"].to_pylist() == ["r1"]
    Path(place).write_bytes(whole.replace(b'"reviewed_at"', b'"at"', 1))
    with pytest.raises(TrygonError, match=r"\.jsonl, line 1 is no review"):
        read_reviews(tmp_path)


def test_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ReviewLog(tmp_path, Hold())
    log.append([_said(1, 1, **FOX)])

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            log.append([_said(2, 1, type="blank")])
    log.append([_said(3, 1, type="human")])
    assert read_reviews(tmp_path)["review_id"].to_pylist() == ["r1", "r3"]


def test_a_run_that_was_taken_over_gets_no_more_reviews(tmp_path: Path) -> None:
    class Lost(Hold):
        def check(self) -> None:
            raise TrygonError("taken over")

    with pytest.raises(TrygonError, match="taken over"):
        ReviewLog(tmp_path, Lost()).append([_said(1, 1, **FOX)])
    assert not list_files(tmp_path)


def test_the_last_word_counts_and_can_be_taken_back() -> None:
    seen = [_seen(1), _seen(2), _seen(3, media_id=2)]
    rows = _applied(seen, _said(1, 1, 2, **FOX), _said(2, 2, type="human"), _said(3, 3, type="vehicle"), _undone(4, 3))
    assert [(row["type"], row["scientific"], row["family"]) for row in rows.values()] == [
        ("animal", "Vulpes", "Canidae"),
        ("human", None, None),
        ("animal", "Felidae", "Felidae"),
    ]
    assert [row["probability"] for row in rows.values()] == [None, None, 0.75]
    assert [row["reviewed_by"] for row in rows.values()] == ["Ana", "Ana", None]
    assert rows[1]["reviewed_at"] == NOON + timedelta(seconds=1)


def test_detections_called_blank_leave_a_blank_frame_only_where_nothing_else_is() -> None:
    seen = [_seen(1), _seen(2), _seen(3, media_id=2), _seen(4, media_id=2), _seen(5, media_id=3, kind="blank")]
    rows = _applied(seen, _said(1, 1, 3, 4, type="blank"))
    assert {key: (row["media_id"], row["type"], row["detection_id"]) for key, row in rows.items()} == {
        2: (1, "animal", 102),
        3: (2, "blank", None),
        5: (3, "blank", None),
    }


def test_frame_in_which_something_is_brought_back_is_not_blank_any_more() -> None:
    seen = [_seen(1) | {"set_aside": "repeated"}, _seen(2, kind="blank"), _seen(3, media_id=2, kind="blank")]
    named, kept, undone = _said(1, 1, **FOX), _said(2, 2, 3, type="blank"), _undone(3, 1)
    assert sorted(_applied(seen, named)) == sorted(_applied(seen, named, kept)) == [1, 3]
    assert sorted(_applied(seen, named, kept, undone)) == [1, 2, 3]


def test_frame_whose_other_boxes_are_set_aside_is_blank_when_its_last_one_is_rejected() -> None:
    rows = _applied([_seen(1), _seen(2) | {"set_aside": "repeated"}], _said(1, 1, type="blank"))
    assert (rows[1]["type"], rows[1]["detection_id"], rows[2]["set_aside"]) == ("blank", None, "repeated")


def test_a_blank_frame_can_get_its_animal_and_observations_that_left_are_passed_over() -> None:
    rows = _applied([_seen(5, kind="blank")], _said(1, 5, 77, **FOX, event_count=3, sex="female"))
    assert (rows[5]["scientific"], rows[5]["event_count"], rows[5]["sex"]) == ("Vulpes", 3, "female")
    assert _applied([], _said(1, 5, **FOX)) == {}


def test_count_of_a_person_stands_before_the_largest_number_in_a_frame() -> None:
    seen = pa.Table.from_pylist([_seen(1), _seen(2), _seen(3, media_id=2)], OBSERVATION)
    said = pa.Table.from_pylist([_said(1, 1, **FOX, event_count=4), _said(2, 2, **FOX)], REVIEW)
    counted = {row["scientific"]: row for row in count_rows(apply(seen, said).to_pylist())}
    assert (counted["Vulpes"]["count"], counted["Vulpes"]["reviewed_by"]) == (4, "Ana")
    assert (counted["Felidae"]["count"], counted["Felidae"]["reviewed_by"]) == (1, None)


def test_what_a_person_said_is_not_taken_for_the_finer_name_of_a_model() -> None:
    seen = [_seen(number, media_id=number) | FOX for number in (1, 2, 3)]
    dogs = FOX | {"scientific": "Canidae", "rank": "family", "genus": None}
    one = _said(1, 1, **dogs, event_count=2, sex="male")

    def counted(*said: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        rows = apply(pa.Table.from_pylist(seen, OBSERVATION), pa.Table.from_pylist([*said], REVIEW)).to_pylist()
        return {row["scientific"]: (row["count"], row["reviewed_by"], row["sex"]) for row in count_rows(rows)}

    assert counted(one) == {"Canidae": (2, "Ana", "male"), "Vulpes": (1, None, None)}
    assert counted(one, _said(2, 2, **FOX)) == {"Vulpes": (2, "Ana", "male")}
    assert counted(one, _said(2, 2, **FOX, sex="female")) == {"Vulpes": (2, "Ana", None)}


def test_many_reviewed_events_are_counted_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    num, day = 4000, datetime(2024, 5, 31)
    shots = [Shot(f"a/{number}.jpg", day + timedelta(hours=number), [Seen()]) for number in range(num)]
    run = write_run(tmp_path, shots)
    ids = run.predictions["observation_id"].to_pylist()
    reviews = pa.Table.from_pylist([_said(1, *ids, **FOX)], REVIEW)
    monkeypatch.setattr(database, "_BATCH", 100)
    tracemalloc.start()
    try:
        told = open_database(tmp_path, reviews, REPOOLED.empty_table())
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told.sql("SELECT scientific, count(*) FROM event_taxa GROUP BY ALL").fetchall() == [("Vulpes", num)]
    assert most_bytes < 500 * num


@given(st.lists(st.tuples(st.lists(st.integers(0, 6), max_size=4), st.sampled_from(["human", "vehicle"])), max_size=8))
def test_every_observation_has_its_last_review(said: list[tuple[list[int], str]]) -> None:
    seen = [_seen(number, media_id=number) for number in (4, 0, 2, 5)]
    reviews = [_said(number, *ids, type=kind) for number, (ids, kind) in enumerate(said)]
    rows = _applied(seen, *reviews)
    for number in (4, 0, 2, 5):
        kinds = [kind for ids, kind in said if number in ids]
        assert rows[number]["type"] == (kinds[-1] if kinds else "animal")


def test_lines_are_json_that_anything_reads(tmp_path: Path) -> None:
    ReviewLog(tmp_path, Hold()).append([_said(1, 2**62, **FOX)])
    (place,) = list_files(tmp_path / "reviews")
    row = json.loads(Path(place).read_text())
    assert (row["observation_ids"], row["reviewed_at"]) == ([2**62], "2026-05-31T12:00:01.000+00:00")
