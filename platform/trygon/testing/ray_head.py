"""A real Ray head node on loopback, with token authentication, that leaves every other Ray on the machine alone."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from trygon.testing.servers import free_port

_READY_WITHIN_S = 90


@dataclass(frozen=True)
class RayHead:
    """The job server's address, and the environment in which a program may talk to it."""

    address: str
    environment: dict[str, str]


@contextmanager
def ray_head(folder: Path) -> Iterator[RayHead]:
    """Start `ray start --head` with a token kept in `folder`; its own processes are ended on leaving."""
    token = secrets.token_hex(32)
    (folder / "token").write_text(token)
    environment = _environment(folder / "token")
    # Not below `folder`: Ray's sockets must stay within the 107 characters that Unix gives their paths.
    session = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    port = free_port()
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
    command += [f"--port={free_port()}", f"--temp-dir={session}", "--num-cpus=2"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}", "--object-store-memory=200000000"]
    command += [f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}"]
    with (folder / "ray.log").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for_agent(address, token, head, folder / "ray.log")
        yield RayHead(address, environment)
    finally:
        _end(head)
        shutil.rmtree(session, ignore_errors=True)


def _environment(token_file: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TRYGON_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file)}
    return kept | auth | {"PATH": path, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


def _wait_for_agent(address: str, token: str, head: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the job server answers: it lists jobs only once the node's agent is up."""
    request = urllib.request.Request(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline and head.poll() is None:
        with suppress(OSError, urllib.error.HTTPError), urllib.request.urlopen(request, timeout=5):
            return
        time.sleep(0.5)
    raise RuntimeError(f"ray start did not come up:\n{log.read_text()[-2000:]}")


def _end(head: subprocess.Popen[bytes]) -> None:
    """End the head and what it started, by process id. Never `ray stop`: it ends every Ray of the machine."""
    children = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(head.pid).children(recursive=True)
    head.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        head.wait(timeout=15)
    for process in children:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    if head.poll() is None:
        head.kill()
    head.wait()
