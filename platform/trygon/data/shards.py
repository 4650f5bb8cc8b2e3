"""Shards: Parquet files of samples with small row groups, so that a reader takes a few images at a time."""

import hashlib
import random
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trygon.errors import UserError
from trygon.schemas import SAMPLE
from trygon.storage import File, exists, is_remote, join, list_folder, name_of, open_input, read_ranges
from trygon.tables import write_table
from trygon.taxonomy.taxon import RANKS

COUNTS = "counts.parquet"
"""How many samples of each taxon there are, in the folder of the shards: COUNT."""
ROW_GROUP_ROWS = 64
READS_AT_ONCE = 32
"""Of small parts of many shards: S3 takes its time for each."""
_END_BYTES = 8
"""Of a Parquet file: how long its footer is, and PAR1."""

SPLITS = ("train", "val", "unseen")
"""Training; held-out photos of species seen in training; photos of species held out of training."""


def shard_path(folder: str | Path, split: str, index: int) -> str:
    """Where a shard lies."""
    return join(folder, f"{split}-{index:05d}.parquet")


def list_shards(folder: str | Path, split: str) -> list[str]:
    """The shards of a split, in order. Raises `UserError` where the folder's storage cannot be reached."""
    return [file.place for file in list_folder(folder, f"{split}-", ".parquet")]


def identify_shards(folder: str | Path, split: str) -> dict[str, str]:
    """What tells the shards of a split from others, by name: their sizes, and the digests of their footers.

    A footer holds the digest of the pictures (see `write_rows`), and sizes and bounds of all columns; to read all of a
    large data set for this would take hours. The same shards on disk and on S3 are the same. `UserError` for a file
    that ends otherwise than a Parquet file does.
    """
    files = list_folder(folder, f"{split}-", ".parquet")
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        return dict(zip([file.name for file in files], pool.map(_footer_digest, files), strict=True))


def _footer_digest(file: File) -> str:
    try:
        (end,) = read_ranges(file.place, [(file.bytes - _END_BYTES, file.bytes)])
        length = int.from_bytes(end[:4], "little")
        if end[4:] != b"PAR1" or length > file.bytes:
            raise ValueError("it does not end as a Parquet file does")
        (footer,) = read_ranges(file.place, [(file.bytes - _END_BYTES - length, file.bytes)])
    except (OSError, ValueError) as error:
        raise UserError(f"{file.place} is no whole shard ({error}): curate it anew, or bring it here again") from error
    return f"{file.bytes} {hashlib.sha256(footer).hexdigest()}"


def open_shard(place: str | Path) -> pq.ParquetFile:
    """A shard to read row groups from; its footer is read at once. Close it, or use it in a `with`. `ArrowInvalid`
    with its name where it has none that can be read."""
    try:
        return pq.ParquetFile(open_input(place) if is_remote(place) else place, pre_buffer=True)
    except pa.ArrowInvalid as error:
        raise pa.ArrowInvalid(f"{name_of(place)}: {error}") from error


def write_shard(place: str | Path, samples: Sequence[Mapping[str, Any]]) -> None:
    """Write samples (see `schemas.SAMPLE`); the file appears finished or not at all."""
    write_rows(place, pa.Table.from_pylist(list(samples), schema=SAMPLE))


def write_rows(place: str | Path, table: pa.Table) -> None:
    """Write a table in small row groups; the file appears finished or not at all. Its footer holds the digest of the
    pictures."""
    if "image" in table.column_names:
        digest = hashlib.sha256()
        for image in table["image"]:
            digest.update(image.as_buffer() if image.is_valid else b"")
        table = table.replace_schema_metadata((table.schema.metadata or {}) | {b"trygon.images": digest.hexdigest()})
    # JPEG does not shrink further, and the rest of a row is small.
    write_table(place, table, row_group_size=ROW_GROUP_ROWS, compression="none")


def read_samples(folder: str | Path, split: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All samples of a split, without the images unless `columns` asks for them."""
    wanted = list(columns or [name for name in SAMPLE.names if name != "image"])
    tables = [pa.schema([SAMPLE.field(name) for name in wanted]).empty_table()]
    for place in list_shards(folder, split):
        with open_shard(place) as shard:
            tables.append(shard.read(columns=wanted))
    return pa.concat_tables(tables)


def distinct_taxa(folder: str | Path, split: str) -> pa.Table:
    """The distinct lineages of a split, with their common names: from the counts that were curated with it, or from
    all of its shards, which takes long where there are many."""
    names = [*RANKS, "common"]
    if exists(counted := join(folder, COUNTS)):
        with open_input(counted) as file:
            table = pq.read_table(file, columns=[*names, "split"], filters=[("split", "==", split)])
        if table.num_rows:
            return table.group_by(names).aggregate([])
    return read_samples(folder, split, names).group_by(names).aggregate([])


def count_species(folder: str | Path, split: str, sources: Collection[str]) -> int | None:
    """The species of a split by their binomials, of some sources or of all where none is named, from the counts that
    were curated with it; None where these are not there."""
    if not exists(counted := join(folder, COUNTS)):
        return None
    wanted: list[tuple[str, str, Any]] = [("split", "==", split), ("genus", "!=", ""), ("species", "!=", "")]
    if sources:
        wanted.append(("source", "in", sorted(sources)))
    with open_input(counted) as file:
        table = pq.read_table(file, columns=["genus", "species"], filters=wanted)
    return table.group_by(["genus", "species"]).aggregate([]).num_rows or None


def sample_rows(folder: str | Path, split: str, limit: int) -> pa.Table:
    """Samples of a split that are named to the species, of whole row groups, always the same ones: all, or as many as
    reach the limit. Samples of all kinds lie in each row group, so that some stand for all."""
    groups = []
    for place in list_shards(folder, split):
        with open_shard(place) as shard:
            groups += [(place, index) for index in range(shard.num_row_groups)]
    random.Random(0).shuffle(groups)
    tables, count = [SAMPLE.empty_table()], 0
    for place, index in groups:
        if count >= limit:
            break
        with open_shard(place) as shard:
            samples = shard.read_row_group(index, columns=SAMPLE.names)
        tables.append(samples.filter(pc.not_equal(samples["species"], "")))
        count += tables[-1].num_rows
    return pa.concat_tables(tables).sort_by("sample_id").slice(0, limit)
