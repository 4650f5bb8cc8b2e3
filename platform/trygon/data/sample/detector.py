"""MegadetectorLite (YOLOX-tiny, one class: animal, person or vehicle) out of the zamba wheel, as an ONNX file."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from trygon.data.packages import ZAMBA, Package, read_wheel
from trygon.errors import TrygonError
from trygon.storage import write_json

SIDE = 640
_WEIGHTS = "zamba/object_detection/yolox/assets/yolox_tiny_640_20220528.pth"
_TOLERANCE = 0.05  # pixels, and far less for the scores


def write_detector(folder: Path, packages: Mapping[Package, Path]) -> None:
    """`folder`: megadetector-lite.onnx (image (B, 3, 640, 640) float32, RGB 0..255, to boxes_BN6), detector.json."""
    folder.mkdir(parents=True, exist_ok=True)
    model = load_yolox(read_wheel(packages[ZAMBA], _WEIGHTS))
    path = folder / "megadetector-lite.onnx"
    export_detector(model, path)
    description = {
        "name": "megadetector-lite",
        "input_side": SIDE,
        "confidence": 0.25,
        "nms": 0.45,
        "categories": ["animal"],
        "source": f"{ZAMBA.name} {ZAMBA.version}",
        "license": ZAMBA.license,
    }
    write_json(folder / "detector.json", description)


def load_yolox(weights: bytes) -> nn.Module:
    """YOLOX-tiny with one class, in evaluation mode; boxes leave it decoded to input pixels."""
    from yolox.models import YoloPafpn, YoloxHead, YoloxModule  # of the extra `demo`

    channels = [256, 512, 1024]
    backbone = YoloPafpn(0.33, 0.375, in_channels=channels, act="silu")
    model = YoloxModule(backbone, YoloxHead(1, 0.375, in_channels=channels, act="silu"))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3  # as it was trained; the state does not hold it
    # The optimiser's state beside the model needs no exception either: weights_only stays on.
    checkpoint = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    model.load_state_dict(checkpoint["model"])
    return model.eval()


def export_detector(model: nn.Module, path: Path) -> None:
    """Write the model as ONNX with a dynamic batch, and check it against torch on a batch of another size."""
    generator = torch.Generator().manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.rand(2, 3, SIDE, SIDE, generator=generator) * 255,),
            str(path),
            input_names=["image"],
            output_names=["boxes_BN6"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    image = torch.rand(3, 3, SIDE, SIDE, generator=generator) * 255
    expected = _run_torch(model, image).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": image.numpy()})[0]
    difference = float(np.abs(np.asarray(found) - expected).max())
    if difference > _TOLERANCE:
        path.unlink()
        raise TrygonError(f"the converted detector differs from the original by {difference:.3f} pixels")


@torch.inference_mode()
def _run_torch(model: nn.Module, image: Tensor) -> Tensor:
    return model(image)
