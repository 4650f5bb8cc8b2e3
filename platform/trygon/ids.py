"""Where ids stand among others. Knows nothing of what they name."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Ids:
    """Finds int64 ids among those that are known, which may be in any order: (K,)."""

    known: np.ndarray

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.known)

    @cached_property
    def _sorted(self) -> np.ndarray:
        return self.known[self._order]

    def positions(self, wanted: np.ndarray) -> np.ndarray:
        """Where each wanted id stands among the known, -1 where it does not: (N,) int64."""
        if not len(self.known):
            return np.full(len(wanted), -1, np.int64)
        place = np.minimum(np.searchsorted(self._sorted, wanted), len(self.known) - 1)
        return np.where(self._sorted[place] == wanted, self._order[place], -1)

    def position(self, wanted: int) -> int | None:
        """Where one stands, None where it does not."""
        at = int(self.positions(np.asarray([wanted]))[0])
        return None if at < 0 else at
