"""The objectives: equal where no taxon repeats, and no push between samples of one taxon."""

import torch
from open_clip.loss import ClipLoss
from torch.nn.functional import normalize

from trygon.training.objective import clip, clip_taxa


def _vectors(count: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


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
