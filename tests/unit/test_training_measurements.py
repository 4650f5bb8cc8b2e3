"""What a run's checkpoints were measured at, and that one at a time is. No Ray."""

import json
import time
from pathlib import Path

import pytest

from trygon.training.measurements import PATIENCE_S, Measurements, Told, described

FIGURES = {"species/top1": 0.25, "genus/top1": 0.5, "family/top1": 0.75, "class/top1": 1.0, "species/n": 8.0}


@pytest.fixture
def measurements(tmp_path: Path) -> Measurements:
    return Measurements(str(tmp_path / "validation.jsonl"))


def test_checkpoints_that_come_while_one_is_measured_are_passed_over(measurements: Measurements) -> None:
    assert measurements.ask(10, anyway=False)
    assert not measurements.ask(20, anyway=False)
    assert measurements.ask(30, anyway=True)
    measurements.end()
    assert measurements.ask(40, anyway=False)
    assert measurements.lines() == []


def test_one_that_takes_too_long_is_told_and_the_next_is_measured(measurements: Measurements) -> None:
    assert measurements.ask(10, anyway=False)
    (pending,) = Path(measurements.place).parent.iterdir()
    pending.write_text(json.dumps({"step": 10, "time": time.time() - 2 * PATIENCE_S - 1}))
    assert measurements.ask(20, anyway=False)
    (line,) = measurements.lines()
    assert described(line) == (
        "the checkpoint of step 10 was not measured: it took longer than 60 minutes; training goes on"
    )
    assert measurements.last() == {}


def test_what_was_asked_of_a_checkpoint_that_never_came_is_forgotten(measurements: Measurements) -> None:
    assert measurements.ask(10, anyway=False)
    measurements.go_back(10)
    assert not measurements.ask(20, anyway=False)
    measurements.go_back(9)
    assert measurements.ask(20, anyway=False)


def test_people_are_told_of_each_step_once(measurements: Measurements) -> None:
    measurements.add(10, FIGURES)
    told = Told(measurements)
    measurements.add(20, FIGURES)
    assert [news.partition(":")[0] for news in told.new()] == ["step 20"]
    measurements.add(20, FIGURES | {"species/top1": 0.123456789})
    measurements.add(30, {"problem": "it took longer"})
    assert [news.partition(":")[0] for news in told.new()] == ["the checkpoint of step 30 was not measured"]


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
