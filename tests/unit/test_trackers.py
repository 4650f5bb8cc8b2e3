"""Where figures of training go beside the metrics file: each tracker with its own package, on this machine alone."""

import json
import shutil
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from trygon.errors import UserError
from trygon.storage import list_files, name_of, read_bytes, write_bytes
from trygon.testing.s3 import Fault, FaultyS3, Kind, s3_server, using
from trygon.training import trackers
from trygon.training.trackers import Tracker, check_installed, tracked

pytestmark = pytest.mark.slow

_CONFIG = {"objective": "clip", "text_types": ["taxon", "com"]}


def _line(step: int) -> dict[str, Any]:
    return {"step": step, "num_steps": 4, "time": 1.0, "loss": 1 / step}


def _follow(tracker: Tracker, out: str | Path, steps: range) -> None:
    with tracked((tracker,), str(out), _CONFIG) as track:
        for step in steps:
            track(_line(step), "train")
        track({"step": steps.start, "species/top1": 0.5}, "val")  # a checkpoint is measured beside training


def test_a_run_that_goes_on_is_one_run_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow

    for steps in (range(1, 3), range(3, 5)):
        _follow("mlflow", tmp_path / "model", steps)
    _follow("mlflow", tmp_path / "another", range(1, 2))
    runs: Any = mlflow.search_runs(experiment_names=["trygon"], output_format="list")
    one = next(run for run in runs if run.info.run_name.endswith("model"))
    history = mlflow.MlflowClient().get_metric_history(one.info.run_id, "train/loss")
    measured = mlflow.MlflowClient().get_metric_history(one.info.run_id, "val/species/top1")
    assert [(point.step, point.value) for point in measured] == [(1, 0.5), (3, 0.5)]
    assert len(runs) == 2
    assert one.data.params["objective"] == "clip"
    assert [(point.step, point.value) for point in history] == [(step, 1 / step) for step in range(1, 5)]


def _told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(":")[0] for record in caplog.records if "tracker" in record.name]


def test_a_tracker_that_cannot_end_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with tracked(("mlflow",), str(tmp_path / "model"), _CONFIG) as track:
        track(_line(1), "train")
        shutil.rmtree(tmp_path / "mlruns")
        for step in (2, 3):
            track(_line(step), "train")
    assert _told(caplog) == [
        "the tracker mlflow does not take step 2 now, and is tried again every few minutes",
        "the tracker mlflow lacks 2 lines, of step 2 and later",
        "the tracker mlflow could not end",
    ]


def _history() -> list[int]:
    """The steps that MLflow has."""
    import mlflow

    (run,) = mlflow.search_runs(experiment_names=["trygon"], output_format="list")
    return [it.step for it in mlflow.MlflowClient().get_metric_history(run.info.run_id, "train/loss")]


@contextmanager
def _away(folder: Path) -> Iterator[None]:
    folder.rename(kept := folder.with_name("away"))
    yield
    shutil.rmtree(folder, ignore_errors=True)
    kept.rename(folder)


@pytest.mark.parametrize("retry_s", [-1.0, 300.0])
def test_a_tracker_that_is_back_gets_what_it_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, retry_s: float
) -> None:
    """It is told once that it is away, and it is not asked at each step."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setattr(trackers, "_RETRY_S", retry_s)
    with tracked(("mlflow",), str(tmp_path / "model"), _CONFIG) as track:
        track(_line(1), "train")
        with _away(tmp_path / "mlruns"):
            for step in (2, 3):
                track(_line(step), "train")
        track(_line(4), "train")
        assert _history() == ([1] if retry_s > 0 else [1, 2, 3, 4])
    assert _history() == [1, 2, 3, 4]
    assert _told(caplog) == ["the tracker mlflow does not take step 2 now, and is tried again every few minutes"]


def test_tensorboards_files_come_to_an_s3_that_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(trackers, "_COPY_S", -1.0)  # after each line
    with s3_server("runs") as address, FaultyS3(address, [Fault(Kind.DENY, 1)]) as faulty, using(faulty.address):
        with tracked(("tensorboard",), "s3://runs/away", _CONFIG) as track:
            for step in (1, 2):
                track(_line(step), "train")
            faulty.faults = []
            track(_line(3), "train")
        (events_file,) = list_files("s3://runs/away/tensorboard")
        write_bytes(tmp_path / name_of(events_file), read_bytes(events_file))
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [it.step for it in events.Scalars("train/loss")] == [1, 2, 3]
    assert _told(caplog) == ["TensorBoard's files are not copied to s3"]


def _history_of(file: Path) -> list[dict[str, float]]:
    """What a file of Weights & Biases keeps of a run's figures: a log as LevelDB writes it, in blocks, a head of seven
    bytes before each piece, and one before all."""
    record_of: Any = import_module("wandb.proto.wandb_internal_pb2").Record
    data, at, kept, rows = file.read_bytes(), 7, b"", list[dict[str, float]]()
    while at + 7 <= len(data):
        if (32 << 10) - at % (32 << 10) < 7:
            at += (32 << 10) - at % (32 << 10)
        size, kind = struct.unpack_from("<HB", data, at + 4)
        kept += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole one, or the last piece of one
            items = record_of.FromString(kept).history.item
            rows.append({"/".join(it.nested_key) or it.key: json.loads(it.value_json) for it in items})
            kept = b""
    return [row for row in rows if row]


def test_a_run_that_goes_on_has_one_id_at_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(sys.prefix) / "trackers")])  # where `make` puts it
    for steps in (range(1, 3), range(3, 5)):
        _follow("wandb", tmp_path / "model", steps)
    kept = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len({file.stem for file in kept}) == 1
    assert all(file.stat().st_size for file in kept)
    rows = [row for file in sorted(kept) for row in _history_of(file)]
    assert [row["_step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4]
    assert [(row["val/step"], row["val/species/top1"]) for row in rows if "val/step" in row] == [(1, 0.5), (3, 0.5)]


@pytest.mark.parametrize("remote", [False, True])
def test_tensorboards_files_hold_the_figures(tmp_path: Path, remote: bool) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if remote:
        with s3_server("runs") as address, using(address):
            _follow("tensorboard", "s3://runs/model", range(1, 4))
            (events_file,) = list_files("s3://runs/model/tensorboard")
            write_bytes(tmp_path / "tensorboard" / name_of(events_file), read_bytes(events_file))
    else:
        _follow("tensorboard", tmp_path, range(1, 4))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [it.step for it in events.Scalars("train/loss")] == [1, 2, 3]
    assert [it.value for it in events.Scalars("train/loss")] == pytest.approx([1.0, 0.5, 1 / 3])
    assert [(it.step, it.value) for it in events.Scalars("val/species/top1")] == [(1, 0.5)]


def test_a_tracker_that_cannot_begin_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://somewhere")
    with pytest.raises(UserError, match="--trackers mlflow cannot begin: "):
        _follow("mlflow", tmp_path, range(1, 2))
    monkeypatch.setitem(sys.modules, "wandb", None)
    for begin in (lambda: _follow("wandb", tmp_path, range(1, 2)), lambda: check_installed(("tensorboard", "wandb"))):
        with pytest.raises(UserError, match="--trackers wandb needs the package wandb: pip install wandb"):
            begin()
