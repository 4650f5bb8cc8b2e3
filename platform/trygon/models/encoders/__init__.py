"""Image encoders by name: the runtimes that turn crops into vectors in bulk.

Modules are imported when an encoder is asked for: none of them needs what another one is installed with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from trygon.errors import UserError
from trygon.models.encoders.choice import Encoder, EncoderChoice
from trygon.models.folder import ImageTower


@dataclass(frozen=True)
class Runtime:
    """Where an encoder is implemented, and whether it takes a GPU where there is one.

    The module has `find(name, tower, place)`, which gives an `EncoderChoice` or says in a `UserError` what is missing,
    and `load(choice, num_threads)`, which gives the `Encoder`.
    """

    module: str
    on_gpu: bool = False


ENCODERS = {
    "torch": Runtime("torch", on_gpu=True),
    "torch-bf16": Runtime("torch", on_gpu=True),
    "openvino": Runtime("openvino"),
    "openvino-bf16": Runtime("openvino"),
    "openvino-int8": Runtime("openvino"),
    "onnx": Runtime("onnx"),
    "triton": Runtime("triton"),
}
"""The runtimes, by the name that `--encoder` takes."""


def find_encoder(spec: str, tower: ImageTower) -> EncoderChoice:
    """`NAME` or `NAME:PLACE` to an encoder of that model; `UserError` where there is no such one."""
    name, _, place = spec.partition(":")
    if name not in ENCODERS:
        raise UserError(f"--encoder {spec}: no such encoder (there are {', '.join(ENCODERS)})")
    find = cast("Callable[[str, ImageTower, str], EncoderChoice]", _module(name).find)
    return find(name, tower, place)


def load_encoder(choice: EncoderChoice, num_threads: int) -> Encoder:
    """The encoder ready for use by that many threads at once, each of which keeps a CPU busy."""
    load = cast("Callable[[EncoderChoice, int], Encoder]", _module(choice.name).load)
    return load(choice, num_threads)


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{ENCODERS[name].module}")
