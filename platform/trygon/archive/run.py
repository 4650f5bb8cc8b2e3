"""A finished run folder as tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trygon.archive.parts import Parts
from trygon.errors import UserError
from trygon.schemas import DETECTION
from trygon.storage import read_json

_BOX_COLUMNS = [name for name in DETECTION.names if name != "vector"]


@dataclass(frozen=True)
class Run:
    """Everything that one labelling run wrote. Tables are read when they are asked for."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """`UserError` unless labelling has ended there."""
        if not (folder / "observations.parquet").is_file():
            raise UserError(f"{folder} is not a finished run; make one with `trygon label ARCHIVE --out {folder}`")
        return cls(folder)

    @cached_property
    def media(self) -> pa.Table:
        """MEDIA, sorted by path."""
        return pq.read_table(self.folder / "media.parquet")

    @cached_property
    def observations(self) -> pa.Table:
        """OBSERVATION."""
        return pq.read_table(self.folder / "observations.parquet")

    @cached_property
    def events(self) -> pa.Table:
        """EVENT."""
        return pq.read_table(self.folder / "events.parquet")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config of the job that wrote this."""
        return read_json(self.folder / "config.json")

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Counts, the model's name, and when the run ended."""
        return read_json(self.folder / "summary.json")

    @cached_property
    def boxes(self) -> dict[int, dict[str, Any]]:
        """DETECTION rows by detection id, without their vectors."""
        tables = Parts(self.folder).detections(_BOX_COLUMNS)
        return {row["detection_id"]: row for table in tables for row in table.to_pylist()}

    @cached_property
    def media_by_id(self) -> dict[int, dict[str, Any]]:
        """MEDIA rows by media id."""
        return {row["media_id"]: row for row in self.media.to_pylist()}

    @cached_property
    def events_by_id(self) -> dict[int, dict[str, Any]]:
        """EVENT rows by event id."""
        return {row["event_id"]: row for row in self.events.to_pylist()}

    def observation_rows(self) -> Iterator[dict[str, Any]]:
        """OBSERVATION rows in the order of their frames' paths."""
        rows = self.observations.to_pylist()
        return iter(sorted(rows, key=lambda row: (self.media_by_id[row["media_id"]]["path"], row["observation_id"])))
