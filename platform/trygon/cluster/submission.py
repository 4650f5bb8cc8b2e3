"""Jobs on a Ray cluster: send the packages of this very checkout, run `python -m trygon_jobs …` there, follow it.

Knows nothing of what the jobs do. The cluster needs the dependencies (infra/docker/Dockerfile.ray), not trygon itself.
"""

import asyncio
import logging
import os
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

from trygon.errors import TrygonError, UserError

PACKAGES = ("trygon", "trygon_jobs", "trygon_serving")
_EXCLUDES = ["__pycache__", "*.pyc"]
_CONNECT_TIMEOUT_S = 10
_LOST_AFTER_S = 120
"""How long a cluster may be out of reach while its log is followed."""
_BREAKS = (requests.RequestException, aiohttp.ClientError, OSError, RuntimeError)


def package_folders() -> list[Path]:
    """The three package folders, found by location: nothing is imported, as jobs never import serving."""
    origins = [spec.origin for name in PACKAGES if (spec := find_spec(name)) and spec.origin]
    return [Path(origin).parent for origin in origins]


def connect(address: str) -> JobSubmissionClient:
    """The job server at an `http(s)://` address. Raises `UserError` where there is none, or where it wants a token."""
    if "://" not in address:
        address = f"http://{address}"
    if not address.startswith(("http://", "https://")):
        raise UserError(f"--address {address}: give the dashboard's address, such as http://head-node:8265")
    logging.getLogger("ray.dashboard").setLevel(logging.WARNING)
    # Ray lets these win over the address that it is given.
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)
    try:
        # Ray's own client waits without end for a host that does not answer.
        requests.get(f"{address}/api/version", timeout=_CONNECT_TIMEOUT_S)
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise UserError(
            f"the Ray cluster at {address} does not accept the token of this shell: set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the cluster's"
        ) from error
    except (requests.RequestException, ConnectionError, RuntimeError) as error:
        raise UserError(
            f"no Ray job server answers at {address}: is the cluster up, its dashboard port open or forwarded "
            f"(ray dashboard ray_cluster.yaml)? [{type(error).__name__}]"
        ) from error


def entrypoint(tokens: Iterable[str], config_text: str | None = None) -> str:
    """The shell command of a job; a config that is a file here travels in it and arrives on standard input."""
    command = shlex.join(["python", "-m", "trygon_jobs", *tokens])
    return command if config_text is None else f"printf %s {shlex.quote(config_text)} | {command} --config=-"


def submit(client: JobSubmissionClient, command: str, environment: Mapping[str, str]) -> str:
    """Start a command with this checkout's packages on the cluster; the job's id.

    Ray names a package by its content: one that has not changed is not sent again. The runtime environment is readable
    in the dashboard: give no secrets in `environment`.
    """
    runtime_env = {
        "py_modules": [str(folder) for folder in package_folders()],
        "excludes": _EXCLUDES,
        "env_vars": dict(environment),
    }
    return client.submit_job(entrypoint=command, runtime_env=runtime_env)


def follow(client: JobSubmissionClient, job_id: str, write: Callable[[str], object]) -> JobDetails:
    """Write a job's log as it grows, through lost connections, until the job has ended; what became of it."""
    log, lost_since = _Log(write), None
    while True:
        try:
            is_whole = log.tail(client, job_id)
            details = client.get_job_info(job_id)
            if not details.status.is_terminal():
                lost_since = None
            elif is_whole:
                return details
            else:  # its end is still to come
                lost_since = lost_since or time.monotonic()
        except _BREAKS:
            lost_since = lost_since or time.monotonic()
        if lost_since and time.monotonic() - lost_since > _LOST_AFTER_S:
            raise TrygonError(f"the cluster is out of reach: job {job_id} may still run there")
        time.sleep(1)


class _Log:
    """How far a log was written, whatever broke meanwhile."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write, self._num_written = write, 0

    def tail(self, client: JobSubmissionClient, job_id: str) -> bool:
        """Write what was not written yet, as it comes; whether it came to its end, or the connection broke before."""
        try:
            asyncio.run(self._tail(client, job_id))
        except _BREAKS:
            return False
        return True

    async def _tail(self, client: JobSubmissionClient, job_id: str) -> None:
        position = 0  # the server always sends it from the beginning
        async for text in client.tail_job_logs(job_id):
            self._write(text[max(0, self._num_written - position) :])
            position += len(text)
            self._num_written = max(self._num_written, position)
