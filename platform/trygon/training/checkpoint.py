"""A training state on disk: weights, optimiser, and how far the run is. Tensors and numbers, no code."""

import copy
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)

from trygon.errors import TrygonError
from trygon.storage import copy_file, is_remote, join
from trygon.training.checkpoints import SEAL, STATE, BrokenError, checksum, is_whole
from trygon.training.learner import Learner
from trygon.training.towers import with_bias

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass(frozen=True)
class Position:
    """How much of a run is done."""

    leg: int = 0
    step: int = 0
    best_loss: float = math.inf
    """The least mean loss of a leg so far."""


def state_of(learner: Learner, position: Position) -> dict[str, Any]:
    """All that training needs to go on, on the CPU and in one piece, apart from what learns on; every worker has to
    ask."""
    weights, optimiser = get_state_dict(learner.towers, learner.optimiser, options=_WHOLE)
    average = learner.average and get_model_state_dict(learner.average, options=_WHOLE)
    state = {
        "weights": weights, "optimiser": optimiser, "scaler": learner.scaler.state_dict(), "average": average or {},
        **asdict(position),
    }  # fmt: skip
    # On a CPU these are still the tensors that learn.
    return copy.deepcopy(state) if learner.model.device.type == "cpu" else state


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write a state and, once it can be loaded, the seal that says what it must be."""
    torch.save(state, folder / STATE)
    _load(folder)
    (folder / SEAL).write_text(json.dumps({"xxh3_128": checksum(folder)}))


def put_state(place: str, state: dict[str, Any], scratch: Path) -> None:
    """Bring a state to its place and read it back there; on its way to S3 it lies in the folder `scratch`.
    `TrygonError` where it does not arrive whole."""
    if is_remote(place):
        save_state(scratch, state)
        for name in (STATE, SEAL):
            copy_file(scratch / name, join(place, name))
    else:
        Path(place).mkdir(parents=True, exist_ok=True)
        save_state(Path(place), state)
    if not is_whole(place):
        raise TrygonError(f"the checkpoint {place} did not arrive whole")


def _read(folder: Path) -> dict[str, Any]:
    if not is_whole(folder):
        raise BrokenError(f"the checkpoint in {folder} is not whole")
    return _load(folder)


def _load(folder: Path) -> dict[str, Any]:
    return torch.load(folder / STATE, map_location="cpu", weights_only=True, mmap=True)


def load_state(folder: Path, learner: Learner) -> Position:
    """Put a state back; the position that it was saved at. The number of workers may be another one."""
    state = _read(folder)
    set_state_dict(
        learner.towers, learner.optimiser,
        model_state_dict=state["weights"], optim_state_dict=state["optimiser"], options=_WHOLE,
    )  # fmt: skip
    _lay_out(learner.optimiser)
    learner.scaler.load_state_dict(state["scaler"])
    if learner.average:
        set_model_state_dict(learner.average, state["average"], options=_WHOLE)
    return _position(state)


def _lay_out(optimiser: torch.optim.Optimizer) -> None:
    """Moments in memory as their weights are. A fused step goes through both as they lie there; weights are channels
    last on one worker and not in shards, and moments come as they were saved."""
    for parameter, moments in optimiser.state.items():
        for name, moment in moments.items():
            if moment.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(moment)


def load_weights(folder: Path) -> tuple[dict[str, Tensor], Position]:
    """The network's weights in a state, averaged over the steps where the run did so; and its position."""
    state = _read(folder)
    prefix = "module.net." if state["average"] else "net."
    weights = state["average"] or state["weights"]
    mine = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    return mine, _position(state)


def put_weights(net: Any, folder: Path, initial_share: float = 0.0) -> Position:
    """Give the initial network the weights of the model that a run would end with at a state; the state's position."""
    initial = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    trained, position = load_weights(folder)
    if "logit_bias" in trained:
        with_bias(net)
    net.load_state_dict(blend(trained, initial, initial_share))
    return position


def _position(state: dict[str, Any]) -> Position:
    return Position(state["leg"], state["step"], state["best_loss"])


def blend(trained: dict[str, Tensor], initial: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights between the initial and the trained ones (Wortsman et al. 2022, arXiv:2109.01903).

    Counters stay as they were trained, and so does what the initial network did not have.
    """
    return {
        name: torch.lerp(tensor, initial[name], share) if tensor.is_floating_point() and name in initial else tensor
        for name, tensor in trained.items()
    }
