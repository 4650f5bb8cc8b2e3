"""From a model to an OpenVINO graph, in fp32 or quantised to INT8.

The unit length is part of the graph, in fp32 always: a length in eight bits is none. Quantisation is NNCF's, after
training: ranges of activations are fitted to real pictures. Transformers get its own scheme for them; of other towers
the head behind the convolutions stays in fp32, which costs no time.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from trygon.errors import UserError
from trygon.models.encoders.openvino import GRAPH, WEIGHTS
from trygon.models.image_graph import image_graph
from trygon.models.model import Model


def versions() -> dict[str, str]:
    """Of the libraries. `UserError` where one is missing."""
    openvino, nncf = _libraries()
    return {"openvino": openvino.__version__, "nncf": nncf.__version__}


def write_graph(folder: Path, model: Model, fit: Sequence[np.ndarray]) -> list[Path]:
    """Write graph and weights; their paths. The INT8 ranges are fitted to the pictures; without any it is fp32."""
    openvino, nncf = _libraries()
    graph = openvino.convert_model(image_graph(model, unit_length=False))
    graph.reshape({0: [-1, 3, model.side, model.side]})
    if fit:
        attends = _attends(model.net)
        graph = nncf.quantize(
            graph,
            nncf.Dataset([image[None] for image in fit]),
            subset_size=len(fit),
            model_type=nncf.ModelType.TRANSFORMER if attends else None,
            ignored_scope=None if attends else nncf.IgnoredScope(types=["MatMul"], validate=False),
            preset=nncf.QuantizationPreset.MIXED,
        )
    openvino.save_model(_with_unit_length(graph, openvino), folder / GRAPH, compress_to_fp16=False)
    return [folder / GRAPH, folder / WEIGHTS]


def _with_unit_length(graph: Any, openvino: Any) -> Any:
    after = openvino.preprocess.PrePostProcessor(graph)
    opset = openvino.opset15
    after.output(0).postprocess().custom(
        lambda output: opset.normalize_l2(output, opset.constant([-1], np.int64), eps=1e-12, eps_mode="max").output(0)
    )
    return after.build()


def _attends(net: nn.Module) -> bool:
    """Whether the image tower is a transformer."""
    visual: Any = net.visual
    return any("attention" in type(module).__name__.lower() for module in visual.modules())


def _libraries() -> tuple[Any, Any]:
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise UserError("OpenVINO and NNCF are not installed: pip install 'trygon[openvino]'") from error
    # Its own function sets the level of every handler there, also of those that others put there.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return openvino, nncf
