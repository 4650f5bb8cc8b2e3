"""A Triton model repository: the image encoder of a model, served by Triton's Python backend.

    FOLDER/image_encoder/config.pbtxt    what goes in and out, how Triton batches, where the model lies
    FOLDER/image_encoder/1/model.py      loads the model with the same code as every other user of it

Requests carry uint8 pixels of the model's side; normalisation is the model's.
"""

import os
import site
import sys
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

import trygon
from trygon.models.folder import ImageTower, describe, folder_of
from trygon.storage import write_bytes, write_text

ENCODER = "image_encoder"
INPUT, OUTPUT = "image", "vector"
MAX_BATCH = 32

_MAX_QUEUED = 256
_QUEUE_TIMEOUT_US = 10_000_000
"""A request that waited this long has nobody waiting for it any more."""


def write_repository(folder: Path, ref: str, python_path: list[Path] | None = None) -> ImageTower:
    """Write the repository of a model's image encoder; what was described there is returned.

    `python_path` is what the backend's interpreter needs to import trygon and torch: by default what this one uses.
    Raises `UserError` where the model folder is missing or incomplete.
    """
    tower = describe(ref)
    paths = interpreter_path() if python_path is None else python_path
    config = text_format.MessageToString(encoder_config(tower, paths))
    write_text(folder / ENCODER / "config.pbtxt", config)
    write_bytes(folder / ENCODER / "1" / "model.py", (Path(__file__).parent / "triton_encoder.py").read_bytes())
    return tower


def encoder_config(tower: ImageTower, python_path: list[Path]) -> pb.ModelConfig:  # pyright: ignore[reportAttributeAccessIssue]
    """The encoder's configuration. What a client must know of the model stands in its parameters."""
    config = pb.ModelConfig(name=ENCODER, backend="python", max_batch_size=MAX_BATCH)  # pyright: ignore[reportAttributeAccessIssue]
    config.input.add(name=INPUT, data_type=pb.TYPE_UINT8, dims=[3, tower.side, tower.side])  # pyright: ignore[reportAttributeAccessIssue]
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
        "resize_mode": str(tower.resize_mode),
        "python_path": os.pathsep.join(map(str, python_path)),
    }
    for name, value in parameters.items():
        config.parameters[name].string_value = value
    return config


def interpreter_path() -> list[Path]:
    """Where this interpreter finds third-party packages, and trygon itself."""
    packages = [Path(entry) for entry in site.getsitepackages([sys.prefix]) if Path(entry).is_dir()]
    source = Path(trygon.__file__).parent.parent
    return [source, *(entry for entry in packages if entry != source)]
