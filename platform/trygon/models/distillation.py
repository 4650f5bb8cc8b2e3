"""A start for a text tower: it learns to give a sentence encoder's vectors on captions of taxa. No image is needed.

Shapes: B captions, L tokens, D the width of the vectors.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize, pad

from trygon.errors import UserError
from trygon.models.model import encode_text


@torch.inference_mode()
def teach(teacher: Path, captions: Sequence[str], progress: Callable[[int], None], batch_size: int = 64) -> Tensor:
    """Mean-pooled sentence vectors of a Hugging Face encoder in a folder, less their mean, unit length: (B, D).

    Without the mean the vectors of captions, which all begin alike, would lie close together.
    """
    from transformers import AutoModel, AutoTokenizer

    if not (teacher / "config.json").is_file():
        raise UserError(f"the sentence model {teacher} does not exist; `trygon sample` brings it")
    tokenizer, encoder = AutoTokenizer.from_pretrained(teacher), AutoModel.from_pretrained(teacher).eval()
    order = sorted(range(len(captions)), key=lambda row: len(captions[row]))
    vectors: list[Tensor] = [torch.empty(0)] * len(captions)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        tokens = tokenizer([captions[row] for row in rows], padding=True, return_tensors="pt")
        hidden_BLD = encoder(**tokens).last_hidden_state
        mask_BL1 = tokens["attention_mask"][..., None]
        for row, vector in zip(rows, (hidden_BLD * mask_BL1).sum(1) / mask_BL1.sum(1), strict=True):
            vectors[row] = vector
        progress(len(rows))
    vector_BD = normalize(torch.stack(vectors), dim=1)
    return normalize(vector_BD - vector_BD.mean(0), dim=1)


def distil(
    network: nn.Module,
    tokenizer: Any,
    captions: Sequence[str],
    vector_BD: Tensor,
    epochs: int,
    progress: Callable[[int], None],
    batch_size: int = 128,
    learning_rate: float = 2e-3,
) -> float:
    """Train the text tower to give `vector_BD` for the captions; the mean cosine over the last epoch.

    A wider text tower keeps its further dimensions at zero.
    """
    tokens_BL = tokenizer(list(captions))
    text: Any = network.text
    parameters = list(text.parameters())
    optimiser = torch.optim.AdamW(parameters, learning_rate, betas=(0.9, 0.98), weight_decay=0.02, fused=True)
    # Captions of one length together: a batch is as long as its longest.
    length_B = tokens_BL.argmax(1)
    batches = torch.argsort(length_B, stable=True).split(batch_size)
    target_BD = pad(vector_BD, (0, text.output_dim - vector_BD.shape[1]))
    steps = epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(0)
    cosines = []
    for _ in range(epochs):
        cosines = []
        for index in torch.randperm(len(batches), generator=generator).tolist():
            rows = batches[index]
            cosine = cosine_similarity(encode_text(network, tokens_BL[rows]), target_BD[rows]).mean()
            optimiser.zero_grad()
            (1 - cosine).backward()
            optimiser.step()
            schedule.step()
            cosines.append(cosine.item())
            progress(len(rows))
    return sum(cosines) / len(cosines)
