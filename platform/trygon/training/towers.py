"""Both towers as training sees them: one module from a batch to what an objective compares.

Shapes: B samples, U distinct captions, D the width of the shared space, F of the trunk's features, L tokens, R = 7
ranks.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, dropout, normalize

from trygon.errors import UserError
from trygon.models.model import Model, encode_text
from trygon.taxonomy.taxon import RANKS
from trygon.training.objective import Encoded

_SIGMOID_SCALE, _SIGMOID_BIAS = math.log(10), -10.0


class Towers(nn.Module):
    """Both towers as one module, so that data parallelism sees one forward; `heads` where the objective classifies."""

    def __init__(
        self,
        model: Model,
        feature_dropout: float = 0.0,
        heads: "RankHeads | None" = None,
        text_groups: int = 1,
        replays: bool = False,
    ) -> None:
        super().__init__()
        self.net = model.net
        self.heads = heads
        self._model = model
        self._feature_dropout = feature_dropout
        text: Any = getattr(model.net, "text", None)
        frozen = text is not None and not any(parameter.requires_grad for parameter in text.parameters())
        self._frozen_text = FrozenText(model.net) if frozen else None
        self._text_groups = text_groups
        visual: Any = model.net.visual
        if replays and getattr(visual, "proj", None) is None:
            raise UserError("--replay needs an image tower of open_clip's own, with a projection: leave it out")
        # Beside that of the taxa, as BioCLIP 2 has it (arXiv:2505.23883); training alone needs it.
        self.replay_projection = nn.Parameter(visual.proj.detach().clone()) if replays else None

    def forward(self, batch: Mapping[str, Tensor], replayed: bool = False) -> tuple[Encoded, Tensor, Tensor]:
        """What the samples are, and the scale and bias of logits. A caption is encoded once per batch. What is
        replayed has no clades, and is seen through a projection of its own."""
        net: Any = self.net
        device = self._model.device
        image_BD = self._image(batch, replayed).float()
        clades_BR = batch["clades"].to(device) if "clades" in batch else _no_clades(image_BD)
        if self.heads is not None:
            none_BD = torch.zeros_like(image_BD)
            encoded = Encoded(normalize(image_BD, dim=-1), none_BD, clades_BR, self.heads(image_BD, clades_BR))
        else:
            tokens_UL, which_B = torch.unique(batch["tokens"].to(device), dim=0, return_inverse=True)
            text_BD = self._text(tokens_UL)[which_B].float()
            none_B = image_BD.new_zeros(len(image_BD))
            encoded = Encoded(normalize(image_BD, dim=-1), normalize(text_BD, dim=-1), clades_BR, none_B)
        bias = getattr(net, "logit_bias", None)
        return encoded, net.logit_scale.exp(), image_BD.new_zeros(()) if bias is None else bias

    def _image(self, batch: Mapping[str, Tensor], replayed: bool) -> Tensor:
        net: Any = self.net
        if self.replay_projection is not None:
            image_BCHW = self._model.normalise(batch["image"])
            used, other = net.visual.proj, self.replay_projection
            if replayed:
                used, other = other, used
            # Data parallelism wants each weight to take part in each pass.
            return functional_call(net.visual, {"proj": used}, (image_BCHW,)) + 0 * other.sum()
        if "feature" not in batch:
            return net.encode_image(self._model.normalise(batch["image"]))
        feature_BF = dropout(batch["feature"].to(self._model.device), self._feature_dropout, self.training)
        return head_of(net.visual)(feature_BF)

    def _text(self, tokens_UL: Tensor) -> Tensor:
        if self._frozen_text is None:
            return encode_text(self.net, tokens_UL, self._text_groups)
        return self._frozen_text(tokens_UL)


def _no_clades(image_BD: Tensor) -> Tensor:
    return torch.zeros((len(image_BD), len(RANKS)), dtype=torch.int64, device=image_BD.device)


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


class RankHeads(nn.Module):
    """A linear classifier at each of some ranks; `keys` are the sorted numbers of the clades at each."""

    def __init__(self, ranks: Sequence[int], keys: Sequence[np.ndarray], dim: int) -> None:
        super().__init__()
        self._ranks = tuple(ranks)
        self.heads = nn.ModuleList(nn.Linear(dim, len(of_rank)) for of_rank in keys)
        for number, of_rank in enumerate(keys):
            self.register_buffer(f"keys_{number}", torch.from_numpy(of_rank), persistent=False)

    def forward(self, image_BD: Tensor, clades_BR: Tensor) -> Tensor:
        """Cross-entropy summed over the ranks (B,); a rank that has no name adds nothing."""
        losses = []
        for number, (rank, head) in enumerate(zip(self._ranks, self.heads, strict=True)):
            clade_B = clades_BR[:, rank].contiguous()
            class_B = torch.searchsorted(getattr(self, f"keys_{number}"), clade_B).where(clade_B != 0, -100)
            losses.append(cross_entropy(head(image_BD).float(), class_B, reduction="none", ignore_index=-100))
        return torch.stack(losses).sum(0)


def head_of(visual: Any) -> nn.Module:
    """What an image tower has after its trunk: timm's head, or nothing where the tower is open_clip's own."""
    return visual.head if hasattr(visual, "trunk") else nn.Identity()


def trunk_of(visual: Any) -> nn.Module:
    """The part of an image tower that `freeze_image_trunk` keeps: timm's trunk, or all of open_clip's own tower."""
    return getattr(visual, "trunk", visual)


def with_bias(net: Any) -> None:
    """Give a network the bias that a sigmoid objective learns, and the scale that goes with it (SigLIP's), unless it
    has them."""
    if getattr(net, "logit_bias", None) is None:
        net.logit_bias = nn.Parameter(torch.full((), _SIGMOID_BIAS, device=net.logit_scale.device))
        with torch.no_grad():
            net.logit_scale.fill_(_SIGMOID_SCALE)
