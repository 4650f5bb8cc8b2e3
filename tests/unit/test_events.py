"""Which frames are one event."""

from datetime import datetime, timedelta
from itertools import pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from trygon.archive.naming.events import find_events
from trygon.schemas import MEDIA

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
    events = find_events(media, gap_s)
    groups = [set(events.media_F[events.event_F == number].tolist()) for number in range(events.table.num_rows)]
    assert len(set(events.event_ids.tolist())) == len(groups)
    assert events.table["num_media"].to_pylist() == [len(group) for group in groups]
    ids = media["media_id"].to_numpy()
    frames = events.frames_of(ids)
    assert [events.media_F[frame] for frame in frames if frame >= 0] == ids[frames >= 0].tolist()
    return sorted(groups, key=min)


def test_pause_longer_than_the_gap_ends_an_event() -> None:
    assert _groups(_media(("a", 0), ("a", 60), ("a", 121), ("a", 122))) == [{0, 1}, {2, 3}]


def test_what_is_said_of_a_blank_frame_is_said_of_its_picture() -> None:
    media = _media(("a", 0), ("a", 60), ("b", 0))
    at = MEDIA.get_field_index("digest")

    def ids(*digests: str | None) -> list[int]:
        return find_events(media.set_column(at, "digest", pa.array(digests, pa.string())), 60).blank_F.tolist()

    before = ids("ab" * 32, "cd" * 32, "ab" * 32)
    assert ids("ab" * 32, "ff" * 32, "ab" * 32) == [before[0], ids("ff" * 32, "ff" * 32, None)[1], before[2]]
    assert len({*before, *ids("ff" * 32, "ff" * 32, "ff" * 32)}) == 6
    assert min(before) >= 0


def test_media_as_parquet_gives_them_back_have_the_same_events() -> None:
    media = _media(("a", 0), ("a", 60), ("a", 121), ("a", None))
    at = MEDIA.get_field_index("timestamp")
    read = media.set_column(at, "timestamp", media["timestamp"].cast(pa.timestamp("ms")))
    assert find_events(read, 60).table.equals(find_events(media, 60).table)


def test_event_stays_within_its_deployment() -> None:
    assert _groups(_media(("a", 0), ("b", 1), ("a", 2))) == [{0, 2}, {1}]


def test_dateless_frames_are_events_of_their_own() -> None:
    assert _groups(_media(("a", None), ("a", None), ("a", 5), ("a", 6), ("a", None))) == [{0}, {1}, {2, 3}, {4}]


def test_bursts_that_a_list_names_are_events_whatever_the_pause() -> None:
    media = _media(("a", 0), ("a", 500), ("a", 501), ("a", 502), ("a", None), ("a", None), ("b", 0))
    names = pa.array(["s", "s", "t", None, "u", "u", "s"])
    media = media.set_column(MEDIA.get_field_index("sequence"), "sequence", names)
    assert _groups(media) == [{0, 1}, {2}, {3}, {4, 5}, {6}]


def test_bursts_of_cameras_that_stand_side_by_side_stay_whole() -> None:
    media = _media(("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 0), ("b", 1))
    media = media.set_column(MEDIA.get_field_index("sequence"), "sequence", pa.array(["s", "t", "s", "t", "s", None]))
    assert _groups(media) == [{0, 2}, {1, 3}, {4}, {5}]


_SECONDS = st.none() | st.integers(0, 1000)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), _SECONDS, st.sampled_from([None, "s", "t"])), min_size=1, max_size=30)
)
def test_bursts_stay_whole_and_among_themselves_and_events_end_after_they_begin(
    frames: list[tuple[str, int | None, str | None]],
) -> None:
    media = _media(*(frame[:2] for frame in frames))
    names = pa.array([burst for _, _, burst in frames], pa.string())
    media = media.set_column(MEDIA.get_field_index("sequence"), "sequence", names)
    groups, bursts = _groups(media), []
    for group in groups:
        ((deployment, burst),) = {(frames[number][0], frames[number][2]) for number in group}
        bursts += [(deployment, burst)] if burst else []
    assert len(bursts) == len(set(bursts))
    events = find_events(media, 60)
    for number, row in enumerate(events.table.to_pylist()):
        seconds = [frames[it][1] for it in events.media_F[events.event_F == number]]
        times = [NOON + timedelta(seconds=it) for it in seconds if it is not None]
        assert (row["start"], row["end"]) == ((min(times), max(times)) if times else (None, None))


def test_files_that_could_not_be_read_are_in_no_event() -> None:
    assert _groups(_media(("a", 0), failure="truncated")) == []
    assert find_events(MEDIA.empty_table(), 60).table.num_rows == 0


def test_event_spans_its_frames_whatever_their_order() -> None:
    events = find_events(_media(("a", 40), ("a", 0), ("a", 20)), 60)
    assert events.table.to_pylist()[0] | {"event_id": 0} == {
        "event_id": 0,
        "deployment": "a",
        "start": NOON,
        "end": NOON + timedelta(seconds=40),
        "num_media": 3,
    }


def _lasting(media: pa.Table, *durations: float | None) -> pa.Table:
    return media.set_column(MEDIA.get_field_index("duration"), "duration", pa.array(durations, pa.float32()))


def test_pause_after_a_video_begins_with_its_end() -> None:
    media = _media(("a", 0), ("a", 20), ("a", 150), ("a", 211), ("b", 100))
    assert _groups(media) == [{0, 1}, {2}, {3}, {4}]
    filmed = _lasting(media, 90.4, None, 1, None, 10)  # the second was taken while the first went on
    assert _groups(filmed) == [{0, 1, 2, 3}, {4}]
    seconds = [(row["end"] - NOON).total_seconds() for row in find_events(filmed, 60).table.to_pylist()]
    assert seconds == [211, 110]
    assert _groups(_lasting(media, -5, float("nan"), None, None, 1e12)) == [{0, 1}, {2}, {3}, {4}]


@given(st.lists(st.tuples(_SECONDS, st.integers(0, 300)), min_size=1, max_size=30), st.integers(0, 200))
def test_frames_are_together_where_no_pause_of_all_files_lies_between(
    files: list[tuple[int | None, int]], gap_s: int
) -> None:
    media = _lasting(_media(*(("a", second) for second, _ in files)), *(length for _, length in files))
    groups = _groups(media, gap_s)
    dated = sorted((second, number) for number, (second, _) in enumerate(files) if second is not None)
    for place, (second, number) in enumerate(dated[1:], 1):
        ended = max(before + files[it][1] for before, it in dated[:place])
        group = next(group for group in groups if number in group)
        assert (dated[place - 1][1] in group) == (second - ended <= gap_s)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 1000)), max_size=30), st.integers(0, 200))
def test_every_frame_is_in_one_event_and_pauses_decide(frames: list[tuple[str, float | None]], gap_s: int) -> None:
    groups = _groups(_media(*frames), gap_s)
    assert sorted(number for group in groups for number in group) == list(range(len(frames)))
    for group in groups:
        times = sorted(frames[number][1] or 0 for number in group)
        assert len({frames[number][0] for number in group}) == 1
        assert all(later - earlier <= gap_s for earlier, later in pairwise(times))
