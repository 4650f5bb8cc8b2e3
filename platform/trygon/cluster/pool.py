"""A pool of actors that a dataset streams through, each holding what is dear to load."""

import warnings
from typing import Any

from ray.data import ActorPoolStrategy, Dataset
from ray.util.annotations import RayDeprecationWarning

from trygon.cluster.local import inside_cluster


def map_on_pool(dataset: Dataset, actor: type, *args: Any, size: int, num_threads: int = 1, **options: Any) -> Dataset:
    """`dataset.map_batches` on `size` actors, made with `args`, each called by `num_threads` threads at once.

    A cluster's nodes come and go: lost actors come again there. On one machine a worker that died would die again, and
    the job's next run goes on.
    """
    restarts = -1 if inside_cluster() else 0
    with warnings.catch_warnings():
        # Ray Data has no other way yet to say so.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return dataset.map_batches(
            actor,
            fn_constructor_args=args,
            compute=ActorPoolStrategy(
                size=size, max_concurrent_calls_per_actor=num_threads, enable_true_multi_threading=num_threads > 1
            ),
            ray_remote_args_fn=lambda: {"max_restarts": restarts, "max_task_retries": restarts},
            **options,
        )
