"""A Triton model repository: the two encoders of a model, served by Triton's Python backend.

    FOLDER/image_encoder/config.pbtxt    what goes in and out, how Triton batches, where the model lies
    FOLDER/image_encoder/1/model.py      loads the model with the same code as every other user of it
    FOLDER/text_encoder/...              the same for captions

Pictures travel as uint8 pixels of the model's side, captions as bytes of UTF-8 filled up with zeros: normalisation and
tokens are the model's. Triton's own strings cannot be read with numpy 2.
"""

import os
import site
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

import trygon
from trygon.models.folder import ImageTower, describe, folder_of
from trygon.storage import write_bytes, write_text

ENCODER, TEXT_ENCODER = "image_encoder", "text_encoder"
INPUT, TEXT_INPUT, OUTPUT = "image", "text", "vector"
MAX_BATCH = 32
MAX_TEXT_BYTES = 1024

_MAX_QUEUED = 256
_QUEUE_TIMEOUT_US = 10_000_000
"""A request that waited this long has nobody waiting for it any more."""


def write_repository(folder: Path, ref: str, python_path: list[Path] | None = None) -> ImageTower:
    """Write the repository of a model's encoders; what was described of its image tower is returned.

    `python_path` is what the backend's interpreter needs to import trygon and torch: by default what this one uses.
    Raises `UserError` where the model folder is missing or incomplete.
    """
    tower = describe(ref)
    paths = interpreter_path() if python_path is None else python_path
    for config in (encoder_config(tower, paths), text_encoder_config(tower, paths)):
        write_text(folder / config.name / "config.pbtxt", text_format.MessageToString(config))
        program = (Path(__file__).parent / "triton_encoder.py").read_bytes()
        write_bytes(folder / config.name / "1" / "model.py", program)
    return tower


def encoder_config(tower: ImageTower, python_path: list[Path]) -> pb.ModelConfig:  # pyright: ignore[reportAttributeAccessIssue]
    """The image encoder's configuration. What a client must know of the model stands in its parameters."""
    return _config(ENCODER, INPUT, [3, tower.side, tower.side], tower, python_path)


def text_encoder_config(tower: ImageTower, python_path: list[Path]) -> pb.ModelConfig:  # pyright: ignore[reportAttributeAccessIssue]
    """The configuration of the same model's text encoder, which takes what `text_array` makes."""
    return _config(TEXT_ENCODER, TEXT_INPUT, [MAX_TEXT_BYTES], tower, python_path)


def text_array(texts: Sequence[str]) -> np.ndarray:
    """Texts as the text encoder takes them: (B, MAX_TEXT_BYTES) uint8. What is longer is cut."""
    byte_BL = np.zeros((len(texts), MAX_TEXT_BYTES), np.uint8)
    for row, text in zip(byte_BL, texts, strict=True):
        data = text.encode(errors="replace")[:MAX_TEXT_BYTES]
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return byte_BL


def _config(name: str, input_name: str, dims: list[int], tower: ImageTower, python_path: list[Path]) -> pb.ModelConfig:  # pyright: ignore[reportAttributeAccessIssue]
    config = pb.ModelConfig(name=name, backend="python", max_batch_size=MAX_BATCH)  # pyright: ignore[reportAttributeAccessIssue]
    config.input.add(name=input_name, data_type=pb.TYPE_UINT8, dims=dims)  # pyright: ignore[reportAttributeAccessIssue]
    config.output.add(name=OUTPUT, data_type=pb.TYPE_FP32, dims=[tower.dim])  # pyright: ignore[reportAttributeAccessIssue]
    config.instance_group.add(count=1)
    queue = config.dynamic_batching.default_queue_policy
    queue.max_queue_size = _MAX_QUEUED
    queue.default_timeout_microseconds = _QUEUE_TIMEOUT_US
    folder = folder_of(tower.ref)
    parameters = {
        "model": str(folder.absolute()) if folder else tower.ref,
        "ref": tower.ref,
        "digest": tower.digest,
        "side": str(tower.side),
        "resize_mode": str(tower.resize_mode),
        "python_path": os.pathsep.join(map(str, python_path)),
    }
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    return config


def interpreter_path() -> list[Path]:
    """Where this interpreter finds third-party packages, and trygon itself."""
    packages = [Path(entry) for entry in site.getsitepackages([sys.prefix]) if Path(entry).is_dir()]
    source = Path(trygon.__file__).parent.parent
    return [source, *(entry for entry in packages if entry != source)]
