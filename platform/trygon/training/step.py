"""One optimisation step: both towers, the objective over all workers' samples, the optimiser and its schedule.

Shapes: B one worker's samples, G all workers', D the width of the shared space.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, normalize

from trygon.errors import TrygonError
from trygon.models.model import Model, encode_text
from trygon.training.objective import OBJECTIVES, gather
from trygon.training.settings import TrainSettings

_MAX_LOGIT_SCALE = math.log(100)


class Towers(nn.Module):
    """Both towers as one module, so that data parallelism sees one forward."""

    def __init__(self, model: Model, feature_dropout: float) -> None:
        super().__init__()
        self.net = model.net
        self._model = model
        self._feature_dropout = feature_dropout
        text: Any = getattr(model.net, "text", None)
        frozen = text is not None and not any(parameter.requires_grad for parameter in text.parameters())
        self._frozen_text = FrozenText(model.net) if frozen else None

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors of images and texts (B, D), and the logit scale. A caption is encoded once per batch."""
        net: Any = self.net
        if "feature" in batch:
            feature_BF = batch["feature"].to(self._model.device)
            image_BD = net.visual.head(dropout(feature_BF, self._feature_dropout, self.training))
        else:
            image_BD = net.encode_image(self._model.normalise(batch["image"]))
        tokens_UL, which_B = torch.unique(batch["tokens"].to(self._model.device), dim=0, return_inverse=True)
        text_BD = self._text(tokens_UL)[which_B]
        return normalize(image_BD, dim=-1), normalize(text_BD, dim=-1), net.logit_scale.exp()

    def _text(self, tokens_UL: Tensor) -> Tensor:
        if self._frozen_text is None:
            return encode_text(self.net, tokens_UL)
        return self._frozen_text(tokens_UL)


class FrozenText:
    """The vectors of a text tower that stays as it is: a caption is encoded when it first comes."""

    def __init__(self, net: nn.Module, max_captions: int = 100_000) -> None:
        self._net = net
        self._max_captions = max_captions
        self._vectors: dict[bytes, Tensor] = {}

    @torch.no_grad()
    def __call__(self, tokens_UL: Tensor) -> Tensor:
        keys = [row.tobytes() for row in tokens_UL.cpu().numpy()]
        if len(self._vectors) > self._max_captions:
            self._vectors.clear()
        new = [row for row, key in enumerate(keys) if key not in self._vectors]
        if new:
            vectors = encode_text(self._net, tokens_UL[new])
            self._vectors |= {keys[row]: vector for row, vector in zip(new, vectors, strict=True)}
        return torch.stack([self._vectors[key] for key in keys])


def global_loss(towers: nn.Module, batch: Mapping[str, Tensor], objective: str) -> tuple[Tensor, Tensor]:
    """The objective over the samples of all workers, and the logit scale."""
    image_BD, text_BD, logit_scale = towers(batch)
    taxon_G = gather(batch["taxon"].to(image_BD.device))
    return OBJECTIVES[objective](gather(image_BD), gather(text_BD), logit_scale, taxon_G), logit_scale


def freeze(net: Any, settings: TrainSettings) -> None:
    """Switch off the gradients of the parts that stay as they are."""
    if settings.freeze_image_trunk:
        getattr(net.visual, "trunk", net.visual).requires_grad_(False)
    if settings.freeze_text_tower:
        net.text.requires_grad_(False)


def optimiser_of(net: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW with a learning rate for each tower; no decay on gains, biases and the logit scale."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            rate = settings.text_learning_rate if name.startswith("text.") else settings.image_learning_rate
            decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "weight_decay": decay, "peak": rate}
            for (rate, decay), parameters in groups.items()
        ],
        betas=(0.9, 0.98),
        eps=1e-6,
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, step: int, num_steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then a cosine to zero; the share of the peak at this step."""
    if step < warmup_steps:
        share = (step + 1) / warmup_steps
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, num_steps - warmup_steps)))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share
    return share


def take_step(
    towers: nn.Module, optimiser: torch.optim.Optimizer, batch: Mapping[str, Tensor], objective: str
) -> dict[str, float]:
    """Forward, backward, update; loss and logit scale. A loss that is not finite ends training before the update."""
    loss, logit_scale = global_loss(towers, batch, objective)
    if not torch.isfinite(loss):
        raise TrygonError("the loss is not finite: start again with lower learning rates, in another --out")
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    net: Any = getattr(towers, "module", towers).net
    with torch.no_grad():
        net.logit_scale.clamp_(0, _MAX_LOGIT_SCALE)
    return {"loss": loss.item(), "logit_scale": logit_scale.item()}
