"""The objectives: equal where no taxon repeats, and no push between samples of one taxon."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from open_clip.loss import ClipLoss
from torch.nn.functional import normalize

from trygon.training.objective import OBJECTIVES, clip, clip_taxa, gather
from trygon_jobs.train import TrainConfig


def _vectors(count: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_config_offers_the_objectives_that_there_are() -> None:
    assert set(get_args(TrainConfig.model_fields["objective"].annotation)) == set(OBJECTIVES)


def test_clip_is_open_clips_loss() -> None:
    image_BD, text_BD, scale = _vectors(6, 0), _vectors(6, 1), torch.tensor(7.0)
    torch.testing.assert_close(clip(image_BD, text_BD, scale, torch.arange(6)), ClipLoss()(image_BD, text_BD, scale))


def test_objectives_agree_where_no_taxon_repeats() -> None:
    image_BD, text_BD, scale = _vectors(6, 0), _vectors(6, 1), torch.tensor(7.0)
    taxon_B = torch.arange(6)
    torch.testing.assert_close(clip(image_BD, text_BD, scale, taxon_B), clip_taxa(image_BD, text_BD, scale, taxon_B))


def test_samples_of_one_taxon_are_not_pushed_apart() -> None:
    vector_BD = torch.eye(8)[[0, 0, 1, 1]]
    taxon_B, scale = torch.tensor([0, 0, 1, 1]), torch.tensor(50.0)
    assert (
        clip_taxa(vector_BD, vector_BD, scale, taxon_B)
        < clip_taxa(vector_BD, vector_BD, scale, torch.arange(4)) + 1e-6
    )
    pulled = vector_BD.clone().requires_grad_()
    clip_taxa(pulled, vector_BD, scale, taxon_B).backward()
    assert pulled.grad is not None
    assert pulled.grad.abs().max() < 1e-3


def _gradient(objective: str, rows: slice, share: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The gradient of a linear tower's weight, from some rows of a fixed batch of eight."""
    torch.manual_seed(0)
    tower, image_BF, text_BD = torch.nn.Linear(6, 8), torch.randn(8, 6), _vectors(8, 1)
    image_BD = normalize(tower(image_BF[rows]), dim=1)
    taxon_B = torch.tensor([0, 1, 0, 2, 1, 3, 0, 4])[rows]
    loss = OBJECTIVES[objective](share(image_BD), share(text_BD[rows]), torch.tensor(7.0), share(taxon_B))
    loss.backward()
    assert tower.weight.grad is not None
    return tower.weight.grad


def _work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for objective in OBJECTIVES:
        gradient = _gradient(objective, slice(4 * rank, 4 * rank + 4), gather)
        dist.all_reduce(gradient)  # as data parallelism does it: the mean over the workers
        if rank == 0:
            torch.save(gradient / 2, f"{folder}/{objective}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_have_the_gradient_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    mp.spawn(_work, (str(tmp_path),), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    for objective in OBJECTIVES:
        whole = _gradient(objective, slice(None), lambda rows: rows)
        torch.testing.assert_close(torch.load(tmp_path / f"{objective}.pt"), whole, atol=1e-6, rtol=1e-5)
