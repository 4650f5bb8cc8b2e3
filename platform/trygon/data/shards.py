"""Shards: Parquet files of samples with small row groups, so that a reader takes a few images at a time."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trygon.schemas import SAMPLE

ROW_GROUP_ROWS = 64

SPLITS = ("train", "val", "unseen")
"""Training; held-out photos of species seen in training; photos of species held out of training."""


def shard_path(folder: Path, split: str, index: int) -> Path:
    """Where a shard lies."""
    return folder / f"{split}-{index:05d}.parquet"


def list_shards(folder: Path, split: str) -> list[Path]:
    """The shards of a split, in order."""
    return sorted(folder.glob(f"{split}-*.parquet"))


def write_shard(path: Path, samples: Sequence[Mapping[str, Any]]) -> None:
    """Write samples (see `schemas.SAMPLE`); the file appears finished or not at all."""
    write_rows(path, pa.Table.from_pylist(list(samples), schema=SAMPLE))


def write_rows(path: Path, table: pa.Table) -> None:
    """Write a table in small row groups, by renaming the finished file into place."""
    scratch = path.with_name(f".{path.name}.unfinished")
    # JPEG does not shrink further, and the rest of a row is small.
    pq.write_table(table, scratch, row_group_size=ROW_GROUP_ROWS, compression="none")
    os.replace(scratch, path)


def read_samples(folder: Path, split: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All samples of a split, without the images unless `columns` asks for them."""
    wanted = list(columns or [name for name in SAMPLE.names if name != "image"])
    tables = [pq.read_table(path, columns=wanted) for path in list_shards(folder, split)]
    empty = pa.schema([SAMPLE.field(name) for name in wanted]).empty_table()
    return pa.concat_tables([empty, *tables])
