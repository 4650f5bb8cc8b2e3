"""Towers in shards: where they lie, and where the gradients of a piece go."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from trygon.models.model import load_model
from trygon.testing.tiny import TINY_SIDE, write_tiny_model
from trygon.training.learner import Learner
from trygon.training.parallel import sync_off
from trygon.training.settings import TrainSettings


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A tiny model, and a group of one worker."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield write_tiny_model(tmp_path / "tiny")
    dist.destroy_process_group()


def _learner(tiny: Path) -> Learner:
    values: dict[str, Any] = {"shards": (), "taxa": "", "metrics": "", "batch_size": 4}
    return Learner(load_model(tiny, "cpu"), TrainSettings(initial=str(tiny), sharded=True, **values))


def test_shards_lie_where_training_computes(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with GPUs too, where training takes the CPUs."""
    monkeypatch.setattr(torch._C, "_get_accelerator", lambda *_: torch.device("cuda"))
    towers = _learner(tiny).towers
    devices = {it.device_mesh.device_type for it in towers.parameters() if isinstance(it, DTensor)}
    assert devices == {"cpu"}


def test_gradients_of_a_piece_go_to_their_shards_at_once(tiny: Path) -> None:
    """Kept until the last piece, they would be as large as without shards."""
    learner = _learner(tiny)
    image = torch.randint(0, 255, (4, 3, TINY_SIDE, TINY_SIDE), dtype=torch.uint8)
    batch = {"image": image, "tokens": learner.model.tokenizer(["a lion"] * 4)}
    with sync_off(learner.towers):
        encoded, _, _ = learner.towers(batch)
        (encoded.image_BD + encoded.text_BD).sum().backward()
        gradients = [it.grad for it in learner.towers.parameters() if it.ndim]
    assert all(isinstance(it, DTensor) for it in gradients)
