"""Big tables row by row. Knows nothing of what they hold."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

_BATCH = 10_000


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table in order.

    Batch by batch: while pyarrow makes rows no other thread runs, and the one that renews the lease has to.
    """
    for batch in table.to_batches(max_chunksize=_BATCH):
        yield from batch.to_pylist()
