"""From a model to an OpenVINO encoder, in fp32 or quantised to INT8: uint8 pictures in, unit vectors out.

Normalisation and the unit length are part of the graph. Quantisation is NNCF's, after training: ranges of activations
are fitted to real pictures, and transformers get its own scheme for them.
"""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from trygon.data.picked import Picked
from trygon.errors import UserError
from trygon.models.encoders.openvino import OpenVinoEncoder
from trygon.models.model import Model, normalise
from trygon.models.openvino_folder import GRAPH, WEIGHTS, EncoderCard
from trygon.storage import digest_file, digest_texts

_LEAST = 10


class _Graph(nn.Module):
    """What `Model.encode_images` does, as one module."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.visual: Any = model.net.visual
        self.mean, self.std = model.mean, model.std

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return normalize(self.visual(normalise(image_BCHW, self.mean, self.std)).float(), dim=-1)


def write_encoder(folder: Path, name: str, model: Model, pictures: Picked) -> EncoderCard:
    """Write graph and weights of `openvino` or `openvino-int8`; the card that belongs beside them is returned.

    Of the pictures a tenth is for comparing vectors, and INT8 ranges are fitted to the others.
    """
    openvino, nncf = _libraries()
    images = list(pictures.squares(model.side, model.resize_mode))
    if len(images) < _LEAST:
        raise UserError(
            f"only {len(images)} of the pictures can be decoded; give --pictures a folder with at least {_LEAST}"
        )
    num_compared = math.ceil(len(images) / 10)
    compared_BCHW, fit = np.stack(images[:num_compared]), images[num_compared:]
    graph = _converted(model, openvino)
    quantised = name == "openvino-int8"
    if quantised:
        graph = nncf.quantize(
            graph,
            nncf.Dataset([image[None] for image in fit]),
            subset_size=len(fit),
            model_type=nncf.ModelType.TRANSFORMER if _attends(model.net) else None,
            preset=nncf.QuantizationPreset.MIXED,
        )
    folder.mkdir(parents=True, exist_ok=True)
    openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)
    cosine_B = _cosines(model, OpenVinoEncoder(str(folder / GRAPH), 1), compared_BCHW)
    return EncoderCard(
        encoder=name,
        model=model.ref,
        model_digest=model.digest,
        digest=digest_texts([digest_file(folder / GRAPH), digest_file(folder / WEIGHTS)]),
        pictures=pictures.digest,
        num_fitted=len(fit) if quantised else 0,
        num_compared=num_compared,
        least_cosine=round(float(cosine_B.min()), 6),
        mean_cosine=round(float(cosine_B.mean()), 6),
        made_with={"openvino": openvino.__version__, "nncf": nncf.__version__, "torch": torch.__version__},
    )


def _converted(model: Model, openvino: Any) -> Any:
    graph = _Graph(model).eval()
    example = torch.zeros(2, 3, model.side, model.side, dtype=torch.uint8)
    batch = {0: torch.export.Dim("batch", min=1, max=1024)}
    with torch.no_grad():
        exported = torch.export.export(graph, (example,), dynamic_shapes=(batch,))
        converted = openvino.convert_model(exported)
    converted.reshape({0: [-1, 3, model.side, model.side]})
    return converted


def _attends(net: nn.Module) -> bool:
    """Whether the image tower is a transformer."""
    visual: Any = net.visual
    return any("attention" in type(module).__name__.lower() for module in visual.modules())


def _cosines(model: Model, encoder: OpenVinoEncoder, image_BCHW: np.ndarray) -> np.ndarray:
    return (model.encode_images(image_BCHW) * encoder.encode_images(image_BCHW)).sum(1)


def _libraries() -> tuple[Any, Any]:
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise UserError("OpenVINO and NNCF are not installed: pip install 'trygon[openvino]'") from error
    nncf.set_log_level(logging.ERROR)
    return openvino, nncf
