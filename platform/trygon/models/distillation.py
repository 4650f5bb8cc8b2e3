"""A text tower learns to give a sentence encoder's vectors on captions of taxa. No image is needed.

Shapes: B captions, L tokens, D the width of the vectors.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize, pad

from trygon.models.model import encode_text

_BATCH = 64


def teach(
    teacher: Callable[[Sequence[str]], Tensor], captions: Sequence[str], progress: Callable[[int], None]
) -> Tensor:
    """The teacher's unit vectors (B, D), less their mean, of unit length again.

    Without the mean the vectors of captions, which all begin alike, would lie close together.
    """
    vectors: list[Tensor] = [torch.empty(0)] * len(captions)
    for rows in _batches_of_a_length(map(len, captions), _BATCH):
        for row, vector in zip(rows, teacher([captions[row] for row in rows]), strict=True):
            vectors[row] = vector
        progress(len(rows))
    vector_BD = torch.stack(vectors)
    return normalize(vector_BD - vector_BD.mean(0), dim=1)


_RISE = 0.1
"""The share of the steps in which the learning rate rises."""


def distil(
    network: nn.Module,
    tokenizer: Any,
    captions: Sequence[str],
    vector_BD: Tensor,
    epochs: int,
    progress: Callable[[int], None],
    batch_size: int = _BATCH,
    learning_rate: float = 1e-4,
) -> float:
    """Train the text tower to give `vector_BD` for the captions; the mean cosine over the last epoch.

    A wider text tower keeps its further dimensions at zero.
    """
    tokens_BL = tokenizer(list(captions))
    text: Any = network.text
    optimiser = torch.optim.Adam(text.parameters(), learning_rate, betas=(0.9, 0.98), fused=True)
    batches = _batches_of_a_length((tokens_BL != 0).sum(1).tolist(), batch_size)
    target_BD = pad(vector_BD, (0, text.output_dim - vector_BD.shape[1]))
    num_steps = epochs * len(batches)
    # Where the rates rise for exactly one step it divides by zero.
    planned = num_steps + (num_steps * _RISE == 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, planned, pct_start=_RISE)
    generator = torch.Generator().manual_seed(0)
    cosines = []
    for _ in range(epochs):
        cosines = []
        for index in torch.randperm(len(batches), generator=generator).tolist():
            rows = batches[index]
            cosine = cosine_similarity(encode_text(network, tokens_BL[rows]), target_BD[rows]).mean()
            optimiser.zero_grad()
            (1 - cosine).backward()
            torch.nn.utils.clip_grad_norm_(text.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            cosines.append(cosine.item())
            progress(len(rows))
    return sum(cosines) / len(cosines)


def _batches_of_a_length(lengths: Iterable[int], batch_size: int) -> list[list[int]]:
    """Rows of like length together: a batch is as long as its longest."""
    order = [row for row, _ in sorted(enumerate(lengths), key=lambda item: item[1])]
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
