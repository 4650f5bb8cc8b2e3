"""Which events of a run are left to be looked at: filters, orders and progress, over columns and what people said.

A few dozen bytes an observation are held, and every page is made from them anew. Not safe for several threads.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.review.columns import Columns
from trygon.review.said import Review, Said
from trygon.schemas import NAME_COLUMNS
from trygon.taxonomy.taxon import RANKS

_SHOWN, _WITHIN = ("type", "scientific", "common", "rank"), ("class", "order", "family")
_TOLD_APART = ("type", "scientific", *RANKS)
"""What a label is known by: names repeat."""


@dataclass(frozen=True)
class View:
    """Which events, and in what order. `state` is unreviewed, reviewed, all or set_aside; `label` is a label's number,
    None for any; `sure` keeps events with a name less probable than it; `order` is time or unsure."""

    state: str = "unreviewed"
    label: int | None = None
    deployment: str = ""
    sure: float = 1.0
    order: str = "time"


class Queue:
    """The events with what each observation is called by now."""

    def __init__(self, columns: Columns, said: Said) -> None:
        self.columns, self._said = columns, said
        self._labels: list[dict[str, Any]] = []
        self._number: dict[tuple[str, ...], int] = {}
        self.label_M = self._predicted()
        self.decided_M = np.zeros(len(columns), bool)
        self.refresh(said.observations())

    def label(self, at: int) -> dict[str, Any]:
        """What an observation is called: type, scientific, common, rank, blank where unknown, the label's number, and
        the clades that it is within."""
        return self._labels[self.label_M[at]]

    def word(self, at: int) -> Review | None:
        """A person's word on an observation."""
        if not self.decided_M[at]:
            return None
        return self._said.of(self.columns.table["observation_id"][at].as_py())

    def refresh(self, observation_ids: Iterable[int]) -> None:
        """Take in that people said something else of some observations."""
        for one in observation_ids:
            at = self.columns.observation_ids.position(one)
            if at is not None:  # else its frame left the archive
                said = self._said.of(one)
                self.decided_M[at] = said is not None
                names = said or self.columns.row(at, NAME_COLUMNS)
                self.label_M[at] = self._label_number(names)

    def _predicted(self) -> np.ndarray:
        """The number of each observation's label: (M,) int32."""
        key_M = np.zeros(len(self.columns), np.int64)
        for name in _TOLD_APART:
            column = self.columns.table[name].fill_null("").combine_chunks().dictionary_encode()
            key_M = key_M * max(1, len(column.dictionary)) + column.indices.to_numpy()
            # Numbered anew: of all columns' numbers together an int64 may be too small.
            key_M = pa.array(key_M).dictionary_encode().indices.to_numpy().astype(np.int64)
        _, first = np.unique(key_M, return_index=True)
        numbers = [self._label_number(self.columns.row(int(at), NAME_COLUMNS)) for at in first]
        return np.asarray(numbers, np.int32)[key_M]

    def _label_number(self, names: Mapping[str, Any]) -> int:
        key = tuple(names.get(name) or "" for name in _TOLD_APART)
        if key not in self._number:
            self._number[key] = len(self._labels)
            within = " › ".join(names[rank] for rank in _WITHIN if names.get(rank))
            shown = {name: names.get(name) or "" for name in _SHOWN}
            self._labels.append(shown | {"number": len(self._labels), "within": within})
        return self._number[key]

    @cached_property
    def _orders(self) -> dict[str, np.ndarray]:
        """The events in the order of cameras and times, and with the least sure names first."""
        columns = self.columns
        table = columns.events.select(["deployment", "start"]).append_column(
            "place", [np.arange(columns.events.num_rows)]
        )
        by_time = table.sort_by([("deployment", "ascending"), ("start", "ascending")])["place"].to_numpy()
        return {"time": by_time, "unsure": by_time[np.argsort(self._sureness[by_time], kind="stable")]}

    @cached_property
    def _sureness(self) -> np.ndarray:
        """The least probability of an animal's name in each event as predicted; 1 where it has none: (E,)."""
        is_animal_M = pc.equal(self.columns.table["type"], "animal").to_numpy()
        value_M = np.where(is_animal_M & ~self.columns.aside_M, self.columns.probability_M, np.float32(1))
        return np.minimum.reduceat(value_M, self.columns.first_E) if len(value_M) else value_M

    def reviewed_E(self) -> np.ndarray:
        """Which events have a person's word on all that counts in them."""
        columns = self.columns
        if not len(columns):
            return np.zeros(0, bool)
        done = np.logical_and.reduceat(self.decided_M | columns.aside_M, columns.first_E)
        return done & np.logical_or.reduceat(self.decided_M | ~columns.aside_M, columns.first_E)

    def _wanted_E(self, view: View) -> np.ndarray:
        columns, reviewed_E = self.columns, self.reviewed_E()
        wanted_E = {"unreviewed": ~reviewed_E, "reviewed": reviewed_E}.get(view.state, np.ones(len(reviewed_E), bool))
        if not len(columns):
            return wanted_E
        if view.state == "set_aside":
            wanted_E = np.logical_or.reduceat(columns.aside_M & ~self.decided_M, columns.first_E)
        if view.label is not None:
            has_M = (self.label_M == view.label) & ~columns.aside_M
            wanted_E = wanted_E & np.logical_or.reduceat(has_M, columns.first_E)
        if view.deployment:
            wanted_E = wanted_E & np.asarray(columns.events["deployment"].to_numpy() == view.deployment)
        if view.sure < 1:
            wanted_E = wanted_E & (self._sureness < view.sure)
        return wanted_E

    def page(self, view: View, after: int = -1, limit: int = 10, back: bool = False) -> dict[str, Any]:
        """The next events of a view behind a place in its order, or those before it, and how many are left."""
        order = self._orders.get(view.order, self._orders["time"])
        wanted = np.flatnonzero(self._wanted_E(view)[order])
        found = wanted[wanted < after][::-1] if back else wanted[wanted > after]
        events = [{"id": str(self.columns.event_id(int(order[at]))), "place": int(at)} for at in found[:limit]]
        return {"events": events, "left": len(wanted)} | self.progress()

    def progress(self) -> dict[str, int]:
        """How many events there are, and how many of them are reviewed."""
        return {"num_events": len(self.columns.first_E), "num_reviewed": int(self.reviewed_E().sum())}

    def names(self) -> list[dict[str, Any]]:
        """All labels with the number of events that have them, the most frequent first."""
        keep = ~self.columns.aside_M
        num_events = max(1, len(self.columns.first_E))
        pairs = np.sort(self.label_M[keep].astype(np.int64) * num_events + self.columns.event_of_M[keep])
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # numpy's own `unique` takes seconds for a million
        counts = np.bincount(pairs // num_events, minlength=len(self._labels))
        return [self._labels[at] | {"num_events": int(counts[at])} for at in np.argsort(-counts) if counts[at]]
