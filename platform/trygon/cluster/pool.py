"""A pool of actors that a dataset streams through, each holding what is dear to load."""

import warnings
from typing import Any

from ray.data import ActorPoolStrategy, Dataset
from ray.util.annotations import RayDeprecationWarning

from trygon.cluster.local import inside_cluster

_RESTARTS = 3


def map_on_pool(dataset: Dataset, actor: type, *args: Any, size: int, num_threads: int = 1, **options: Any) -> Dataset:
    """`dataset.map_batches` on `size` actors, made with `args`, each called by `num_threads` threads at once.

    A cluster's nodes come and go: lost actors come again there, however often. On one machine one that died for want
    of memory would die again: it comes again a few times, then the job ends, and its next run goes on. Not to let it
    come again at all would hang Ray Data (2.60) where it died between two tasks, for then nobody is told.
    """
    restarts = -1 if inside_cluster() else _RESTARTS
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
