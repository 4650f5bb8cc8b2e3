"""What training pulls together and pushes apart, over the samples of all workers.

Each worker answers for the rows of its own samples, against the samples of all; the sum of that over the workers is
the loss of the whole batch. Similarities are made tile by tile and made again on the way back, so that memory grows
with the batch and not with its square. Shapes: B one worker's samples, G all workers', T a tile's, D the width of the
shared space, R = 7 ranks.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import softplus
from torch.utils.checkpoint import checkpoint

from trygon.data.plan import shares


@dataclass(frozen=True)
class Encoded:
    """What the towers make of samples. Vectors have unit length; `clades_BR` numbers the clade of a sample at each
    rank, 0 where it has no name there; `class_loss_B` is there where the towers have a classifier."""

    image_BD: Tensor
    text_BD: Tensor
    clades_BR: Tensor
    class_loss_B: Tensor

    def columns(self) -> tuple[Tensor, ...]:
        """All tensors, in order."""
        return tuple(getattr(self, it.name) for it in fields(self))

    def map(self, function: Callable[[Tensor], Tensor]) -> "Encoded":
        """Each tensor through the function."""
        return Encoded(*map(function, self.columns()))


class Objective(Protocol):
    """A worker's part of the loss: `mine` are rows of `world`, from `first` on. `scale` and `bias` turn cosines into
    logits. A similarity is never held for more than `tile` samples of the world at once (0: all)."""

    def __call__(
        self, mine: Encoded, world: Encoded, first: int, scale: Tensor, bias: Tensor, tile: int
    ) -> Tensor: ...


Affinity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(clades (B, R), clades (T, R), own (B, T)) to how much two samples belong together; 1 for the same sample, which is
where `own` says so."""


def themselves(_mine: Tensor, _others: Tensor, own_BT: Tensor) -> Tensor:
    """Only a sample's own text belongs to its image."""
    return own_BT.float()


def same_taxon(mine_BR: Tensor, others_TR: Tensor, own_BT: Tensor) -> Tensor:
    """Samples of one taxon belong together (as in supervised contrastive learning, arXiv:2004.11362)."""
    same_BT = torch.ones_like(own_BT)
    for mine_B, other_T in zip(mine_BR.T, others_TR.T, strict=True):
        same_BT &= mine_B[:, None] == other_T[None]
    return (same_BT | own_BT).float()


def near_taxa(mine_BR: Tensor, others_TR: Tensor, own_BT: Tensor, per_edge: float = 0.2) -> Tensor:
    """Samples belong together by `per_edge` to the power of the edges between their taxa in the tree."""
    shared_BT = torch.zeros_like(own_BT, dtype=torch.float32)
    for mine_B, other_T in zip(mine_BR.T, others_TR.T, strict=True):
        shared_BT += (mine_B[:, None] == other_T[None]) & (mine_B != 0)[:, None]
    depth_B, depth_T = (mine_BR != 0).sum(1), (others_TR != 0).sum(1)
    edges_BT = depth_B[:, None] + depth_T[None] - 2 * shared_BT
    return torch.where(own_BT, 1.0, per_edge**edges_BT)


def softmax_loss(
    mine: Encoded, world: Encoded, first: int, scale: Tensor, bias: Tensor, tile: int, *, affinity: Affinity
) -> Tensor:
    """Both directions of CLIP (arXiv:2103.00020), cross-entropy against affinities that are made to sum to one."""
    del bias  # a softmax does not see it
    image = _softmax_rows(mine.image_BD, world.text_BD, mine, world, first, scale, tile, affinity)
    text = _softmax_rows(mine.text_BD, world.image_BD, mine, world, first, scale, tile, affinity)
    return (image + text) / 2


def _softmax_rows(
    row_BD: Tensor, column_GD: Tensor, mine: Encoded, world: Encoded, first: int, scale: Tensor, tile: int,
    affinity: Affinity,
) -> Tensor:  # fmt: skip
    def one(start: int, column_TD: Tensor, clades_TR: Tensor, scale: Tensor, row_BD: Tensor) -> tuple[Tensor, ...]:
        logit_BT = scale * row_BD @ column_TD.T
        weight_BT = affinity(mine.clades_BR, clades_TR, _own(len(row_BD), len(column_TD), first - start, row_BD))
        return torch.logsumexp(logit_BT, 1), (weight_BT * logit_BT).sum(1), weight_BT.sum(1)

    parts = _by_tile(tile, one, column_GD, world.clades_BR, scale, row_BD)
    everything_BK, hit_BK, weight_BK = (torch.stack(part, 1) for part in zip(*parts, strict=True))
    return (torch.logsumexp(everything_BK, 1) - hit_BK.sum(1) / weight_BK.sum(1)).sum() / len(column_GD)


def sigmoid_loss(
    mine: Encoded, world: Encoded, first: int, scale: Tensor, bias: Tensor, tile: int, *, affinity: Affinity
) -> Tensor:
    """SigLIP (arXiv:2303.15343): each pair is a question of its own, answered yes by pairs that belong together."""

    def one(
        start: int, text_TD: Tensor, clades_TR: Tensor, scale: Tensor, bias: Tensor, image_BD: Tensor
    ) -> tuple[Tensor, ...]:
        logit_BT = scale * image_BD @ text_TD.T + bias
        yes_BT = affinity(mine.clades_BR, clades_TR, _own(len(image_BD), len(text_TD), first - start, image_BD))
        return ((softplus(-logit_BT) * yes_BT + softplus(logit_BT) * (1 - yes_BT)).sum(),)

    parts = _by_tile(tile, one, world.text_BD, world.clades_BR, scale, bias, mine.image_BD)
    return torch.stack([loss for (loss,) in parts]).sum() / len(world.image_BD)


def class_loss(mine: Encoded, world: Encoded, first: int, scale: Tensor, bias: Tensor, tile: int) -> Tensor:
    """The classifier's own loss: samples do not see each other."""
    del first, scale, bias, tile
    return mine.class_loss_B.sum() / len(world.class_loss_B)


def loss_of_guessing(objective: str, batch_size: int) -> float:
    """What an objective says when all vectors are one; infinite where that is no matter of the batch alone."""
    return math.log(batch_size) if objective.startswith("clip") else math.inf


OBJECTIVES: dict[str, Objective] = {
    "clip": partial(softmax_loss, affinity=themselves),
    "clip_taxa": partial(softmax_loss, affinity=same_taxon),
    "clip_tree": partial(softmax_loss, affinity=near_taxa),
    "siglip": partial(sigmoid_loss, affinity=themselves),
    "siglip_taxa": partial(sigmoid_loss, affinity=same_taxon),
    "classes": class_loss,
    "classes_tree": class_loss,
}
CLASSIFIED: dict[str, Sequence[int]] = {"classes": (6,), "classes_tree": range(7)}
"""The ranks at which an objective classifies: the baselines that BioCLIP was compared with (arXiv:2311.18803)."""


def _by_tile(
    tile: int, function: Callable[..., tuple[Tensor, ...]], vector_GD: Tensor, clades_GR: Tensor, *inputs: Tensor
) -> list[tuple[Tensor, ...]]:
    """The function of each tile's start, vectors and clades. With tiles it is computed once more on the way back
    instead of keeping what lies between."""
    if not tile:
        return [function(0, vector_GD, clades_GR, *inputs)]
    return [
        checkpoint(
            function, start, vector_GD[start : start + tile], clades_GR[start : start + tile], *inputs,
            use_reentrant=False, preserve_rng_state=False,
        )
        for start in range(0, len(vector_GD), tile)
    ]  # fmt: skip


def _own(rows: int, columns: int, offset: int, like: Tensor) -> Tensor:
    """Where row and column are the same sample: column = row + offset."""
    index_B = torch.arange(rows, device=like.device) + offset
    return index_B[:, None] == torch.arange(columns, device=like.device)[None]


def gather(local: Tensor, total: int) -> Tensor:
    """The rows of all workers, `total` of them in `shares`, in rank order; gradients flow back to where they came
    from."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return local
    return _Gather.apply(local, total)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, local: Tensor, total: int) -> Tensor:
        context.sizes = shares(total, dist.get_world_size())
        most = context.sizes[0]
        padded = local.contiguous()
        if len(local) < most:
            padded = torch.cat([local, local.new_zeros((most - len(local), *local.shape[1:]))])
        parts = [torch.empty_like(padded) for _ in context.sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, context.sizes, strict=True)])

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient, sizes = gradient.contiguous(), context.sizes
        if dist.get_backend() == "nccl" and sizes[0] == sizes[-1]:
            mine = gradient.new_empty(sizes[0], *gradient.shape[1:])
            dist.reduce_scatter_tensor(mine, gradient)
            return mine, None
        dist.all_reduce(gradient)
        return gradient.split(sizes)[dist.get_rank()], None
