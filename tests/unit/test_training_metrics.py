"""What training tells of itself a step: its file, where storage fails now and then, and peaks. No Ray."""

import json
import time
from pathlib import Path

import pytest
import torch

from trygon.errors import TrygonError
from trygon.storage import exists, read_bytes
from trygon.training import metrics
from trygon.training.metrics import Figures, MetricsFile, peak_tflops

REMOTE = "s3://runs/metrics.jsonl"


class _Bucket:
    """An S3 of one object that answers when it is told to."""

    def __init__(self) -> None:
        self.answers, self.asked, self.text = True, 0, ""

    def write(self, _place: str, text: str) -> None:
        self.asked += 1
        if not self.answers:
            raise TrygonError("S3 does not answer")
        self.text = text


def _steps(text: str | bytes) -> list[int]:
    return [json.loads(line)["step"] for line in text.splitlines()]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> _Bucket:
    bucket = _Bucket()
    monkeypatch.setattr(metrics, "write_text", bucket.write)
    monkeypatch.setattr(metrics, "exists", lambda place: exists(place) if place != REMOTE else bool(bucket.text))
    monkeypatch.setattr(metrics, "read_bytes", lambda place: bucket.text.encode())
    return bucket


def test_an_s3_that_is_away_costs_no_line_and_no_run(bucket: _Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_RETRY_S", -1.0)  # it is tried again at the next step
    log = MetricsFile(REMOTE, 0)
    log.add(1, 9, loss=1.0)
    log.save()
    bucket.answers = False
    log.add(2, 9, loss=1.0)
    log.try_to_save()
    assert _steps(bucket.text) == [1]
    with pytest.raises(TrygonError, match="does not answer"):
        log.save()  # as at the end, when nothing tries again later
    bucket.answers = True
    log.add(3, 9, loss=1.0)
    assert _steps(bucket.text) == [1, 2, 3]


def test_an_s3_that_is_away_is_not_asked_at_each_step(bucket: _Bucket) -> None:
    log = MetricsFile(REMOTE, 0)
    bucket.answers, bucket.asked = False, 0
    log.try_to_save()
    for step in range(1, 9):
        log.add(step, 9, loss=1.0)
    assert bucket.asked == 1


def test_a_disk_that_was_full_has_all_lines_and_no_half_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "metrics.jsonl"
    place.write_text('{"step": 1}\n{"step": 2}\n{"st')
    log = MetricsFile(str(place), 1)
    log.add(2, 9, loss=1.0)
    assert _steps(place.read_bytes()) == [1, 2]  # at once
    with monkeypatch.context() as full:
        full.setattr(metrics, "open", _raise_full, raising=False)
        log.add(3, 9, loss=1.0)
    with place.open("a") as file:
        file.write('{"st')
    log.add(4, 9, loss=1.0)
    assert _steps(read_bytes(place)) == [1, 2, 3, 4]


def _raise_full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", 70),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 80GB HBM3", 989),
        ("Tesla V100-PCIE-16GB", 112),
        ("Tesla V100-SXM2-16GB", 125),
        ("Tesla T4", 65),
        ("NVIDIA RTX A1000", None),
        ("", None),
    ],
)
def test_a_card_is_not_taken_for_one_whose_name_its_own_holds(name: str, peak: float | None) -> None:
    assert peak_tflops(name, "bf16") == peak
    assert peak_tflops(name, "fp32") is None  # none of these peaks is that of single precision


def test_time_left_goes_by_the_latest_steps_and_not_by_the_first() -> None:
    figures, left_s = Figures(torch.device("cpu"), 8, "fp32"), []
    for number, seconds in enumerate((0.5, 0.01, 0.02)):
        figures.begin()
        time.sleep(seconds)
        left_s.append(figures.end(0.0, 2 - number)["left_s"])
    assert left_s[0] >= 1  # until there is another
    assert 0 < left_s[1] < 0.5
    assert left_s[2] == 0
