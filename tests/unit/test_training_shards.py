"""Towers in shards: where they lie, where the gradients of a piece go, what is averaged and what is passed over; and
towers that two workers compile."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.tensor import DTensor

from trygon.models.model import load_model
from trygon.testing.tiny import TINY_SIDE, write_tiny_model
from trygon.training.checkpoint import Position, load_state, load_weights, save_state, state_of
from trygon.training.learner import Learner
from trygon.training.parallel import sync_off
from trygon.training.settings import TrainSettings


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A tiny model, and a group of one worker."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield write_tiny_model(tmp_path / "tiny")
    dist.destroy_process_group()


def _learner(tiny: Path, sharded: bool = True, **changes: Any) -> Learner:
    values: dict[str, Any] = {"shards": (), "taxa": "", "metrics": "", "batch_size": 4, "warmup_steps": 0}
    settings = TrainSettings(initial=str(tiny), sharded=sharded, **values | changes)
    return Learner(load_model(tiny, "cpu"), settings)


def _batch(learner: Learner, rows: slice = slice(None)) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 255, (4, 3, TINY_SIDE, TINY_SIDE), dtype=torch.uint8, generator=generator)
    return {"image": image[rows], "tokens": learner.model.tokenizer(["a lion", "an oak", "a frog", "a moth"])[rows]}


def test_shards_lie_where_training_computes(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with GPUs too, where training takes the CPUs."""
    monkeypatch.setattr(torch._C, "_get_accelerator", lambda *_: torch.device("cuda"))
    towers = _learner(tiny).towers
    devices = {it.device_mesh.device_type for it in towers.parameters() if isinstance(it, DTensor)}
    assert devices == {"cpu"}


def test_gradients_of_a_piece_go_to_their_shards_at_once(tiny: Path) -> None:
    """Kept until the last piece, they would be as large as without shards."""
    learner = _learner(tiny)
    with sync_off(learner.towers):
        encoded, _, _ = learner.towers(_batch(learner))
        (encoded.image_BD + encoded.text_BD).sum().backward()
        gradients = [it.grad for it in learner.towers.parameters() if it.ndim]
    assert all(isinstance(it, DTensor) for it in gradients)


AVERAGED: dict[str, dict[str, Any]] = {
    "whole": {"objective": "clip", "ema_decay": 0.5},
    "frozen": {"objective": "clip", "ema_decay": 0.5, "freeze_text_tower": True},
}
SCALED: dict[str, Any] = {"objective": "clip", "precision": "fp16", "max_gradient_norm": 0.01}


def _work(rank: int, folder: Path) -> None:
    """A worker of two."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    rows = slice(2 * rank, 2 * rank + 2)
    for name, changes in AVERAGED.items():
        _average(folder / "tiny", folder / name, rank, rows, changes)
    torch.save(_pass_over(folder / "tiny", rank, rows), folder / f"scaled-{rank}.pt")
    for sharded in (False, True):
        compiled = _learner(folder / "tiny", sharded, objective="clip", compile=True)
        told = compiled.step(_batch(compiled, rows), 0, 10)
        state = state_of(compiled, Position(1, 1))
        if rank == 0:
            torch.save({"told": told, "weights": state["weights"]}, folder / f"compiled-{sharded}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _average(tiny: Path, out: Path, rank: int, rows: slice, changes: dict[str, Any]) -> None:
    """Three steps, the last of them from the state after two."""
    before, after = _learner(tiny, **changes), _learner(tiny, **changes)
    for step in (0, 1):
        before.step(_batch(before, rows), step, 10)
    _save(out / "before", rank, before, Position(1, 2))
    load_state(out / "before", after)
    after.step(_batch(after, rows), 2, 10)
    _save(out / "after", rank, after, Position(2, 3))


def _save(out: Path, rank: int, learner: Learner, position: Position) -> None:
    state = state_of(learner, position)
    if rank == 0:
        out.mkdir(parents=True)
        save_state(out, state)
    dist.barrier()


def _pass_over(tiny: Path, rank: int, rows: slice) -> dict[str, Any]:
    """Two steps in half precision. In the second, one number of the second worker's own shard overflows."""
    learner = _learner(tiny, **SCALED)
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=256)  # by what it begins with, the first step overflows
    told = [learner.step(_batch(learner, rows), 0, 10)]
    before, unscale, scale = _shards(learner), learner.scaler.unscale_, learner.scaler.get_scale()

    def overflow(optimizer: torch.optim.Optimizer) -> None:
        gradient = next(it.grad for it in learner.towers.parameters() if isinstance(it.grad, DTensor))
        gradient.to_local().view(-1)[0] = torch.inf
        unscale(optimizer)

    if rank == 1:
        learner.scaler.unscale_ = overflow
    told.append(learner.step(_batch(learner, rows), 1, 10))
    return {
        "told": told,
        "stayed": [torch.equal(it, was) for it, was in zip(_shards(learner), before, strict=True)],
        "backed_off": learner.scaler.get_scale() / scale,
        "steps": {int(it["step"]) for it in learner.optimiser.state.values()},
    }


def _shards(learner: Learner) -> list[torch.Tensor]:
    return [(it.to_local() if isinstance(it, DTensor) else it).detach().clone() for it in learner.towers.parameters()]


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what two workers made."""
    folder = tmp_path_factory.mktemp("shards")
    write_tiny_model(folder / "tiny")
    mp.set_forkserver_preload(["trygon.training.checkpoint"])
    mp.start_processes(_work, (folder,), nprocs=2, start_method="forkserver")  # pyright: ignore[reportPrivateImportUsage]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", AVERAGED)
def test_workers_average_their_shards_to_what_one_alone_has(worked: Path, name: str) -> None:
    """Through a checkpoint too."""
    alone = _learner(worked / "tiny", sharded=False, **AVERAGED[name])
    assert alone.average is not None
    average: Any = alone.average.module
    for step, saved in enumerate(("", "before", "after")):
        alone.step(_batch(alone), step, 10)
        if saved:
            found, _ = load_weights(worked / name / saved)
            torch.testing.assert_close(found, dict(average.net.state_dict()), atol=1e-5, rtol=1e-5)
    weights, averaged = alone.model.net.state_dict(), average.net.state_dict()
    assert max(float((averaged[it] - weights[it]).abs().max()) for it in weights) > 3e-5  # it is not what learns


@pytest.mark.slow
def test_an_overflow_that_one_worker_sees_is_passed_over_by_all(worked: Path) -> None:
    mine, other = (torch.load(worked / f"scaled-{rank}.pt") for rank in range(2))
    for found in (mine, other):
        assert [it["passed_over"] for it in found["told"]] == [0, 1]
        assert all(found["stayed"])
        assert (found["backed_off"], found["steps"]) == (0.5, {1})


@pytest.mark.slow
def test_gradients_of_a_scaled_loss_in_shards_are_unscaled_before_they_are_cut(worked: Path) -> None:
    alone = _learner(worked / "tiny", sharded=False, **SCALED | {"precision": "fp32"})
    told = alone.step(_batch(alone), 0, 10)
    scaled = torch.load(worked / "scaled-0.pt")["told"][0]
    assert {name: scaled[name] for name in told} == pytest.approx(told, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_workers_that_compile_a_tower_learn_what_one_alone_does_without(worked: Path, sharded: bool) -> None:
    alone = _learner(worked / "tiny", sharded=False, objective="clip")
    told, found = alone.step(_batch(alone), 0, 10), torch.load(worked / f"compiled-{sharded}.pt")
    assert found["told"] == pytest.approx(told, rel=1e-4)
    torch.testing.assert_close(found["weights"], dict(alone.towers.state_dict()), atol=1e-5, rtol=1e-4)
