"""Pretrained towers from other libraries' files, put into open_clip networks. Knows nothing of training."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import open_clip
import torch
from open_clip.model import CustomTextCLIP
from safetensors import SafetensorError
from torch import Tensor

from trygon.errors import UserError
from trygon.models.folder import CONFIG_NAME, WEIGHTS_NAME
from trygon.storage import read_json

_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")


def read_architecture(name: str, pretrained: str = "") -> dict[str, Any]:
    """`model_cfg` and `preprocess_cfg` of a file, of an architecture that ships here, or of one of open_clip's; of the
    latter with the preprocessing that its weights of a tag, or those in a file, were trained with."""
    for path in (Path(name), Path(__file__).parent / "architectures" / f"{name}.json"):
        if path.is_file():
            return read_json(path)
    if model_cfg := open_clip.get_model_config(name):
        return {"model_cfg": model_cfg, "preprocess_cfg": _preprocessing(name, pretrained) if pretrained else {}}
    raise UserError(f"no architecture {name!r}: give a file, `starter`, or a name that open_clip.list_models() knows")


def _preprocessing(architecture: str, pretrained: str) -> dict[str, Any]:
    """How pictures were prepared for weights that open_clip knows by a tag. A file does not say it: there it is as for
    all that are known of the architecture, and `UserError` where they differ."""
    if not Path(pretrained).is_file():
        return _preprocessing_of_tag(architecture, pretrained)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    every = [_preprocessing_of_tag(architecture, tag) for tag in tags]
    if any(one != every[0] for one in every):
        raise UserError(
            f"initial.pretrained {pretrained} does not say how its pictures were prepared, and weights of "
            f"{architecture} differ in that: give their tag ({', '.join(tags)}), or --initial.model FOLDER with the "
            f"file as {WEIGHTS_NAME} and its {CONFIG_NAME}"
        )
    return every[0] if every else {}


def _preprocessing_of_tag(architecture: str, tag: str) -> dict[str, Any]:
    weights = open_clip.get_pretrained_cfg(architecture, tag)
    return {key: weights[key] for key in _PREPROCESS if key in weights}


def build_network(model_cfg: dict[str, Any], image_weights: Path | None) -> CustomTextCLIP:
    """An open_clip network of `model_cfg`, its timm image trunk started from a torchvision checkpoint of the same
    architecture where one is given. Raises `UserError` where the two do not fit."""
    network = CustomTextCLIP(**{name: value for name, value in model_cfg.items() if name != "custom_text"})
    if image_weights:
        trunk: Any = network.visual.trunk
        trunk.load_state_dict(same_order_weights(trunk.state_dict(), image_weights))
    return network


def load_pretrained(network: CustomTextCLIP, architecture: str, tag: str) -> None:
    """Start both towers from weights that open_clip knows by a tag, or from a file in its form. `UserError` where it
    knows none, or they are of another architecture."""
    known = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in known and not Path(tag).is_file():
        raise UserError(f"initial.pretrained {tag!r} is none of {architecture}'s: {', '.join(known) or 'it has none'}")
    try:
        path = (
            tag
            if Path(tag).is_file()
            else open_clip.download_pretrained(open_clip.get_pretrained_cfg(architecture, tag))
        )
        open_clip.load_checkpoint(network, path)
    except (RuntimeError, KeyError, OSError, ValueError, UnpicklingError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"initial.pretrained {tag!r} cannot be loaded into {architecture}: {reason}") from error


def same_order_weights(wanted: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint under other names: both libraries list the same layers in the same order.

    The classifier at the checkpoint's end is left out. Raises `UserError` where a shape differs.
    """
    if not path.is_file():
        raise UserError(f"the image tower's weights {path} do not exist; `trygon sample` brings them")
    found = torch.load(path, map_location="cpu", weights_only=True)
    names = [name for name in wanted if not name.endswith("num_batches_tracked")]
    given = [tensor for name, tensor in found.items() if not name.endswith("num_batches_tracked")]
    pairs = list(zip(names, given, strict=False))
    wrong = [name for name, tensor in pairs if wanted[name].shape != tensor.shape]
    if wrong or len(pairs) < len(names):
        raise UserError(f"{path} does not hold the weights of the image tower ({(wrong or names)[0]} does not fit)")
    return {**wanted, **dict(pairs)}


def classifier_weights(path: Path) -> tuple[Tensor, Tensor]:
    """Weight (C, F) and bias (C,) of the classifier at the end of a checkpoint."""
    weight, bias = list(torch.load(path, map_location="cpu", weights_only=True).values())[-2:]
    return weight, bias
