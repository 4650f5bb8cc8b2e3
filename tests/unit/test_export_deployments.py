"""What exports tell of deployments: days, places and cameras."""

import csv
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from trygon.archive.exports import EXPORTS, ExportOptions
from trygon.archive.inputs.deployments import Span
from trygon.testing.shots import Shot, write_run

NOON = datetime(2024, 5, 31, 12)


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_wildlife_insights_has_the_days_that_the_table_gives(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [Shot("a/1.jpg", NOON, []), Shot("b/1.jpg", NOON, [])])
    spans = {"a": (datetime(2024, 5, 1), datetime(2024, 6, 14, 23, 59, 59)), "b": (None, datetime(2024, 6, 1))}
    EXPORTS["wildlife-insights"](run, tmp_path, ExportOptions(spans=spans))
    days = {row["deployment_id"]: (row["start_date"], row["end_date"]) for row in _csv(tmp_path / "deployments.csv")}
    assert days == {
        "a": ("2024-05-01 00:00:00", "2024-06-14 23:59:59"),
        "b": (f"{NOON:%Y-%m-%d %H:%M:%S}", "2024-06-01 00:00:00"),
    }


@pytest.mark.parametrize("name", ["camtrap-dp", "wildlife-insights"])
def test_places_keep_all_their_digits(name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [Shot("a/1.jpg", NOON, [])])
    EXPORTS[name](run, tmp_path, ExportOptions({"a": (45.12345678, -123.456789)}))
    (row,) = _csv(tmp_path / "deployments.csv")
    assert (row["latitude"], row["longitude"]) == ("45.12345678", "-123.456789")


@pytest.mark.parametrize("name", ["camtrap-dp", "wildlife-insights"])
def test_deployments_go_by_dates_that_can_be_right_and_have_the_cameras_number(name: str, tmp_path: Path) -> None:
    shots = [
        Shot("a/1.jpg", NOON, about={"serial": "H500"}),
        Shot("a/2.jpg", NOON + timedelta(days=20), about={"serial": "H500"}),
        Shot("a/3.jpg", datetime(2099, 1, 1), about={"clock": "future"}),
        Shot("b/1.jpg", datetime(2098, 1, 1), about={"clock": "future", "serial": "H501"}),
        Shot("b/2.jpg", None, about={"serial": "H502"}),
        Shot("c/1.jpg", None),
        Shot("d/1.jpg", datetime(2024, 4, 1), about={"clock": "outside_deployment"}),
        Shot("d/2.jpg", None, []),
        Shot("e/1.jpg", NOON, about={"clock": "outside_deployment"}),
    ]
    spans: dict[str, Span] = {
        "c": (datetime(2024, 5, 1), datetime(2024, 5, 9)),
        "d": (datetime(2024, 5, 2), None),
        "e": (None, datetime(2024, 5, 30, 23, 59, 59)),
    }
    EXPORTS[name](write_run(tmp_path / "run", shots), tmp_path, ExportOptions(spans=spans))
    rows = _csv(tmp_path / "deployments.csv")
    begin, end = ("deploymentStart", "deploymentEnd") if name == "camtrap-dp" else ("start_date", "end_date")
    days = [(row[begin][:10], row[end][:10]) for row in rows]
    assert days[:2] == [("2024-05-31", "2024-06-20"), ("2098-01-01", "2098-01-01")]
    assert days[2:] == [("2024-05-01", "2024-05-09"), *[(day, day) for day in ("2024-05-02", "2024-05-30")]]
    if name == "camtrap-dp":
        assert [row["cameraID"] for row in rows] == ["H500", "", "", "", ""]
        times = {row["filePath"]: row["timestamp"] for row in _csv(tmp_path / "media.csv")}
        assert times["c/1.jpg"] == "2024-05-01T00:00:00+00:00"
        assert times["d/2.jpg"] == "2024-05-02T00:00:00+00:00"
        covers = json.loads((tmp_path / "datapackage.json").read_text())["temporal"]
        assert covers == {"start": "2024-05-01", "end": "2098-01-01"}
    else:
        assert [row["serial_number"] for row in _csv(tmp_path / "cameras.csv")] == ["H500", "", "", "", ""]
