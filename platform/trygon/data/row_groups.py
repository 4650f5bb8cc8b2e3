"""The row groups of shards, listed once for a run: from many footers, which takes a while on S3, to one small file."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trygon.data.plan import RowGroup
from trygon.data.shards import READS_AT_ONCE, open_shard
from trygon.errors import UserError
from trygon.storage import exists, open_input
from trygon.tables import write_table


def list_row_groups(paths: Sequence[str], sources: Mapping[str, float] | None = None) -> list[RowGroup]:
    """The row groups of Parquet shards, from their footers. With weights of sources, `num_rows` counts the rows that
    an epoch takes: a source of weight 0.5 comes with half of its samples, one of 2 twice with all; others do not.
    `UserError` for a file that is no whole shard, or a source that no shard holds."""
    known: set[str] = set()
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        of_each = list(pool.map(partial(_row_groups, sources=sources, known=known), paths))
    if unknown := sorted(set(sources or ()) - known):
        raise UserError(f"--sources: the shards have no {unknown[0]!r}; they have {', '.join(sorted(known))}")
    return [group for groups in of_each for group in groups]


def _row_groups(path: str, sources: Mapping[str, float] | None, known: set[str]) -> list[RowGroup]:
    """Those of one shard; its sources are added to `known`."""
    groups = []
    try:
        with open_shard(path) as shard:
            for index in range(shard.num_row_groups):
                count = shard.metadata.row_group(index).num_rows
                if sources:
                    table = shard.read_row_group(index, columns=["sample_id", "source"])
                    known.update(table["source"].unique().to_pylist())
                    count = len(chosen_rows(table, sources))
                if count:
                    groups.append(RowGroup(path, index, count))
    except (OSError, pa.ArrowInvalid) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} cannot be read ({reason}): see that it is whole, and give the command again"
        ) from error
    return groups


def chosen_rows(table: pa.Table, sources: Mapping[str, float]) -> np.ndarray:
    """The rows that an epoch takes, in order. Which samples make up a part of a source is up to their ids."""
    weight_B = np.asarray([sources.get(source, 0.0) for source in table["source"].to_pylist()])
    # Ids are themselves drawn at random; another factor spreads those that are not.
    share_B = (
        table["sample_id"].to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(11)
    ) / 2**53
    return np.repeat(np.arange(table.num_rows), (np.floor(weight_B) + (share_B < weight_B % 1)).astype(np.int64))


def keep_row_groups(place: str, paths: Sequence[str], sources: Mapping[str, float] | None = None) -> None:
    """Write the row groups of shards to a file, unless it is there: shards by their number among the paths, which may
    lie elsewhere when a run goes on."""
    if exists(place):
        return
    groups, number = list_row_groups(paths, sources), {path: index for index, path in enumerate(paths)}
    columns = {
        "shard": np.asarray([number[group.path] for group in groups], np.int32),
        "index": np.asarray([group.index for group in groups], np.int32),
        "num_rows": np.asarray([group.num_rows for group in groups], np.int32),
    }
    write_table(place, pa.table(columns))


def kept_row_groups(place: str, paths: Sequence[str]) -> list[RowGroup]:
    """What `keep_row_groups` wrote."""
    with open_input(place) as file:
        rows = pq.read_table(file).to_pylist()
    return [RowGroup(paths[int(row["shard"])], row["index"], row["num_rows"]) for row in rows]
