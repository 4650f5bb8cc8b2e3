"""Pieces of work on the CPUs that Ray has: many that are independent, or one whose process may die."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import ray.data
from ray import cloudpickle
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from trygon.errors import TrygonError


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


def apart(function: Callable[..., Any], *args: Any, timeout_s: float) -> Any:
    """`function(*args)` in a process and on a CPU of its own. What it raises; `TrygonError` where the process died, as
    for want of memory, and did so again, or where it took too long."""
    task = ray.remote(function).options(num_cpus=1, max_retries=1).remote(*args)
    try:
        return ray.get(task, timeout=timeout_s)
    except RayTaskError:
        raise
    except GetTimeoutError as error:
        ray.cancel(task, force=True)
        raise TrygonError(f"it took longer than {timeout_s / 60:g} minutes") from error
    except RayError as error:
        raise TrygonError(f"its process died: {str(error).strip().splitlines()[0]}") from error
