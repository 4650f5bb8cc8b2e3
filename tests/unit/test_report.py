"""The pages of a run: what they say, what they link to, and runs with little in them."""

import math
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from trygon.archive.inputs.listing import Archive
from trygon.archive.report.pages import clock, plot, write_report
from trygon.archive.report.statistics import Statistics
from trygon.archive.report.thumbnails import MOST_OF_A_TAXON, choose
from trygon.archive.run_folder.run import Run
from trygon.storage import read_json, write_json
from trygon.taxonomy.taxon import Taxon
from trygon.testing.archives import frame_jpeg
from trygon.testing.shots import Seen, Shot, write_run

_CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae")
LION, CATS = Taxon((*_CAT, "Panthera", "leo"), "lion"), Taxon((*_CAT, "", ""))
NOON = datetime(2024, 5, 31, 12)
_COUNTS: dict[str, Any] = {
    **dict.fromkeys(("num_failed", "num_blank", "num_with_animals", "num_deployments", "num_taxa", "num_events"), 0),
    **{"num_observations": {}, "num_animals_by_rank": {}, "num_label_taxa": 3},
}


def _run(folder: Path, shots: list[Shot], people: str = "blur") -> Run:
    run = write_run(folder / "run", shots, **_COUNTS)
    about = {"model": "m", "event_gap": 60, "confidence_floor": 0.5, "people": people}
    write_json(folder / "run/config.json", read_json(folder / "run/config.json") | about)
    for number, shot in enumerate(shot for shot in shots if not shot.failure):
        path = folder / "archive" / shot.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(frame_jpeg(number))
    return run


def _report(folder: Path, shots: list[Shot], people: str = "blur") -> str:
    places = {"a": (-1.5, 36.0), "b": (-1.5, 36.1)}
    write_report(_run(folder, shots, people), Archive(str(folder / "archive")), folder, places)
    return (folder / "index.html").read_text()


def test_pages_and_pictures_are_there_and_nothing_else_is_needed(tmp_path: Path) -> None:
    shots = [
        *(Shot(f"a/{n}.jpg", NOON + timedelta(hours=n), [Seen("animal", LION, 0.5 + n / 100)]) for n in range(30)),
        *(Shot(f"b/{n}.jpg", NOON, [Seen("animal", LION, sure)]) for n, sure in ((2, None), (3, 0.95))),
        Shot("b/1.jpg", NOON, [Seen("animal", CATS), Seen("animal")]),
        Shot("b/<script>.jpg", NOON + timedelta(days=3)),
        Shot("b/broken.jpg", failure="truncated"),
    ]
    page = _report(tmp_path, shots)
    pages = sorted((tmp_path / "taxa").iterdir())
    assert len(pages) == 3
    for path in [tmp_path / "index.html", *pages]:
        links = re.findall(r'(?:src|href)="([^"#]+)', path.read_text())
        assert links
        assert all((path.parent / link).is_file() for link in links), links
    assert "<script>.jpg" not in page
    assert "was cut off" in page
    (lion,) = (path.read_text() for path in pages if "<title>lion" in path.read_text())
    assert lion.count("<img") == MOST_OF_A_TAXON
    headings = ["Without a probability<small>1 detection<", "90 % and more<small>1 detection<"]
    headings += ["70 % to 90 %<small>10 detections<", "50 % to 70 %<small>20 detections<"]
    assert re.findall(r"<h3>(.*)/small></h3>", lion) == headings
    assert lion.index('class="p">79 %') < lion.index("50 % to 70 %") < lion.index('class="p">69 %')


@pytest.mark.parametrize(("num_taxa", "shown"), [(1, [0.9, 0.7, 0.5, 0.0]), (150, [0.9, 0.0]), (400, [0.9])])
def test_where_few_frames_are_shown_the_most_doubtful_are_among_them(
    tmp_path: Path, num_taxa: int, shown: list[float]
) -> None:
    sure = (0.95, 0.8, 0.6, 0.2)
    run = _run(tmp_path, [Shot(f"a/{n}.jpg", NOON + n * timedelta(hours=1), [Seen("animal", LION, p)])
                          for n, p in enumerate(sure)])  # fmt: skip
    ((key, bands),) = choose(run, [Statistics(run).taxa[0]["key"], *map(str, range(num_taxa - 1))]).items()
    assert key
    assert [band.num for band in bands] == [1, 1, 1, 1]
    assert [band.low for band in bands if band.media_ids] == shown


@pytest.mark.parametrize("cost", [None, 1234.5])
def test_cost_is_told_where_there_is_a_price(cost: float | None, tmp_path: Path) -> None:
    run = _run(tmp_path, [Shot("a/1.jpg", NOON)])
    if cost:
        write_json(tmp_path / "run/summary.json", run.summary | {"cost_per_million": cost})
        write_json(tmp_path / "run/config.json", run.config | {"price_per_hour": 2.5})
    write_report(Run.open(tmp_path / "run"), Archive(str(tmp_path / "archive")), tmp_path, {})
    page = (tmp_path / "index.html").read_text()
    assert ("1,234.50 a million images, at 2.50 an hour" in page) == ("<dt>cost" in page) == bool(cost)


def test_person_is_withheld_from_the_pages(tmp_path: Path) -> None:
    page = _report(tmp_path, [Shot("a/1.jpg", NOON, [Seen("animal", LION), Seen("human")])], "withhold")
    assert "withheld" in page
    assert not list((tmp_path / "pictures").iterdir())


@pytest.mark.parametrize(
    "shots",
    [[], [Shot("a/1.jpg", failure="empty")], [Shot("a/1.jpg", None, [Seen("animal", LION)])], [Shot("a/1.jpg", NOON)]],
    ids=["nothing", "only failures", "no dates", "only blanks"],
)
def test_run_with_little_in_it_has_a_page(tmp_path: Path, shots: list[Shot]) -> None:
    assert "What the cameras saw" in _report(tmp_path, shots)


def test_intervals_hold_the_value_and_shrink_with_more_cameras(tmp_path: Path) -> None:
    widths = []
    for num in (4, 16):
        shots = [
            Shot(f"{camera:02d}/{day}.jpg", NOON + timedelta(days=day), [Seen("animal", LION)] if camera % 2 else [])
            for camera in range(num)
            for day in range(10)
        ]
        (row,) = Statistics(_run(tmp_path / str(num), shots)).taxa
        assert (row["num_events"], row["num_cameras"], row["share"]) == (5 * num, num // 2, 0.5)
        assert row["rate"] == pytest.approx(50)
        assert row["rate_low"] < row["rate"] < row["rate_high"]
        widths.append((row["rate_high"] - row["rate_low"], row["share_high"] - row["share_low"]))
    assert all(few > many for few, many in zip(*widths, strict=True))


def test_days_of_a_camera_are_those_of_the_table_where_it_has_them(tmp_path: Path) -> None:
    shots = [Shot(f"{name}/1.jpg", NOON, [Seen("animal", LION)]) for name in "abc"]
    shots += [Shot("d/1.jpg", None, [Seen("animal", LION)])]
    spans = {
        "a": (datetime(2024, 5, 1), datetime(2024, 6, 14, 23, 59)),
        "b": (datetime(2024, 5, 30), None),
        "elsewhere": (datetime(2024, 5, 1), datetime(2024, 6, 1)),
        "d": (None, datetime(2024, 6, 1)),
    }
    statistics = Statistics(_run(tmp_path, shots), spans)
    assert {row["deployment"]: row["days"] for row in statistics.cameras} == {"a": 45, "b": 2, "c": 1, "d": 0}
    (row,) = statistics.taxa
    assert row["rate"] == pytest.approx(100 * 3 / 48)


def test_cameras_that_showed_nothing_count_for_no_rate(tmp_path: Path) -> None:
    """A list may name files that are not there: nobody knows what they show, nor whether the camera stood."""
    shots = [
        Shot("a/1.jpg", NOON, [Seen("animal", LION)]),
        Shot("a/2.jpg", NOON + timedelta(days=99), failure="missing"),
        Shot("b/1.jpg", NOON),
        Shot("c/1.jpg", NOON, failure="missing"),
        Shot("d/1.jpg", NOON, failure="unreadable"),
    ]
    statistics = Statistics(_run(tmp_path, shots))
    assert {row["deployment"]: row["days"] for row in statistics.cameras} == {"a": 1, "b": 1, "c": 0, "d": 1}
    (row,) = statistics.taxa
    assert (row["share"], row["rate"]) == (0.5, 50)


def test_one_camera_has_no_interval(tmp_path: Path) -> None:
    (row,) = Statistics(_run(tmp_path, [Shot("a/1.jpg", NOON, [Seen("animal", LION)])])).taxa
    assert (row["rate"], row["rate_low"]) == (100, None)


def test_wedge_of_a_quarter_of_the_events_is_half_as_long() -> None:
    wedges = clock([0, 4, 1, *[0] * 21])
    assert [(wedge["hour"], wedge["num"]) for wedge in wedges] == [(1, 4), (2, 1)]
    ends = [math.hypot(*map(float, wedge["path"][5:].split("A")[0].split())) for wedge in wedges]
    assert ends == pytest.approx([100, 50], abs=0.2)


def test_map_is_true_to_scale_and_tells_who_has_no_place() -> None:
    cameras = [{"deployment": name, "num_animals": 1} for name in "abc"]
    drawn = plot(cameras, {"a": (60.0, 10.0), "b": (60.0, 12.0)})
    assert drawn is not None
    a, b = drawn["points"]
    km = 2 * 111.32 * math.cos(math.radians(60))
    assert (b["x"] - a["x"]) / drawn["bar_px"] * drawn["bar"] == pytest.approx(km, rel=0.01)
    assert drawn["num_placeless"] == 1
    assert plot(cameras, {}) is None
