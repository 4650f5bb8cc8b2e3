"""From a model to an ONNX graph in fp32: uint8 pictures in, unit vectors out, for any batch.

They have the names that clients of Triton know them by, so that Triton serves the graph as it is.
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trygon.errors import UserError
from trygon.models.encoders.onnx import GRAPH, WEIGHTS
from trygon.models.image_graph import image_graph
from trygon.models.model import Model
from trygon.models.triton_config import INPUT, OUTPUT


def versions() -> dict[str, str]:
    """Of the libraries. `UserError` where one is missing."""
    onnx, onnxscript = _libraries()
    return {"onnx": onnx.__version__, "onnxscript": onnxscript.__version__}


def write_graph(folder: Path, model: Model, fit: Sequence[np.ndarray]) -> list[Path]:
    """Write the graph; its paths: one, or two where the weights are too large to be in it. Nothing is fitted."""
    _libraries()
    assert not fit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            image_graph(model, unit_length=True),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program
    paths = [folder / GRAPH, folder / WEIGHTS]
    for path in paths:  # else weights of an earlier graph would stay beside one that needs none
        path.unlink(missing_ok=True)
    program.save(paths[0])
    return [path for path in paths if path.is_file()]


def _libraries() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxscript

        # It tells each operation that it does not simplify.
        logging.getLogger("onnxscript").setLevel(logging.ERROR)
    except ImportError as error:
        raise UserError("ONNX and ONNX Script are not installed: pip install 'trygon[onnx]'") from error
    return onnx, onnxscript
