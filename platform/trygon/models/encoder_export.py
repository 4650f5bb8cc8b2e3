"""From a model to an encoder for another runtime, with a card that tells how near its vectors are to the model's."""

import math
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trygon.data.picked import Picked
from trygon.errors import UserError
from trygon.models.encoder_folder import EncoderCard
from trygon.models.encoders import load_encoder
from trygon.models.encoders.choice import EncoderChoice
from trygon.models.folder import ImageTower
from trygon.models.model import Model
from trygon.storage import digest_file, digest_texts

RUNTIMES = {"openvino": "openvino_export", "openvino-int8": "openvino_export", "onnx": "onnx_export"}
"""The module that writes the graph of an encoder, with `versions` and `write_graph`."""

_FITTED = ("openvino-int8",)
_LEAST = 10
_LEAST_COSINE = 0.9
"""With less, other names come first too often for anyone to want that."""


def write_encoder(folder: Path, name: str, model: Model, pictures: Picked) -> EncoderCard:
    """Write the files of an encoder's graph; the card that belongs beside them is returned.

    Of the pictures a tenth is for comparing vectors, and INT8 ranges are fitted to the others. Raises `UserError`
    where a library is missing, or the pictures are too few or unlike those that the model knows.
    """
    runtime: Any = import_module(f"trygon.models.{RUNTIMES[name]}")
    made_with = runtime.versions() | {"torch": torch.__version__}
    images = list(pictures.squares(model.side, model.resize_mode))
    if len(images) < _LEAST:
        raise UserError(
            f"only {len(images)} of the pictures can be decoded; give --pictures a folder with at least {_LEAST}"
        )
    num_compared = math.ceil(len(images) / 10)
    fit = images[num_compared:] if name in _FITTED else []
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = runtime.write_graph(folder, model, fit)
    cosine_B = _cosines(name, folder, model, np.stack(images[:num_compared]))
    if not cosine_B.mean() > _LEAST_COSINE:
        hint = "Give --pictures a folder of some hundred like those to be labelled, or take --encoder openvino"
        raise UserError(
            f"{name} does not keep the model's vectors: their mean cosine is {cosine_B.mean():.2f}. "
            + (hint if fit else "Take --encoder torch")
        )
    return EncoderCard(
        encoder=name,
        model=model.ref,
        model_digest=model.digest,
        digest=digest_texts(map(digest_file, paths)),
        pictures=pictures.digest,
        num_fitted=len(fit),
        num_compared=num_compared,
        least_cosine=round(float(cosine_B.min()), 6),
        mean_cosine=round(float(cosine_B.mean()), 6),
        made_with=made_with,
    )


def _cosines(name: str, folder: Path, model: Model, image_BCHW: np.ndarray) -> np.ndarray:
    tower = ImageTower(model.ref, model.digest, model.side, model.dim, model.resize_mode)
    encoder = load_encoder(EncoderChoice(name, tower, str(folder), name), num_threads=1)
    return (model.encode_images(image_BCHW) * encoder.encode_images(image_BCHW)).sum(1)
