"""A training state on disk: the network, the optimiser and how far the run is. Tensors and numbers, no code."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

_STATE = "state.pt"


@dataclass(frozen=True)
class Position:
    """How much of a run is done."""

    leg: int = 0
    step: int = 0


def save_state(folder: Path, net: nn.Module, optimiser: torch.optim.Optimizer, position: Position) -> None:
    """Write the state."""
    state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "leg": position.leg, "step": position.step}
    torch.save(state, folder / _STATE)


def blend(trained: dict[str, Tensor], initial: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights between the initial and the trained ones (Wortsman et al. 2022, arXiv:2109.01903).

    Counters stay as they were trained.
    """
    return {
        name: torch.lerp(tensor, initial[name], share) if tensor.is_floating_point() else tensor
        for name, tensor in trained.items()
    }


def load_state(folder: Path, net: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> Position:
    """Put a state back; the position that it was saved at."""
    state = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
    net.load_state_dict(state["net"])
    if optimiser:
        optimiser.load_state_dict(state["optimiser"])
    return Position(state["leg"], state["step"])
