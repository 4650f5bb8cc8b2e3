"""Towers in parallel with those of other workers: copies whose gradients are averaged, or one set in shards."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trygon.training.settings import TrainSettings
from trygon.training.towers import Towers


def in_parallel(towers: Towers, settings: TrainSettings) -> nn.Module:
    """The towers as one of many, the image tower compiled where asked for; within, they stay the same object."""
    if dist.is_initialized() and settings.sharded:
        _shard(towers)
        wrapped: nn.Module = towers
    elif dist.is_initialized() and dist.get_world_size() > 1:
        wrapped = DistributedDataParallel(towers, gradient_as_bucket_view=True)
    else:
        wrapped = towers
    if settings.compile:
        net: Any = towers.net
        net.visual.compile(dynamic=False)
    return wrapped


def averaged(towers: Towers, settings: TrainSettings) -> AveragedModel | None:
    """A moving average of towers that are not in parallel yet, if one is kept; in shards as they will be, of which
    each worker averages its own."""
    if not settings.ema_decay:
        return None
    average = get_ema_multi_avg_fn(settings.ema_decay)

    def average_mine(means: Sequence[Tensor], values: Sequence[Tensor], num_averaged: Tensor | int) -> None:
        average([_mine(it) for it in means], [_mine(it) for it in values], num_averaged)

    model = AveragedModel(towers, multi_avg_fn=average_mine, use_buffers=True)
    if dist.is_initialized() and settings.sharded:
        _shard(model.module)
    return model


def _shard(towers: nn.Module) -> None:
    """FSDP2: weights, gradients and optimiser state lie in shards; what has no dimensions stays whole."""
    net: Any = towers.net
    for parameter in towers.parameters():
        parameter.data = parameter.data.contiguous()  # channels last, which FSDP2 does not know
    scalars = {parameter for parameter in towers.parameters() if parameter.ndim == 0}
    # A frozen text tower runs on some workers only, where a caption is new: it must not gather from the others.
    frozen = {parameter for parameter in towers.parameters() if not parameter.requires_grad}
    # By itself it would lie on the machine's GPUs, also where training takes the CPUs beside them.
    mesh = init_device_mesh(net.logit_scale.device.type, (dist.get_world_size(),))
    for block in blocks(net):
        if not frozen.issuperset(block.parameters()):
            fully_shard(block, mesh=mesh)
    fully_shard(towers, mesh=mesh, ignored_params=scalars | frozen, mp_policy=MixedPrecisionPolicy())
    for parameter in scalars:
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_average_gradient)


def _average_gradient(parameter: Tensor) -> None:
    # What came before, of another backward pass, is the same on all workers by now: averaging leaves it as it is.
    assert parameter.grad is not None
    dist.all_reduce(parameter.grad)
    parameter.grad /= dist.get_world_size()


def blocks(net: Any) -> list[nn.Module]:
    """The transformer blocks of both towers."""
    holders = (net.visual, getattr(net.visual, "trunk", None), net.text)
    lists = [
        getattr(getattr(holder, "transformer", holder), name, [])
        for holder in holders
        if holder is not None
        for name in ("resblocks", "blocks")
    ]
    return [block for some in lists for block in some]


def batch_norms(module: nn.Module) -> Iterator[nn.Module]:
    """The layers whose output for a sample hangs on the other samples."""
    return (it for it in module.modules() if isinstance(it, nn.modules.batchnorm._BatchNorm))


def sync_off(wrapped: nn.Module) -> AbstractContextManager[None]:
    """A time in which the gradients of copies are kept and not averaged. Those in shards are brought there all the
    same: kept whole, they would take as much memory as without shards."""
    return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()


def mean(value: Tensor) -> Tensor:
    """The mean of a number over the workers, the same on all of them."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        value = value.detach().clone()
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value.detach()


def _mine(value: Tensor) -> Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def whole(value: Tensor) -> Tensor:
    """A tensor that may lie in shards, put together."""
    return value.full_tensor() if isinstance(value, DTensor) else value
