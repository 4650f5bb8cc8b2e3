"""What a first run says of the time and the money that are left."""

import re
import time
from pathlib import Path

import pytest

from trygon.archive.run_folder import sessions
from trygon.archive.run_folder.sessions import Session
from trygon.lease import Hold
from trygon_jobs import estimate
from trygon_jobs.estimate import FirstParts


def test_first_parts_tell_once_how_long_the_rest_takes_and_what_it_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sessions, "_TOGETHER_S", 0.0)
    monkeypatch.setattr(estimate, "_SECONDS", 0.01)
    session = Session(tmp_path, Hold())
    first = FirstParts(session, num_todo=1_000_000, price_per_hour=3.6)
    for part in range(5):
        for _ in range(4):
            time.sleep(0.002)
            session.add(1000, 0)
        first.add()
        said = capsys.readouterr().err
        if part != 2:
            assert not said
            continue
        found = re.fullmatch(
            r"the first 3 parts went at ([\d.]+) images/s: 999,988 images are left, some .* min, for ([\d,.]+)\n", said
        )
        assert found, said
        rate, cost = (float(text.replace(",", "")) for text in found.groups())
        assert cost == pytest.approx(0.001 * 999_988 / rate, rel=0.01)


def test_nothing_is_said_of_a_rate_that_a_moment_tells_or_of_nothing_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sessions, "_TOGETHER_S", 0.0)
    session = Session(tmp_path, Hold())
    early, last = FirstParts(session, 100), FirstParts(session, 8)
    for _ in range(8):
        time.sleep(0.001)
        session.add(1000, 0)
        early.add()
    monkeypatch.setattr(estimate, "_SECONDS", 0.001)
    for _ in range(3):
        last.add()
    assert capsys.readouterr().err == ""
