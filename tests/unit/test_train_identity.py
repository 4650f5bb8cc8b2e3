"""What tells a training run from another one in its folder, and what it starts from. No Ray."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from trygon.errors import UserError
from trygon.storage import read_json
from trygon.testing.checkpoints import write_listed
from trygon.testing.shards import write_tiny_shards
from trygon.testing.tiny import write_tiny_model
from trygon_jobs.ablate import _make_room
from trygon_jobs.train import TrainConfig, _claim, _identity


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with shards and a model, as the one that training is started in."""
    write_tiny_shards(tmp_path / "shards", count=1)
    write_tiny_model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _config(place: Path, model: str, out: str = "out") -> TrainConfig:
    values: dict[str, Any] = {"shards": str(place / "shards"), "out": str(place / out), "initial": {"model": model}}
    return TrainConfig.model_validate(values)


def _begin(config: TrainConfig) -> None:
    _claim(config, _identity(config))


def test_a_run_goes_on_whatever_its_initial_model_is_called(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(place, "model")
    _begin(config)
    write_listed(place / "out/checkpoints/run", 4)
    for name in ("./model", str(place / "model"), "local-dir:model"):
        _begin(_config(place, name))
    assert read_json(place / "out/config.json")["initial"]["model"] == str(place / "model")
    _make_room(_config(place, "./model"))  # of an ablation
    shutil.move(place / "model", place / "moved")
    monkeypatch.chdir(place / "shards")
    _begin(_config(place, "../moved"))
    write_tiny_model(place / "moved", seed=1)
    with pytest.raises(UserError, match="another initial"):
        _begin(_config(place, "../moved"))
