"""A finished run folder as tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as default
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.dataset import field

from trygon.archive.parts import Parts, read_table
from trygon.archive.reviews import apply, read_reviews
from trygon.archive.rows import rows_of
from trygon.errors import UserError
from trygon.schemas import DETECTION
from trygon.storage import exists, join, read_json

SUMMARY = "summary.json"
_BOX_COLUMNS = [name for name in DETECTION.names if name != "vector"]


@dataclass(frozen=True)
class Run:
    """Everything that one labelling run wrote. Tables are read when they are asked for."""

    folder: str | Path
    summary: dict[str, Any] = default(default_factory=dict)
    """Counts, the model's name, and when the run ended. Its file is the last one that a run writes."""

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """`UserError` unless labelling has ended there."""
        if not exists(join(folder, SUMMARY)):
            raise UserError(f"{folder} is not a finished run; make one with `trygon label ARCHIVE --out {folder}`")
        return cls(folder, read_json(join(folder, SUMMARY)))

    @cached_property
    def media(self) -> pa.Table:
        """MEDIA, sorted by path."""
        return read_table(join(self.folder, "media.parquet"))

    @cached_property
    def predictions(self) -> pa.Table:
        """OBSERVATION, as the model has them, those set aside too."""
        return read_table(join(self.folder, "observations.parquet"))

    @cached_property
    def observations(self) -> pa.Table:
        """The predictions with what people said of them, less what is set aside: `schemas.reviewed`. This is what
        exports are made of."""
        return apply(self.predictions, read_reviews(self.folder)).filter(field("set_aside").is_null())

    @cached_property
    def events(self) -> pa.Table:
        """EVENT."""
        return read_table(join(self.folder, "events.parquet"))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config of the job that wrote this."""
        return read_json(join(self.folder, "config.json"))

    @cached_property
    def boxes(self) -> dict[int, dict[str, Any]]:
        """DETECTION rows by detection id, without their vectors."""
        tables = Parts(self.folder).detections(_BOX_COLUMNS)
        return {row["detection_id"]: row for table in tables for row in rows_of(table)}

    @cached_property
    def media_by_id(self) -> dict[int, dict[str, Any]]:
        """MEDIA rows by media id."""
        return {row["media_id"]: row for row in rows_of(self.media)}

    @cached_property
    def events_by_id(self) -> dict[int, dict[str, Any]]:
        """EVENT rows by event id."""
        return {row["event_id"]: row for row in rows_of(self.events)}

    def observation_rows(self) -> Iterator[dict[str, Any]]:
        """OBSERVATION rows in the order of their frames' paths."""
        rows = rows_of(self.observations)
        return iter(sorted(rows, key=lambda row: (self.media_by_id[row["media_id"]]["path"], row["observation_id"])))
