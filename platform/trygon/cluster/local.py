"""Where a job's Ray is: the cluster that the job runs on, or a small one of its own on this machine."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import ray
from ray._private import ray_constants, worker
from ray._private.node import Node

from trygon.errors import TrygonError

_STORE_BYTES = 1_000_000_000
"""Shared memory of the local Ray, where what is read waits for its use. Ray's default is a third of the machine; what
does not fit here spills to disk."""

_MANY_CPUS = 32
"""From so many on it is Ray's default: the readers for eight GPUs put a gigabyte a second there."""

_MIN_CPUS = 4
"""Logical CPUs of the local Ray: two training workers, their data, and the controller need a slot each."""

_VITAL = {ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER}

# Set where Ray runs the program: by the job server, or by a user who names a cluster.
_CLUSTER_VARIABLES = ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_JOB_ID")

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray Data and Train set up loggers of their own in each process: only the environment reaches them all.
    # What fails reaches the user as an exception; Ray Data would print its traceback before that.
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray warns on every start while it is unset
}


def inside_cluster() -> bool:
    """Whether this process runs as a job of a cluster, or was told of one by RAY_ADDRESS."""
    return any(os.environ.get(name) for name in _CLUSTER_VARIABLES)


def start_ray(num_cpus: int | None = None) -> bool:
    """Connect to the cluster that this job runs on, or start a local Ray; nothing where one is connected already.
    Whether a local one was started, which is this job's to end with `ray.shutdown` where it needs it no more.

    A local Ray has at least four logical CPUs, no dashboard, a bounded object store and a token of its own, listens on
    loopback alone, and never joins another Ray on the machine.
    """
    if ray.is_initialized():
        return False
    _quieten()
    is_local = not inside_cluster()
    if not is_local:
        # What workers print stays in their node's logs: hundreds of Ray's own lines would hide the job's few.
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    else:
        _provide_token()
        with _kept_to_loopback(), _lateness_told():
            ray.init(
                address="local",
                num_cpus=num_cpus or max(_MIN_CPUS, os.cpu_count() or 1),
                include_dashboard=False,
                object_store_memory=_STORE_BYTES if (os.cpu_count() or 1) < _MANY_CPUS else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    _settle_data()
    return is_local


def require_local_ray() -> None:
    """`TrygonError` where a process has ended without which the local Ray does nothing: by itself it would only be
    silent. Others, like the one that collects logs, it can do without, and workers it starts again."""
    node = cast("Node | None", worker._global_node)
    for name, process in node.dead_processes() if node else ():
        if name in _VITAL:
            raise TrygonError(
                f"Ray's process {name} has ended (exit code {process.returncode}): it was killed, or memory ran out"
            )


def _quieten() -> None:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # A job that has imported Ray Data before it starts Ray has a logger that read none of that.
    logging.getLogger("ray.data").setLevel(os.environ["RAY_DATA_LOG_LEVEL"])


def _provide_token() -> None:
    """Give the local Ray a token that ends with it.

    Without one Ray writes ~/.ray/auth_token, which switches token authentication on for every later `ray start` of the
    user and locks out processes that do not know of it.
    """
    known = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if not any(os.environ.get(name) for name in known) and not (Path.home() / ".ray/auth_token").exists():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextmanager
def _kept_to_loopback() -> Iterator[None]:
    """Let the Ray that is started within take 127.0.0.1 for this machine's address, as it does on macOS and Windows:
    all of its processes listen there then, and not on every network. Given as `_node_ip_address`, it would be replaced
    by another one. A cluster that this process starts later needs the other address."""
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _lateness_told() -> Iterator[None]:
    """Ray waits half a minute for its own node, which a busy machine can take longer to start."""
    try:
        yield
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        told = "Ray did not start within its half a minute, as where the machine is busy or short of memory"
        raise TrygonError(f"{told}: the same command, given again, goes on") from error


def _settle_data() -> None:
    """Jobs show their own progress, in samples and frames and not in blocks; errors keep what a worker raised."""
    from ray.data import DataContext

    from trygon.cluster.pacing import pace

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    pace(context)
