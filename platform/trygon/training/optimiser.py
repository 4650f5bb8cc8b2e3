"""AdamW in groups: a learning rate for each tower and depth, no decay on gains and biases; and the schedule."""

import math
import re
from typing import Any

import torch
from torch import nn

from trygon.training.settings import TrainSettings
from trygon.training.towers import trunk_of


def freeze(net: Any, settings: TrainSettings) -> None:
    """Switch off the gradients of the parts that stay as they are, or that the objective never asks."""
    classifies = settings.objective.startswith("classes")
    if settings.freeze_image_trunk:
        trunk_of(net.visual).requires_grad_(False)
    if settings.freeze_text_tower or classifies:
        net.text.requires_grad_(False)
    if classifies:
        net.logit_scale.requires_grad_(False)
    if getattr(net, "logit_bias", None) is not None and not settings.objective.startswith("siglip"):
        net.logit_bias.requires_grad_(False)


def optimiser_of(towers: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW over what is trained, in groups of one peak rate and decay."""
    depths = _depths(towers)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in towers.named_parameters():
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
    place = {name: re.search(r"\.(text|visual)\b.*?(?:resblocks|blocks|layers)\.(\d+)\.", f".{name}") for name, _ in
             towers.named_parameters()}  # fmt: skip
    count: dict[str, int] = {}
    for match in filter(None, place.values()):
        count[match[1]] = max(count.get(match[1], 0), int(match[2]) + 1)
    first = re.compile(r"\.(text|visual)\b.*(conv1|patch_embed|class_embedding|positional_embedding|token_embedding|"
                       r"pos_embed|cls_token|ln_pre|stem)")  # fmt: skip
    depths = {}
    for name, match in place.items():
        if match:
            depths[name] = count[match[1]] - int(match[2])
        else:
            early = first.search(f".{name}")
            depths[name] = count.get(early[1], 0) + 1 if early else 0
    return depths


def set_learning_rate(optimiser: torch.optim.Optimizer, step: int, num_steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then a cosine to zero; the share of the peak at this step."""
    if step < warmup_steps:
        share = (step + 1) / warmup_steps
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, num_steps - warmup_steps)))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share
    return share
