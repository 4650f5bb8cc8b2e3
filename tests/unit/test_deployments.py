"""Which deployment a file belongs to, where and when deployments stood, and clocks that are wrong."""

import gzip
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.archive.exports import ExportOptions
from trygon.archive.inputs.deployments import Deployment, Deployments, places_of, read_deployments
from trygon.archive.inputs.media import MediaFile
from trygon.archive.inputs.zones import local, zone_of
from trygon.archive.media.clocks import check_clocks
from trygon.errors import UserError
from trygon.schemas import DEPLOYMENT, MEDIA

NOON, NOW = datetime(2024, 5, 31, 12), datetime(2024, 7, 1)


def test_table_goes_before_pattern_and_that_before_folders() -> None:
    table = (Deployment("T", path="a/cam 1"), Deployment("U", path="a/cam 1/late"), Deployment("S", path="b/*/100*/*"))
    of = Deployments(table, r"^site(?P<deployment>\d+)/")
    names = {
        "a/cam 1/100EK113/1.jpg": "T",
        "a/cam 1/late/1.jpg": "U",
        "a/cam 10/1.jpg": "a/cam 10",
        "b/x/100EK113/1.jpg": "S",
        "site07/card/1.jpg": "07",
        "site/card/1.jpg": "site/card",
    }
    assert {path: of.name_of(MediaFile(path, 1)) for path in names} == names
    assert Deployments().name_of(MediaFile("a/1.jpg", 1, camera="of a list")) == "of a list"


def test_table_is_read_with_places_and_times(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_text("deployment,latitude,longitude,start,end,path\na,1.5,-2,2024-05-01,2024-05-31,x\nb,,,,,\n")
    known = read_deployments(path)
    assert known[0] == Deployment("a", 1.5, -2.0, datetime(2024, 5, 1), datetime(2024, 5, 31, 23, 59, 59), "x")
    path.write_text("deployment_id,start_date,end_date\na,2024-05-01 00:00:00,2024-05-31 00:00:00\n")
    assert read_deployments(path)[0] == Deployment("a", start=known[0].start, end=known[0].end)  # Wildlife Insights'
    table = Deployments((Deployment("a", 9, 9, datetime(2020, 1, 1)), *known)).table()
    assert places_of(table) == {"a": (1.5, -2.0)}
    assert table["start"].to_pylist() == [datetime(2024, 5, 1), None]


def test_table_may_be_one_of_a_european_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_text("\ufeffDeployment;latitude;longitude;start\nüst;47,5;-8,25;2024-05-01\nb;;;\n", encoding="utf-8")
    first, second = read_deployments(path)
    assert first == Deployment("üst", 47.5, -8.25, datetime(2024, 5, 1))
    assert second == Deployment("b")
    path.write_text("deployment,start\na,2024-05-01\n,\n, ,\n")  # a spreadsheet's empty rows
    assert read_deployments(path) == (Deployment("a", start=datetime(2024, 5, 1)),)


def test_names_of_columns_may_have_line_breaks_and_errors_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_text('deployment,"notes\nof the day",latitude,longitude\na,,1.5,-2\n')
    assert read_deployments(path) == (Deployment("a", 1.5, -2.0),)
    path.write_text(path.read_text() + "b,,north,2\n")
    with pytest.raises(UserError, match="line 4: latitude and longitude"):
        read_deployments(path)


def test_paths_of_windows_are_understood_and_those_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_text(
        "deployment,path\nA,park\\cam 1\nA,park\\cam 1\nB,park\\cam*\\late\\*\nC,C:\\cards\\cam 3\nA,cam 4\nD,\n"
    )
    of = Deployments(read_deployments(path))
    names = [of.name_of(MediaFile(it, 1)) for it in ("park/cam 1/1.jpg", "park/cam 2/late/1.jpg", "park/cam 3/1.jpg")]
    assert names == ["A", "B", "park/cam 3"]
    note, other = of.notes()
    assert other.startswith("1 deployments of a table have no file in the archive, such as 'D'")
    assert "2 of the paths in --deployments lead, such as 'C:/cards/cam 3'" in note
    of.name_of(MediaFile("C:/cards/cam 3/1.jpg", 1))
    of.name_of(MediaFile("cam 4/1.jpg", 1))
    of.name_of(MediaFile("D/1.jpg", 1))
    assert of.notes() == []


def test_camera_that_was_served_stood_from_the_first_start_to_the_last_end(tmp_path: Path) -> None:
    rows = ["a,1,2,2024-03-01,2024-03-31,late", "a,,,2024-01-01,2024-01-31,early", "b,1,2,2024-01-01,2024-02-01,"]
    rows += ["b,1,2,2024-03-01,,", "a,,,,,spare"]
    (tmp_path / "places.csv").write_text("\n".join(["deployment,latitude,longitude,start,end,path", *rows]))
    known = read_deployments(tmp_path / "places.csv")
    table = Deployments(known).table().to_pylist()
    assert [it.path for it in known] == ["late", "early", None, None, "spare"]
    assert [(row["start"], row["end"]) for row in table] == [
        (datetime(2024, 1, 1), datetime(2024, 3, 31, 23, 59, 59)),
        (datetime(2024, 1, 1), None),
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["2024-01-01,", ",2024-06-01"], (1, 6)),  # a row as it is set up, and one as it is fetched
        (["2024-01-01,2024-02-01", "2024-03-01,"], (1, None)),
        (["2024-01-01,", "2024-03-01,2024-04-01"], (1, 4)),
        ([",2024-01-01", "2024-03-01,2024-04-01"], (None, 4)),
    ],
)
def test_what_one_row_leaves_open_another_may_say(
    tmp_path: Path, rows: list[str], expected: tuple[int | None, int | None]
) -> None:
    lines = [f"a,1.0000{number},2,{row}" for number, row in enumerate(rows)]  # measured anew, a metre off
    (tmp_path / "places.csv").write_text("\n".join(["deployment,latitude,longitude,start,end", *lines]))
    known = read_deployments(tmp_path / "places.csv")
    assert {(it.start and it.start.month, it.end and it.end.month) for it in known} == {expected}


def test_what_r_writes_for_nothing_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "places.csv").write_text("deployment,latitude,longitude,start,path\na,NA,NA,NA,NaN\nNA,NA,NA,NA,NA\n")
    assert read_deployments(tmp_path / "places.csv") == (Deployment("a"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,latitude\na,1\n", "no column 'deployment'"),
        ("deployment,latitude,longitude\na,1,2\nb,north,2\n", "line 3: latitude and longitude"),
        ("deployment,latitude\na,1\n", "line 2: latitude and longitude"),
        ("deployment,latitude,longitude\na,91,2\n", "no place on Earth"),
        ("deployment,latitude,longitude\na,1,5,2,5\n", "line 2: 5 values for 3 columns"),
        (
            "deployment,latitude,longitude\na,1,2\nb,1,2\na,1,3\n",
            "line 4: 'a' stands at 1.0, 3.0, but above at",
        ),
        ("deployment,start\na,soon\n", "'soon' is no date"),
        ("deployment,start,end\na,2024-05-02,2024-05-01\n", "ends before it starts"),
        ("deployment,start\n,2024-05-02\n", "has no name"),
        ('deployment,path\n"a,cam 1\nb,cam 2\n', "each quotation mark closed"),
    ],
)
def test_wrong_table_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "places.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_deployments(tmp_path / "places.csv")


def test_packed_table_that_is_damaged_is_one_line(tmp_path: Path) -> None:
    packed = gzip.compress(b"deployment,latitude,longitude\n" + b"".join(b"%d,1,2\n" % n for n in range(999)))
    for number, data in enumerate((packed[:-50], b"deployment\na\n", packed[:50] + bytes(50) + packed[100:])):
        (tmp_path / f"{number}.csv.gz").write_bytes(data)
        with pytest.raises(UserError, match=rf"{number}\.csv\.gz is not a CSV file"):
            read_deployments(tmp_path / f"{number}.csv.gz")


def test_path_of_two_deployments_is_told_and_not_given_to_the_last() -> None:
    """As where a camera stayed, and its card was changed."""
    table = (Deployment("spring", path="cam 1"), Deployment("autumn", path="cam 1/"))
    with pytest.raises(UserError, match=r"--deployments: the path 'cam 1/' is that of 'spring' and of 'autumn'"):
        Deployments(table)


@pytest.mark.parametrize(("pattern", "message"), [("(", "no regular expression"), ("a(.)", "no group of that name")])
def test_wrong_pattern_is_one_line(pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Deployments(pattern=pattern)


def test_times_go_out_in_the_zone_of_the_project() -> None:
    winter = datetime(2024, 1, 31, 12)
    assert ExportOptions(time_zone="-05:00").iso(NOON) == "2024-05-31T12:00:00-05:00"
    assert ExportOptions(time_zone="Africa/Nairobi").iso(NOON) == "2024-05-31T12:00:00+03:00"
    assert [ExportOptions(time_zone="Europe/Berlin").iso(it)[-6:] for it in (NOON, winter)] == ["+02:00", "+01:00"]
    for text in ("CEST!", "+25:00", "Mars/Olympus", "", "../etc/passwd"):
        with pytest.raises(UserError, match="no time zone"):
            zone_of(text)


def test_times_at_the_ends_of_the_calendar_stay_as_they_are() -> None:
    """Which stand in tables for a camera that still stands, or always stood."""
    assert local(datetime.max.replace(tzinfo=UTC), "Africa/Nairobi") == datetime.max
    assert local(datetime.min.replace(tzinfo=UTC), "-05:00") == datetime.min


def _media(*rows: tuple[str, datetime | None]) -> pa.Table:
    facts = [{"media_id": n, "path": path, "timestamp": time} for n, (path, time) in enumerate(rows)]
    return pa.Table.from_pylist([row | {"deployment": row["path"].split("/")[0]} for row in facts], MEDIA)


def test_wrong_clocks_are_told_and_only_what_is_no_time_is_taken_away() -> None:
    day = timedelta(days=1)
    media = _media(
        ("a/1.jpg", NOON),
        ("a/2.jpg", NOON + day),
        ("a/3.jpg", NOON),  # the battery was changed
        ("a/4.jpg", NOON + day - timedelta(seconds=30)),  # of a burst, in another order
        ("a/5.jpg", datetime(2000, 1, 1, 0, 5)),
        ("a/6.jpg", NOW + 40 * day),
        ("a/7.jpg", NOON + 2 * day),  # no step back: the one before is none to go by
        ("b/1.jpg", NOON - 9 * day),
        ("b/2.jpg", None),
        ("c/1.jpg", NOON + 20 * day),
    )
    table = [Deployment("c", start=NOON, end=NOON + day), Deployment("a", start=NOON - day)]
    checked = check_clocks(media, Deployments(tuple(table)).table(), NOW)
    reasons = [None, None, "backward", None, "before_2001", "future", None, None, None, "outside_deployment"]
    assert checked["clock"].to_pylist() == reasons
    times = media["timestamp"].to_pylist()
    assert checked["timestamp"].to_pylist() == [*times[:4], None, *times[5:]]
    assert checked.schema == MEDIA
    assert check_clocks(checked, Deployments(tuple(table)).table(), NOW) == checked
    turned = check_clocks(media.take(list(range(9, -1, -1))), Deployments(tuple(table)).table(), NOW)
    assert turned["clock"].to_pylist() == reasons[::-1]
    assert check_clocks(MEDIA.empty_table(), DEPLOYMENT.empty_table(), NOW).num_rows == 0


def _clocks(names: list[str], hours: list[int]) -> list[str | None]:
    media = _media(*((name, NOON + timedelta(hours=hour)) for name, hour in zip(names, hours, strict=True)))
    return check_clocks(media, DEPLOYMENT.empty_table(), datetime(2030, 1, 1))["clock"].to_pylist()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 10_000)), max_size=30))
def test_backward_is_earlier_than_something_before_in_the_folder(rows: list[tuple[str, int]]) -> None:
    rows.sort(key=lambda row: row[0])
    media = _media(*((f"{folder}/{n:03}.jpg", NOON + timedelta(seconds=s)) for n, (folder, s) in enumerate(rows)))
    found = check_clocks(media, DEPLOYMENT.empty_table(), NOW)["clock"].to_pylist()
    for n, (folder, second) in enumerate(rows):
        before = [other for it, other in rows[:n] if it == folder]
        assert found[n] is None or (before and second < max(before) - 60)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(32 * 24, 24 * 365 * 10), st.sampled_from(["{}", "{:04}"]))
def test_clock_that_lost_its_time_is_told_from_there_on(first: int, then: int, back: int, number: str) -> None:
    names = [f"a/IMG_{number.format(n)}.JPG" for n in range(1, first + then + 1)]
    found = _clocks(names, [*range(first), *(n - back - then for n in range(then))])
    assert found == [None] * first + ["backward"] * then


def test_names_that_are_in_no_order_of_time_say_nothing_of_the_clock() -> None:
    draw = random.Random(0)
    hours = list(range(300))
    for names in (
        [f"a/{UUID(int=draw.getrandbits(128))}.jpg" for _ in hours],
        [f"a/{draw.random()}.jpg" for _ in hours],
    ):
        assert _clocks(names, hours) == [None] * 300


@given(st.integers(1, 1200), st.integers(1, 1200))
def test_numbers_without_zeros_that_began_again_say_nothing_of_the_clock(num: int, first: int) -> None:
    numbers = [(n + first) % 1000 for n in range(min(num, 1000))]
    assert not any(_clocks([f"a/IMG_{n}.JPG" for n in numbers], list(range(len(numbers)))))


def test_films_stills_and_other_cards_of_a_folder_are_numbered_apart() -> None:
    names = [f"a/{kind}{n:03}.{suffix}" for kind, suffix in (("IMG_", "JPG"), ("VID_", "MP4")) for n in range(9)]
    assert not any(_clocks(names, [*range(9), *range(9)]))
