"""What a run's checkpoints were measured at, and that one at a time is. No Ray starts."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.train

from trygon.training.measurements import Measurements, Told, described
from trygon.training.reports import Gauges, Reports
from trygon.training.validation import _SHOWN

FIGURES = {"species/top1": 0.25, "genus/top1": 0.5, "family/top1": 0.75, "class/top1": 1.0, "species/n": 8.0}


@pytest.fixture
def measurements(tmp_path: Path) -> Measurements:
    return Measurements(str(tmp_path / "validation.jsonl"))


def test_checkpoints_that_come_while_one_is_measured_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    learner: Any = SimpleNamespace(settings=SimpleNamespace(validation_samples=8, metrics="run"))
    reports, noted = Reports(learner, 0), list[SimpleNamespace]()
    monkeypatch.setattr(ray.train, "get_all_reported_checkpoints", lambda *_: noted)
    assert reports._measured(10, last=False)
    noted.append(SimpleNamespace(status=ray.train.ReportedCheckpointStatus.PENDING_VALIDATION))
    assert not reports._measured(20, last=False)
    assert reports._measured(30, last=True)
    noted[0].status = ray.train.ReportedCheckpointStatus.VALIDATED
    assert reports._measured(40, last=False)


def test_people_are_told_of_each_step_once(measurements: Measurements) -> None:
    measurements.add(10, FIGURES)
    told = Told(measurements)
    measurements.add(20, FIGURES)
    assert [news.partition(":")[0] for news in map(described, told.new())] == ["step 20"]
    measurements.add(20, FIGURES | {"species/top1": 0.123456789})
    measurements.add(30, {"problem": "it took longer"})
    assert [news.partition(":")[0] for news in map(described, told.new())] == [
        "the checkpoint of step 30 was not measured"
    ]


def test_a_run_that_went_back_comes_to_its_steps_again(measurements: Measurements) -> None:
    for step in (10, 20, 30):
        measurements.add(step, FIGURES)
    measurements.add(20, {"problem": "the checkpoint cannot be read"})
    assert [line["step"] for line in measurements.lines()] == [10, 20]
    assert measurements.last() == {"step": 10} | FIGURES
    assert described(measurements.last()) == (
        "step 10: of 8 validation pictures right at the first guess: "
        "species 25.0%, genus 50.0%, family 75.0%, class 100.0%"
    )


def test_prometheus_has_all_figures_of_a_measurement_by_their_documented_names() -> None:
    gauges = Gauges()
    gauges.show_measured(dict.fromkeys(("step", *_SHOWN, "candidates"), 0.5))
    page = (Path(__file__).parents[2] / "docs/train.md").read_text()
    assert gauges._gauges.keys() == set(re.findall(r"`…_(val_\w+)`", page))
