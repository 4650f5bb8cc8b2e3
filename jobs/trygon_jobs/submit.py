"""`trygon submit`: the same command on a Ray cluster."""

import os
import sys
from typing import Annotated

from cyclopts import Parameter

from trygon.errors import TrygonError
from trygon_jobs.config import JobConfig

# Settings of the shell that a job on the cluster shares; what names places on this machine does not travel.
_STAYS_HERE = ("TRYGON_SUBMIT_", "TRYGON_CACHE", "TRYGON_CONFIG", "TRYGON_DEBUG")

_COMMAND = "The job and its words, as they would stand after trygon on this machine."


class SubmitConfig(JobConfig):
    """Where to run a job."""

    address: str = "http://127.0.0.1:8265"
    """The cluster's job server, which is its dashboard: http://head-node:8265."""
    wait: bool = True
    """Follow the job's log and end with its exit status; --no-wait prints its id and leaves."""


def main(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True, help=_COMMAND)],
    config: Annotated[SubmitConfig, Parameter(name="*")] = SubmitConfig(),
) -> None:
    """Run a job on a Ray cluster: trygon submit --address URL JOB ARGS..."""
    from trygon_jobs.cli import check_submitted

    tokens, config_text = check_submitted(command)
    _use_token()
    from trygon.cluster.submission import connect, entrypoint, follow, submit

    client = connect(config.address)
    job_id = submit(client, entrypoint(tokens, config_text), _environment())
    if not config.wait:
        print(job_id)
        return
    where = f"--address {config.address} {job_id}"
    try:
        details = follow(client, job_id, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        message = f"job {job_id} goes on. Follow it: ray job logs --follow {where}; stop it: ray job stop {where}"
        print(f"\n{message}", file=sys.stderr)
        sys.exit(130)
    if details.status == "SUCCEEDED":
        return
    if details.driver_exit_code and details.driver_exit_code > 0:
        sys.exit(details.driver_exit_code)
    reason = (details.message or "no reason given").splitlines()[0]
    raise TrygonError(f"job {job_id} ended as {details.status}: {reason}")


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("TRYGON_") and not name.startswith(_STAYS_HERE)
    }


def _use_token() -> None:
    """A token in the shell means that the cluster wants one; Ray reads the mode when it is imported."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
