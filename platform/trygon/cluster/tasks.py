"""Independent pieces of work, spread over the CPUs that Ray has."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray.data


def spread(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """`function(task)` for each task, in the order in which they end. Tasks and results are small and picklable."""
    if not tasks:
        return
    rows = [{"task": index} for index in range(len(tasks))]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        lambda row: {"result": function(tasks[row["task"]])}
    )
    for row in dataset.iter_rows():
        yield row["result"]
