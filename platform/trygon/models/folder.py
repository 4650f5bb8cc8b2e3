"""A model folder as files: what its config says of the image tower, without loading anything of the network.

Imports no torch, so that what only has to describe or refuse a model answers at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from trygon.data.images import ResizeMode
from trygon.errors import UserError
from trygon.mirror import local_folder
from trygon.storage import absolute, digest_file, read_json

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"

_BESIDE = ("README.md", "provenance.json", "metrics.jsonl")
"""What training and people write beside a model, and nobody loads: some of it changes while the model does not."""


class Identified(Protocol):
    """What a model is known by: a `Model`, or the description of one that runs elsewhere."""

    @property
    def ref(self) -> str: ...
    @property
    def digest(self) -> str: ...


def model_key(model: Identified) -> str:
    """What vectors that may be mixed have in common: the digest of the weights that made them, or the name of a model
    from the hub."""
    return model.digest or model.ref


@dataclass(frozen=True)
class ImageTower:
    """What a caller of an image encoder has to know: uint8 (3, side, side) in, a unit vector of `dim` out.

    `ref` is how the model was named, `digest` the SHA-256 of its weights (blank for a model from the hub).
    """

    ref: str
    digest: str
    side: int
    dim: int
    resize_mode: ResizeMode


def folder_of(ref: str) -> Path | None:
    """The folder of this machine that a model's name stands for, fetched where it lies on S3; None for a model from
    the hub."""
    return None if ref.startswith("hf-hub:") else local_folder(ref.removeprefix("local-dir:"), without=_BESIDE)


def absolute_ref(ref: str) -> str:
    """The name by which processes in other folders and on other machines find the model."""
    return ref if ref.startswith("hf-hub:") else absolute(ref.removeprefix("local-dir:"))


def read_config(ref: str) -> dict[str, Any]:
    """open_clip's config of a model, from its folder or from the hub: `model_cfg` and `preprocess_cfg`."""
    if folder := folder_of(ref):
        check_folder(folder, ref)
        return read_json(folder / CONFIG_NAME)
    from huggingface_hub import hf_hub_download

    return read_json(Path(hf_hub_download(ref.removeprefix("hf-hub:"), CONFIG_NAME)))


def check_folder(folder: Path, ref: str) -> None:
    """`UserError` unless the folder holds a config that open_clip reads, and weights."""
    hint = "give a model folder, or hf-hub:OWNER/NAME for one from the hub"
    if not folder.is_dir():
        raise UserError(f"--model {ref}: no such folder; {hint}")
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise UserError(f"--model {ref}: {name} is missing there; {hint}")
    config = read_json(folder / CONFIG_NAME)
    if not isinstance(config, dict) or "model_cfg" not in config:
        raise UserError(f"--model {ref}: {CONFIG_NAME} is not a model config that open_clip reads")


def describe(ref: str) -> ImageTower:
    """The image tower of a model folder, from its config; a model from the hub has to be loaded for that."""
    folder = folder_of(ref)
    if folder is None:
        from trygon.models.model import load_model

        model = load_model(ref, "cpu")
        return ImageTower(ref, model.digest, model.side, model.dim, model.resize_mode)
    check_folder(folder, ref)
    config = read_json(folder / CONFIG_NAME)
    network, preprocessing = config["model_cfg"], config.get("preprocess_cfg", {})
    try:
        # As open_clip does it: the tower's own size wins over the one of the preprocessing.
        size = network["vision_cfg"].get("image_size", 224)
        side = size if isinstance(size, int) else size[0]
        mode = ResizeMode(preprocessing.get("resize_mode", "shortest"))
        return ImageTower(ref, digest_file(folder / WEIGHTS_NAME), side, int(network["embed_dim"]), mode)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"--model {ref}: {CONFIG_NAME} does not describe an image tower ({error!r})") from error
