"""Rows as columns: dataclasses whose fields are arrays of as many rows, or such dataclasses themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np


@dataclass(frozen=True)
class Rows:
    """To be inherited from."""

    def take(self, places: np.ndarray) -> Self:
        """Some of the rows, or all in another order."""
        return type(self)(*(it.take(places) if isinstance(it, Rows) else it[places] for it in self._columns))

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, of which there is one at least."""
        if len(parts) == 1:
            return parts[0]
        columns = zip(*(part._columns for part in parts), strict=True)
        return cls(*(type(it[0]).concat(it) if isinstance(it[0], Rows) else np.concatenate(it) for it in columns))

    @property
    def _columns(self) -> tuple[Any, ...]:
        return tuple(getattr(self, it.name) for it in fields(self))
