"""A detector that is small but real: an ONNX network with the contract of `trygon.archive.detection`."""

from pathlib import Path

import torch
from torch import Tensor, nn

from trygon.storage import write_json

_SIDE, _CELL = 64, 2


class _BrightBox(nn.Module):
    """One candidate: the box around the bright cells, as sure as they are many. A dark frame has none."""

    def forward(self, image: Tensor) -> Tensor:
        bright_BHW = (nn.functional.avg_pool2d(image, _CELL).mean(1) > 128).float()
        columns_BW, rows_BH = bright_BHW.amax(1), bright_BHW.amax(2)
        positions = torch.arange(_SIDE // _CELL, dtype=torch.float32) * _CELL
        edges = []
        for present in (columns_BW, rows_BH):
            low = torch.where(present > 0, positions, float(_SIDE)).amin(1)
            high = torch.where(present > 0, positions + _CELL, 0.0).amax(1)
            edges.append(((low + high) / 2, high - low))
        (x, width), (y, height) = edges
        score = bright_BHW.amax((1, 2)) * 0.9
        return torch.stack([x, y, width, height, score, torch.ones_like(score)], 1)[:, None]


def write_tiny_detector(folder: Path) -> Path:
    """Write `detector.onnx` and `detector.json`: it finds what is bright on a dark frame. The file itself."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "detector.onnx"
    torch.onnx.export(
        _BrightBox().eval(),
        (torch.zeros(2, 3, _SIDE, _SIDE),),
        str(path),
        input_names=["image"],
        output_names=["boxes_BN6"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    card = {"name": "bright-box", "input_side": _SIDE, "confidence": 0.25, "nms": 0.45, "categories": ["animal"]}
    write_json(folder / "detector.json", card)
    return path
