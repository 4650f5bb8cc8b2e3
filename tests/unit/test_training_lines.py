"""What the driver reads of a run's metrics, as workers fail and come to steps again. No Ray."""

import json
from pathlib import Path

import pytest

from trygon.training.run import Lines


def _write(place: Path, *lines: tuple[int, float]) -> None:
    place.write_text("".join(json.dumps({"step": step, "time": time}) + "\n" for step, time in lines))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def _new(lines: Lines) -> list[tuple[int, bool]]:
    return [(line["step"], is_first) for line, is_first in lines.new()]


def test_steps_that_come_again_after_a_failure_are_shown_and_no_first_ones(place: Path) -> None:
    before = [(1, 1.0), (2, 2.0), (3, 3.0)]
    _write(place, *before[:1])
    lines = Lines(str(place))
    assert _new(lines) == []  # of an earlier run
    _write(place, *before)
    assert _new(lines) == [(2, True), (3, True)]
    _write(place, *before[:1])  # from the checkpoint of step 1
    assert _new(lines) == []
    _write(place, *before[:1], (2, 12.0))
    assert _new(lines) == [(2, False)]
    _write(place, *before[:1], (2, 12.0), (3, 13.0), (4, 14.0))
    assert _new(lines) == [(3, False), (4, True)]


def test_a_run_that_was_killed_shows_its_steps_from_the_last_checkpoint_on(place: Path) -> None:
    _write(place, (1, 1.0), (2, 2.0), (3, 3.0))
    lines = Lines(str(place))
    _write(place, (1, 1.0), (2, 12.0))
    assert _new(lines) == [(2, False)]


def test_a_first_step_is_one_by_whatever_clock(place: Path) -> None:
    """The machine that writes may be another one than before."""
    _write(place, (1, 9.0))
    lines = Lines(str(place))
    _write(place, (1, 9.0), (2, 5.0))
    assert _new(lines) == [(2, True)]
