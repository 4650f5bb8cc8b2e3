"""What tells a training run from another one in its folder, and what it starts from. No Ray."""

import shutil
import sys
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
from trygon.training.settings import LearningSettings, MachineSettings, TrainSettings
from trygon_jobs.ablate import _make_room
from trygon_jobs.initial import initial_digests, initial_model
from trygon_jobs.train import OF_THE_MACHINE, TrainConfig, _claim, _identity, main


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


def test_each_setting_tells_runs_apart_or_may_change_under_way_on_purpose() -> None:
    """One that is new belongs to what is learned, to how machines do it, or into one of the two lists here."""
    assert LearningSettings.model_fields.keys().isdisjoint(MachineSettings.model_fields)
    identity = TrainConfig.model_fields.keys() - OF_THE_MACHINE
    assert identity == LearningSettings.model_fields.keys() | {"initial", "split"}
    assert OF_THE_MACHINE - MachineSettings.model_fields.keys() == {
        "shards", "replay", "out", "use_gpu", "workers", "min_workers", "trackers",
    }  # fmt: skip


def test_a_run_goes_on_with_machines_put_to_it_in_another_way(place: Path) -> None:
    config = _config(place, "model")
    _begin(config)
    write_listed(place / "out/checkpoints/run", 4)
    others = {
        "readers": 3, "threads": 1, "micro_batch": 8, "loss_tile": 8, "gradient_checkpointing": True, "sharded": True,
        "compile": True, "checkpoint_minutes": 1.0, "validation_samples": 0, "max_broken": 1.0, "max_cut": 1.0,
        "wait_for_room_s": 1.0, "resize_s": 1.0, "collective_timeout_s": 9.0,
    }  # fmt: skip
    assert others.keys() == MachineSettings.model_fields.keys()
    given = config.model_dump()
    _begin(TrainConfig.model_validate(given | others | {"workers": 7, "min_workers": 2, "trackers": ()}))
    with pytest.raises(UserError, match="another epochs"):
        _begin(TrainConfig.model_validate(given | {"epochs": 11}))


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


def test_a_tracker_that_is_not_installed_is_told_before_any_work(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="pip install wandb"):
        main(_config(place, "model").model_copy(update={"trackers": ("wandb",)}))
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("setting", "way_out"),
    [
        ({"freeze_text_tower": True}, "give --no-freeze-image-trunk or --no-freeze-text-tower"),
        ({"objective": "classes"}, "give --no-freeze-image-trunk"),
    ],
)
def test_a_model_of_which_nothing_would_learn_is_refused_before_features_are_computed(
    place: Path, setting: dict[str, Any], way_out: str
) -> None:
    """As with recipe `starter` and a model whose image tower is open_clip's own."""
    config = _config(place, "model").model_copy(update={"freeze_image_trunk": True} | setting)
    with pytest.raises(UserError, match=f"no tower of this model would learn: .*: {way_out}$"):
        main(config)
    assert not (place / "out/features").exists()
