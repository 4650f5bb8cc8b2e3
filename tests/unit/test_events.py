"""Which frames are one event, and how many animals it held."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from trygon.archive.events import find_events
from trygon.archive.pooling import pool_events
from trygon.schemas import MEDIA, OBSERVATION

NOON = datetime(2024, 5, 31, 12)


def _media(*frames: tuple[str, float | None], failure: str | None = None) -> pa.Table:
    rows = [
        {
            "media_id": number,
            "path": f"{deployment}/{number:03d}.jpg",
            "deployment": deployment,
            "timestamp": None if second is None else NOON + timedelta(seconds=second),
            "failure": failure,
        }
        for number, (deployment, second) in enumerate(frames)
    ]
    return pa.Table.from_pylist(rows, MEDIA)


def _groups(media: pa.Table, gap_s: float = 60) -> list[set[int]]:
    events, event_of = find_events(media, gap_s)
    groups = {event_id: {it for it in event_of if event_of[it] == event_id} for event_id in event_of.values()}
    assert sorted(events["event_id"].to_pylist()) == sorted(groups)
    assert sum(events["num_media"].to_pylist()) == len(event_of)
    return sorted(groups.values(), key=min)


def test_pause_longer_than_the_gap_ends_an_event() -> None:
    assert _groups(_media(("a", 0), ("a", 60), ("a", 121), ("a", 122))) == [{0, 1}, {2, 3}]


def test_event_stays_within_its_deployment() -> None:
    assert _groups(_media(("a", 0), ("b", 1), ("a", 2))) == [{0, 2}, {1}]


def test_dateless_frames_are_events_of_their_own() -> None:
    assert _groups(_media(("a", None), ("a", None), ("a", 5), ("a", 6), ("a", None))) == [{0}, {1}, {2, 3}, {4}]


def test_files_that_could_not_be_read_are_in_no_event() -> None:
    assert _groups(_media(("a", 0), failure="truncated")) == []
    assert find_events(MEDIA.empty_table(), 60)[0].num_rows == 0


def test_event_spans_its_frames_whatever_their_order() -> None:
    events, _ = find_events(_media(("a", 40), ("a", 0), ("a", 20)), 60)
    assert events.to_pylist()[0] | {"event_id": 0} == {
        "event_id": 0,
        "deployment": "a",
        "start": NOON,
        "end": NOON + timedelta(seconds=40),
        "num_media": 3,
        "taxa": [],
    }


@given(st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 1000)), max_size=30), st.integers(0, 200))
def test_every_frame_is_in_one_event_and_pauses_decide(frames: list[tuple[str, float | None]], gap_s: int) -> None:
    groups = _groups(_media(*frames), gap_s)
    assert sorted(number for group in groups for number in group) == list(range(len(frames)))
    for group in groups:
        times = sorted(frames[number][1] or 0 for number in group)
        assert len({frames[number][0] for number in group}) == 1
        assert all(later - earlier <= gap_s for earlier, later in pairwise(times))


def _seen(media_id: int, *names: str, event_id: int = 1, kind: str = "animal", p: float = 0.9) -> dict[str, Any]:
    ranks = dict(zip(("kingdom", "phylum", "class", "order", "family", "genus", "species"), names, strict=False))
    return ranks | {
        "observation_id": 0,
        "media_id": media_id,
        "event_id": event_id,
        "type": kind,
        "scientific": names[-1] if names else None,
        "probability": p,
        "decided_by": "classifier",
    }


def _counts(*rows: dict[str, Any]) -> list[tuple[int, str, str | None, int]]:
    table = pa.Table.from_pylist(list(rows), OBSERVATION)
    return [
        (event_id, row["type"], row["scientific"], row["count"])
        for event_id, taxa in pool_events(table)
        for row in taxa
    ]


CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae")
DEER = ("Animalia", "Chordata", "Mammalia", "Artiodactyla", "Cervidae")


def test_count_is_the_largest_number_in_one_frame() -> None:
    rows = [_seen(1, *DEER), _seen(1, *DEER), _seen(2, *DEER), _seen(2, *CAT)]
    assert sorted(_counts(*rows)) == [(1, "animal", "Cervidae", 2), (1, "animal", "Felidae", 1)]


def test_ancestor_is_taken_for_what_the_event_names_below_it() -> None:
    assert _counts(_seen(1, *CAT[:3]), _seen(2, *CAT), _seen(3)) == [(1, "animal", "Felidae", 1)]


def test_event_is_blank_only_if_all_its_frames_are() -> None:
    blank = {"observation_id": 0, "event_id": 1, "type": "blank", "decided_by": "detector"}
    assert _counts(blank | {"media_id": 1}, blank | {"media_id": 2}) == [(1, "blank", None, None)]
    assert _counts(blank | {"media_id": 1}, _seen(2, *CAT)) == [(1, "animal", "Felidae", 1)]
