"""What an event held, from its observations. Reads no reviews."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from trygon.archive.counts import count_rows
from trygon.archive.rows import rows_of


def pool_events(observations: pa.Table) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Of every event its id and what it held (EVENT's `taxa`), from OBSERVATION rows."""
    events = defaultdict(list)
    for row in rows_of(observations):
        events[row["event_id"]].append({"event_count": None, "reviewed_by": None} | row)
    for event_id, rows in events.items():
        yield event_id, count_rows(rows)
