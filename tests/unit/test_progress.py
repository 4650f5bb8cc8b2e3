"""The lines that tell of a long job where no terminal shows a bar."""

import io
import re

import pytest
from rich.console import Console

from trygon_jobs import progress


def test_lines_begin_before_there_is_a_speed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first pictures of a slow start come after the first minute: what a million cost cannot be said then."""
    monkeypatch.setattr(progress, "_LINE_S", 0.0)
    with progress.counting("label", total=5, done=2, unit="images", note=lambda it: f", {1 / it:.1f}") as advance:
        for _ in range(3):
            advance(1)
    first, *_, last = [line for line in capsys.readouterr().err.splitlines() if line.startswith("label: ")]
    assert first == "label: 3 of 5, starting"
    assert re.fullmatch(r"label: 5 of 5, [\d.]+ images/s, [\d.]+(, .* left)?", last)


def test_a_log_is_wide_and_a_pipe_to_a_terminal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an ablation passes on the bars of its cells: wider than the terminal, they would break over its lines."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert progress.stderr_console().width == 200
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert progress.stderr_console().width < 200


def test_a_stage_among_bars_has_such_lines_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_LINE_S", 0.0)
    with progress.bars(Console(file=io.StringIO())) as bars:
        progress.stage(bars, "first", 2)(2)
        progress.stage(bars, "captions", 3000)(1000)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "first: 2 of 2"
    assert second.startswith("captions: 1,000 of 3,000")
