"""The labelling runs that requests search in, by name: observations whose crops look like a picture.

A run is opened when the server starts, and its index made then where there is none yet. Names are those of that time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.search import Filters, RunSearch, rows_of_hits
from trygon.archive.run_folder.sessions import makers
from trygon.errors import UserError
from trygon_serving import wire
from trygon_serving.problem import Problem


@dataclass(frozen=True)
class SearchedRun:
    """A run under a name, with its index."""

    kind: ClassVar = "run"
    name: str
    run: Run
    search: RunSearch
    model: str
    """The digest of the model that made its vectors, or how that is named where it has none."""
    encoder: str
    """The identity of what ran it: a 8-bit graph's vectors are a little other than those of the model itself."""

    @classmethod
    def open(cls, name: str, folder: str) -> "SearchedRun":
        """`UserError` where it is no finished run, or holds no vectors."""
        run = Run.open(folder)
        made = makers(folder)
        return cls(name, run, RunSearch(run, run.observations), made["model"], made.get("encoder", ""))

    def nearest(self, vector_BD: np.ndarray, options: wire.SimilarOptions) -> list[wire.Similar]:
        """For each vector the nearest observations of those that the options let in. `Problem` 422."""
        filters = Filters(tuple(options.deployment), tuple(options.taxon), options.after, options.before)
        try:
            allowed_N = self.search.allowed(filters)
        except UserError as error:
            raise Problem(422, "The request is not valid", str(error).removeprefix("--")) from error
        hits = [self.search.nearest(vector_D, options.k, allowed_N) for vector_D in vector_BD]
        return [wire.Similar(neighbours=[_neighbour(row) for row in rows_of_hits(self.run, some)]) for some in hits]

    def card(self) -> wire.RunCard:
        """What it is called, and how much there is to find."""
        num = self.run.observations.num_rows
        return wire.RunCard(name=self.name, num_observations=num, model_digest=self.model, encoder=self.encoder)


class Runs:
    """All of them."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        """`UserError` where one cannot be opened."""
        self._runs = {name: SearchedRun.open(name, folder) for name, folder in folders.items()}

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, name: str | None) -> SearchedRun:
        """A run by name; the first without one. `Problem` 404 where there is none at all, 422 for a wrong name."""
        if not self._runs:
            raise Problem(
                404, "There is nothing to search in", "start the server with --run FOLDER or --gallery FOLDER"
            )
        if name is None:
            return next(iter(self._runs.values()))
        if name not in self._runs:
            raise Problem(422, "No such run", f"{name!r} is not one of {', '.join(self._runs)}")
        return self._runs[name]

    def cards(self) -> Sequence[wire.RunCard]:
        """What there is to choose from."""
        return [run.card() for run in self._runs.values()]


def _neighbour(row: Mapping[str, Any]) -> wire.Neighbour:
    return wire.Neighbour(
        cosine=row["cosine"],
        observation_id=str(row["observation_id"]),
        type=row["type"],
        rank=row["rank"] or None,
        scientific=row["scientific"] or "",
        common=row["common"] or "",
        probability=row["probability"],
        reviewed=bool(row["reviewed_by"]),
        media=row["path"],
        deployment=row["deployment"] or "",
        timestamp=row["timestamp"].isoformat() if row["timestamp"] else None,
    )
