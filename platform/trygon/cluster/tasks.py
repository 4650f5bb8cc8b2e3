"""Independent pieces of work, spread over the CPUs that Ray has."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray.data
from ray import cloudpickle


def spread(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """`function(task)` for each task, in the order in which they end. Results are small."""
    if not tasks:
        return
    # Each row holds its own task: within the function's closure, all of them would travel with each.
    rows = [{"task": cloudpickle.dumps(task)} for task in tasks]  # pyright: ignore[reportPrivateImportUsage]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        lambda row: {"result": function(cloudpickle.loads(row["task"]))}
    )
    for row in dataset.iter_rows():
        yield row["result"]
