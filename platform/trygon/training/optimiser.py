"""AdamW in groups: a learning rate for each tower and depth, no decay on gains and biases; and the schedule."""

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from trygon.errors import UserError
from trygon.training.settings import LearningSettings, TrainSettings
from trygon.training.towers import Towers, trunk_of

_TOWERS = ("visual", "text")
_OF_LOGITS = ("logit_scale", "logit_bias")
_BLOCK = re.compile(
    r"\.(?:visual|text)\.(?:.*?\.)?"
    r"(?:layer\d+\.\d+|(?:resblocks|blocks?|layers?|stages)\.\d+(?:\.(?:blocks\.)?\d+)?)\."
)
"""Of a transformer one of its row; of a tower in stages one of a stage, or what stands between two stages."""
_LAST = re.compile(r"\.(?:visual\.proj|text\.text_projection)$")
"""Projections that a tower of open_clip's own lists first and applies last."""


def freeze(net: Any, settings: LearningSettings) -> None:
    """Switch off the gradients of the parts that stay as they are, or that the objective never asks. `UserError` where
    no weight of the network is left to learn."""
    classifies = settings.objective.startswith("classes")
    if settings.freeze_image_trunk:
        trunk_of(net.visual).requires_grad_(False)
    if settings.freeze_text_tower or classifies:
        net.text.requires_grad_(False)
    if classifies:
        net.logit_scale.requires_grad_(False)
    if getattr(net, "logit_bias", None) is not None and not settings.objective.startswith("siglip"):
        net.logit_bias.requires_grad_(False)
    if not any(it.requires_grad for name, it in net.named_parameters() if name not in _OF_LOGITS):
        # All of an image tower of open_clip's own is its trunk. What classifies is left behind with its heads.
        other = "" if classifies else " or --no-freeze-text-tower"
        raise UserError(
            "no tower of this model would learn: all of its image tower is the trunk, which stays as it is, and so "
            f"does its text tower: give --no-freeze-image-trunk{other}"
        )


def optimiser_of(towers: Towers, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW over what is trained, in groups of one peak rate and decay."""
    depths = _depths(towers)
    if settings.layer_decay < 1:
        _check_blocks(towers, depths)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    # A scaler of losses asks the first gradient how all of them lie in shards; numbers do not.
    for name, parameter in sorted(towers.named_parameters(), key=lambda named: named[1].ndim == 0):
        if parameter.requires_grad:
            peak = settings.text_learning_rate if ".text." in f".{name}" else settings.image_learning_rate
            decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((peak * settings.layer_decay ** depths[name], decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "weight_decay": decay, "peak": rate}
            for (rate, decay), parameters in groups.items()
        ],
        betas=(0.9, settings.beta2),
        eps=1e-6,
        fused=True,
    )


def _depths(towers: nn.Module) -> dict[str, int]:
    """How many blocks lie between each parameter and the end of its tower: what comes before the first block is one
    further than that, what comes after the last one is at 0 (BEiT's layer-wise decay, arXiv:2106.08254)."""
    depths = {name: 0 for name, _ in towers.named_parameters()}
    for tower in _TOWERS:
        depths |= _tower_depths([name for name in depths if _lies_in(name, tower)])
    return depths


def _tower_depths(names: Sequence[str]) -> dict[str, int]:
    """The depths of one tower's parameters, given in the order in which it applies them."""
    blocks = [match[0] if (match := _BLOCK.search(name)) else "" for name in names]
    count = len({*blocks} - {""})
    depths, begun = dict[str, int](), dict[str, int]()
    for name, block in zip(names, blocks, strict=True):
        number = begun.setdefault(block, len(begun) + 1) if block else len(begun)
        is_behind = _LAST.search(name) or (not block and number == count)
        depths[name] = 0 if is_behind else count + 1 - number
    return depths


def _check_blocks(towers: Towers, depths: dict[str, int]) -> None:
    """`UserError` where a tower that learns has no blocks that are known: it would learn as if nothing decayed."""
    net: Any = towers.net
    for tower, learns in zip(_TOWERS, (trunk_of(net.visual), net.text), strict=True):
        is_known = any(depth for name, depth in depths.items() if _lies_in(name, tower))
        if not is_known and any(it.requires_grad for it in learns.parameters()):
            kind = "image" if tower == "visual" else tower
            raise UserError(f"layer_decay: the blocks of this {kind} tower are not known; leave layer_decay at 1")


def _lies_in(name: str, tower: str) -> bool:
    return f".{tower}." in f".{name}"


def set_learning_rate(optimiser: torch.optim.Optimizer, step: int, num_steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then a cosine to zero; the share of the peak at this step."""
    if step < warmup_steps:
        share = (step + 1) / warmup_steps
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, num_steps - warmup_steps)))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share
    return share
