"""A finished run folder as tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from trygon.archive.parts import Parts, read_table
from trygon.errors import UserError
from trygon.schemas import DETECTION
from trygon.storage import exists, join, read_json

_BOX_COLUMNS = [name for name in DETECTION.names if name != "vector"]


@dataclass(frozen=True)
class Run:
    """Everything that one labelling run wrote. Tables are read when they are asked for."""

    folder: str | Path

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """`UserError` unless labelling has ended there."""
        if not exists(join(folder, "observations.parquet")):
            raise UserError(f"{folder} is not a finished run; make one with `trygon label ARCHIVE --out {folder}`")
        return cls(folder)

    @cached_property
    def media(self) -> pa.Table:
        """MEDIA, sorted by path."""
        return read_table(join(self.folder, "media.parquet"))

    @cached_property
    def observations(self) -> pa.Table:
        """OBSERVATION."""
        return read_table(join(self.folder, "observations.parquet"))

    @cached_property
    def events(self) -> pa.Table:
        """EVENT."""
        return read_table(join(self.folder, "events.parquet"))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config of the job that wrote this."""
        return read_json(join(self.folder, "config.json"))

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Counts, the model's name, and when the run ended."""
        return read_json(join(self.folder, "summary.json"))

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
