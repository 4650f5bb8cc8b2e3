"""A start for an image head: the ImageNet classifier that came with the trunk, said in words (after ConSE,
arXiv:1312.5650). Each hidden unit of a two-layer head is one class; what it adds is the text vector of its name.

Shapes: C classes, F the trunk's features, D the width of the shared space.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor
from torch.nn.functional import normalize

from trygon.errors import UserError

THRESHOLD = 6.0
"""Logits below it count little: of 4, 6 and 8 the best on held-out species of the sample photos."""


def imagenet_names() -> list[tuple[str, ...]]:
    """The names of the 1,000 classes, synonyms and scientific names among them, in the classifier's order."""
    info = ImageNetInfo("imagenet-1k")
    return [tuple(info.index_to_description(index).split(", ")) for index in range(1000)]


@torch.no_grad()
def name_vectors(names: Sequence[Sequence[str]], encode: Callable[[list[str]], Tensor]) -> Tensor:
    """One unit vector a class (C, D): the mean over its names, less the mean over the classes."""
    vector_ND = encode([f"a photo of {name}." for group in names for name in group])
    counts = [len(group) for group in names]
    mean_CD = torch.stack([normalize(part, dim=1).mean(0) for part in vector_ND.split(counts)])
    return normalize(mean_CD - mean_CD.mean(0), dim=1)


@torch.no_grad()
def start_head(mlp: Any, weight_CF: Tensor, bias_C: Tensor, vector_CD: Tensor, threshold: float = THRESHOLD) -> None:
    """Set open_clip's `mlp` head (fc1, GELU, fc2). Hidden units beyond the classes keep their random input weights
    and add nothing yet."""
    count = len(weight_CF)
    if mlp.fc1.out_features < count:
        raise UserError(
            f"embed_dim {mlp.fc2.out_features} gives the image head {mlp.fc1.out_features} hidden units, "
            f"and the classifier has {count} classes: set embed_dim to {-(-count // 2)} or more"
        )
    mlp.fc1.weight[:count] = weight_CF
    mlp.fc1.bias[:count] = bias_C - threshold
    mlp.fc2.weight.zero_()
    mlp.fc2.weight[:, :count] = vector_CD.T
    if mlp.fc2.bias is not None:
        mlp.fc2.bias.zero_()
