"""Room for workers: how many of a shape the machines of a cluster could hold, whatever else runs there now."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from trygon.errors import UserError

_LOOK_S = 1.0


class Room:
    """Room for at least `count` workers of a shape: Ray's resources, such as CPU and GPU. Ray itself waits for it
    without a word and without an end."""

    def __init__(self, shape: Mapping[str, float], count: int, patience_s: float) -> None:
        self._shape, self._count, self._patience_s = shape, count, patience_s
        self._short_since = math.inf

    def wait(self, tell: Callable[[str], object]) -> None:
        """Block until there is room, and tell what is waited for. `UserError` where that takes too long."""
        while True:
            if news := self.look():
                tell(news)
            if self._short_since == math.inf:
                return
            time.sleep(_LOOK_S)

    def look(self) -> str | None:
        """What to tell when there has come to be too little; `UserError` where that lasted too long."""
        nodes, now = [node for node in ray.nodes() if node["Alive"]], time.monotonic()
        if places_on(nodes, self._shape) >= self._count:
            self._short_since = math.inf
            return None
        begins = self._short_since == math.inf
        self._short_since = min(now, self._short_since)
        there = _in_words({name: sum(node["Resources"].get(name, 0) for node in nodes) for name in self._shape})
        each = _in_words(self._shape)
        wanted = f"a worker of {each}" if self._count == 1 else f"{self._count} workers of {each} each"
        if now - self._short_since >= self._patience_s:
            raise UserError(
                f"no room for {wanted}: the cluster has {there} on {len(nodes)} machines. Add machines, or lower "
                "--workers, --min-workers or --readers"
            )
        return f"waiting for room for {wanted}: the cluster has {there} on {len(nodes)} machines" if begins else None


def places_on(nodes: Sequence[Mapping[str, Any]], shape: Mapping[str, float]) -> int:
    """How many workers of a shape the machines hold. No worker lies on two."""
    wanted = {name: amount for name, amount in shape.items() if amount}
    return sum(min(int(node["Resources"].get(name, 0) // wanted[name]) for name in wanted) for node in nodes)


def _in_words(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}{'' if amount == 1 else 's'}" for name, amount in resources.items())
