"""A model's image tower as one graph of torch.export, from uint8 pictures to vectors: what other runtimes are given.

Normalisation is part of it, so that pictures travel as pixels.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.functional import normalize

from trygon.models.model import Model, normalise

_MOST = 1024
"""Pictures in a batch."""


class _ImageGraph(nn.Module):
    """What `Model.encode_images` does, as one module."""

    def __init__(self, model: Model, unit_length: bool) -> None:
        super().__init__()
        self.visual: Any = model.net.visual
        self.mean, self.std = model.mean, model.std
        self.unit_length = unit_length

    def forward(self, image_BCHW: Tensor) -> Tensor:
        vector_BD = self.visual(normalise(image_BCHW, self.mean, self.std)).float()
        return normalize(vector_BD, dim=-1) if self.unit_length else vector_BD


def image_graph(model: Model, unit_length: bool) -> ExportedProgram:
    """uint8 (B, 3, S, S) to float32 (B, D), for any B; without `unit_length` whoever goes on with it has to see to
    that."""
    graph = _ImageGraph(model, unit_length).eval()
    example = torch.zeros(2, 3, model.side, model.side, dtype=torch.uint8)
    with torch.no_grad():
        return torch.export.export(graph, (example,), dynamic_shapes=({0: Dim("batch", min=1, max=_MOST)},))
