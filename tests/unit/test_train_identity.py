"""What tells a training run from another one in its folder, and what it starts from. No Ray."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trygon.disk import only_writer
from trygon.errors import UserError
from trygon.models.folder import WEIGHTS_NAME
from trygon.models.model import load_model
from trygon.storage import read_json
from trygon.testing.checkpoints import write_listed
from trygon.testing.shards import write_tiny_shards
from trygon.testing.tiny import write_tiny_model
from trygon.training.checkpoint import Position, save_state, state_of
from trygon.training.learner import Learner
from trygon.training.settings import TrainSettings
from trygon_jobs.ablate import _make_room
from trygon_jobs.initial import initial_digests, initial_model
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


def _come_to(run: Path, model: Path, step: int) -> None:
    settings = TrainSettings(initial=str(model), shards=(), taxa="", metrics="")
    state = state_of(Learner(load_model(model, "cpu"), settings), Position(1, step))
    save_state(write_listed(run / "checkpoints/run", step), state)
    if not (run / "config.json").exists():
        _begin(_config(run.parent, str(model), run.name))


def test_a_run_that_started_from_another_goes_on_when_that_has_moved_on(place: Path) -> None:
    _come_to(place / "first", place / "model", 4)
    config, console = _config(place, "first", "second"), Console(quiet=True)
    begun = initial_digests(config)
    with only_writer(config.out) as hold:
        _begin(config)
        made = initial_model(config, hold, console)
        assert made == str(place / "second/initial")
        _come_to(place / "first", place / "model", 8)
        assert initial_digests(_config(place, "first", "third")) != begun
        assert initial_digests(config) == begun
        _begin(config)
        shutil.copy(place / "model" / WEIGHTS_NAME, place / "first")  # it comes to its end
        assert initial_model(config, hold, console) == made
        with pytest.raises(UserError, match="another initial"):
            _begin(_config(place, "model", "second"))
