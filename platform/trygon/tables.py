"""Arrow tables to Parquet files that appear whole or not at all. Knows nothing of what they hold."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trygon.storage import write_bytes


def write_table(
    place: str | Path, table: pa.Table, durable: bool = False, compression: str = "zstd", **options: Any
) -> None:
    """Write a table as Parquet; `durable` as in `write_bytes`, and pyarrow's own options of `write_table`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=compression, **options)
    write_bytes(place, memoryview(sink.getvalue()), durable)
