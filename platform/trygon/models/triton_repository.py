"""A Triton model repository: the two encoders of a model, in the backends that Triton runs them with.

    FOLDER/image_encoder/config.pbtxt    see `trygon.models.triton_config`
    FOLDER/image_encoder/1/model.py      Python backend: loads the model with the same code as every other user of it
    FOLDER/image_encoder/1/model.onnx    or ONNX Runtime's: the exported graph itself
    FOLDER/text_encoder/...              the same for captions, always in the Python backend

Further models stand beside them as `image_encoder-NAME` and `text_encoder-NAME`. Triton's version of each is 1: a
configuration holds the digest of one model, so that another version of a model has another name.
"""

import shutil
import site
import sys
from pathlib import Path
from typing import Any

from google.protobuf import text_format

import trygon
from trygon.disk import only_writer, writing_to
from trygon.errors import UserError
from trygon.mirror import local_folder
from trygon.models import triton_config
from trygon.models.encoders import find_encoder
from trygon.models.encoders.choice import EncoderChoice
from trygon.models.encoders.onnx import GRAPH, WEIGHTS
from trygon.models.folder import ImageTower, describe
from trygon.models.triton_config import TEXT_ENCODER
from trygon.storage import copy_file, digest_file, digest_texts, write_bytes

SERVED = ("torch", "openvino", "openvino-int8")
"""Encoders that run in Triton's Python backend, the one that the server has which trygon starts."""

ONNX, TENSORRT = "onnx", "onnx-tensorrt"
"""Encoders that run in its ONNX Runtime backend, which the official container has, the second with TensorRT."""

_PROGRAM = "model.py"


def write_repository(
    folder: Path, ref: str, python_path: list[Path] | None = None, encoder: str = "torch", suffix: str = ""
) -> ImageTower:
    """Write the repository of the server that trygon starts; what was described of the image tower is returned.

    `python_path` is what the backend's interpreter needs to import trygon and torch: by default what this one uses.
    `encoder` is what runs the image tower, see `served_encoder`; `suffix` is put behind the names of the encoders, for
    a second model in the same repository. Raises `UserError` where the model folder is missing or incomplete, or the
    encoder is not there. Nothing is warmed up but by the program itself, with one picture: on CPUs a batch takes long.
    """
    tower = describe(ref)
    choice = served_encoder(encoder, tower)
    paths = interpreter_path() if python_path is None else python_path
    for config in (triton_config.image_encoder(tower, paths, choice), triton_config.text_encoder(tower, paths)):
        _put(folder, config, suffix, _program())
    return tower


def write_own_repository(
    folder: Path, ref: str, encoder: str = "torch", suffix: str = "", text: bool = True, tensorrt_cache: str = "/tmp"
) -> ImageTower:
    """Write the repository of a server of one's own, which warms up before it is ready; as `write_repository`.

    `encoder` may be `ONNX` or `TENSORRT` too, the latter with a folder on the server's machine for its engines.
    Without `text` there is no text encoder, nor one that stood there.
    """
    tower = describe(ref)
    name, colon, place = encoder.partition(":")
    if name in (ONNX, TENSORRT):
        choice = find_encoder(f"{ONNX}{colon}{place}", tower)
        config = triton_config.onnx_image_encoder(tower, choice, tensorrt_cache if name == TENSORRT else "")
        files = _graph_files(choice)
    elif name in SERVED:
        config = triton_config.image_encoder(tower, interpreter_path(), find_encoder(encoder, tower))
        files = _program()
    else:
        raise UserError(f"--encoder {encoder}: Triton runs {', '.join((*SERVED, ONNX, TENSORRT))}")
    triton_config.add_warm_up(config)
    captions = triton_config.text_encoder(tower, interpreter_path()) if text else None
    if captions is not None:
        triton_config.add_warm_up(captions)
    # Not before: a model or encoder that is missing leaves no folder.
    with writing_to(folder), only_writer(folder):
        _put(folder, config, suffix, files)
        if captions is not None:
            _put(folder, captions, suffix, _program())
        else:
            _remove(folder / (TEXT_ENCODER + suffix))
    return tower


def served_encoder(spec: str, tower: ImageTower) -> EncoderChoice:
    """`torch`, or `openvino` or `openvino-int8` as `trygon export-model` made them. `UserError` for others."""
    name = spec.partition(":")[0]
    if name not in SERVED:
        hint = "; a Triton of your own runs it: trygon export-triton" if name in (ONNX, TENSORRT) else ""
        raise UserError(f"--encoder {spec}: Triton runs {', '.join(SERVED)}{hint}")
    return find_encoder(spec, tower)


def interpreter_path() -> list[Path]:
    """Where this interpreter finds third-party packages, and trygon itself."""
    packages = [Path(entry) for entry in site.getsitepackages([sys.prefix]) if Path(entry).is_dir()]
    source = Path(trygon.__file__).parent.parent
    return [source, *(entry for entry in packages if entry != source)]


def _graph_files(encoder: EncoderChoice) -> dict[str, Path]:
    """The files of an exported graph. `UserError` where they are not those of its card."""
    folder = local_folder(encoder.place)
    paths = [path for path in (folder / GRAPH, folder / WEIGHTS) if path.is_file()]
    if encoder.identity != f"{ONNX}:{digest_texts(map(digest_file, paths))}":
        raise UserError(f"--encoder {ONNX}: {encoder.place} is damaged; remove the folder and export it again")
    return {path.name: path for path in paths}


def _program() -> dict[str, Path]:
    """What the Python backend runs."""
    return {_PROGRAM: Path(__file__).parent / "triton_encoder.py"}


def _put(folder: Path, config: Any, suffix: str, files: dict[str, Path]) -> None:
    """Write an encoder in place of one that stands there. Triton loads a model anew whose files were written since,
    whatever they hold: what is the same stays."""
    config.name += suffix
    place = folder / config.name
    for name, source in files.items():
        target = place / "1" / name
        if not target.is_file() or digest_file(target) != digest_file(source):
            copy_file(source, target)
    text, written = text_format.MessageToString(config).encode(), place / "config.pbtxt"
    if not written.is_file() or written.read_bytes() != text:
        write_bytes(written, text)
    for name in {_PROGRAM, GRAPH, WEIGHTS} - set(files):
        (place / "1" / name).unlink(missing_ok=True)


def _remove(place: Path) -> None:
    """Take out an encoder that was written here, and nothing that somebody else put there."""
    config = place / "config.pbtxt"
    if config.is_file() and b'"digest"' in config.read_bytes():
        shutil.rmtree(place)
