"""Detectors that are small but real: an ONNX network with the contract of `trygon.archive.detection.detector`, and
weights of the kind that the package `megadetector` runs."""

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

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


class ColouredBoxes(nn.Module):
    """What is red, green or blue, as an animal, a person and a vehicle: one candidate each, in the form of the
    networks of Ultralytics, (B, 4 + categories, N)."""

    names: dict[int, str]

    def __init__(self, names: tuple[str, ...] = ("animal", "person", "vehicle")) -> None:
        super().__init__()
        self.names = dict(enumerate(names))

    def fuse(self) -> "ColouredBoxes":
        return self

    def forward(self, image: Tensor, augment: bool = False) -> tuple[Tensor]:
        found = []
        for channel, score in enumerate((0.9, 0.8, 0.75)):
            others = [number for number in range(3) if number != channel]
            coloured_BHW = ((image[:, channel] > 0.5) & (image[:, others].amax(1) < 0.3)).float()
            sides = [self._sides(coloured_BHW.amax(1)), self._sides(coloured_BHW.amax(2))]
            (x, width), (y, height) = sides
            score_BC = torch.zeros(len(image), 3)
            score_BC[:, channel] = coloured_BHW.amax((1, 2)) * score
            found.append(torch.cat([torch.stack([x, y, width, height], 1), score_BC], 1))
        return (torch.stack(found, 2),)

    def _sides(self, present_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Middle and length of what is there along a side."""
        position_N = torch.arange(present_BN.shape[1], dtype=torch.float32)
        low = torch.where(present_BN > 0, position_N, 1e4).amin(1)
        high = torch.where(present_BN > 0, position_N + 1, 0.0).amax(1)
        return (low + high) / 2, high - low


def write_weights(path: Path, net: nn.Module | None = None, **about: Any) -> Path:
    """Write weights of the kind that MegaDetector's are, with what they tell of themselves: a network of Ultralytics'
    kind, without `net` one that finds what is coloured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": net or ColouredBoxes()}, path)
    told = {"metadata_format_version": 1.0, "model_version_string": "tiny", "image_size": 320} | about
    with ZipFile(path, "a") as weights:
        folder = weights.namelist()[0].split("/")[0]
        weights.writestr(f"{folder}/megadetector_info.json", json.dumps({"model_type": "ultralytics"} | told))
    return path
