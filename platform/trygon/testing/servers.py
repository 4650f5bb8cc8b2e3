"""Servers in processes of their own: where they listen, when they are ready, which processes the classifier is."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from trygon.ports import free_ports
from trygon.testing.processes import family, kill_family

_READY_WITHIN_S = 300


def free_port() -> int:
    """One that nobody listens on, nor takes until the server does."""
    (port,) = free_ports(1)
    return port


@contextmanager
def started(words: list[str], log: Path, port: int, environment: dict[str, str]) -> "Iterator[subprocess.Popen[Any]]":
    """A server in a process of its own, once it answers."""
    with log.open("wb") as out:
        process = subprocess.Popen(words, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_ready(client, process, log)
        yield process
    finally:
        if process.poll() is None:
            kill_family(process)


def wait_ready(
    client: httpx.Client, process: "subprocess.Popen[Any]", log: Path | None = None, within_s: float = _READY_WITHIN_S
) -> None:
    """Block until `/readyz` is 200. `AssertionError` with what is in the log where the process ends, or it takes too
    long."""
    deadline = time.monotonic() + within_s
    while not _is_ready(client):
        assert process.poll() is None, log.read_text() if log else process.communicate()
        assert time.monotonic() < deadline, log.read_text() if log else "not ready in time"
        time.sleep(0.3)


def tritons(process: "subprocess.Popen[Any]") -> list[psutil.Process]:
    """The servers below a process, without those of their models."""
    return [it for it in family(process.pid) if _title(it).endswith("/tritonserver")]


def replicas(process: "subprocess.Popen[Any]") -> list[psutil.Process]:
    """Ray Serve's."""
    return [it for it in family(process.pid) if _title(it).startswith("ray::ServeReplica")]


def proxies(process: "subprocess.Popen[Any]") -> list[psutil.Process]:
    """Ray Serve's."""
    return [it for it in family(process.pid) if "ProxyActor" in _title(it)]


def _title(process: psutil.Process) -> str:
    """Blank where it has ended."""
    try:
        return "".join(process.cmdline()[:1])
    except psutil.NoSuchProcess:
        return ""


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def write_certificate(certificate: Path, key: Path) -> None:
    """One of 127.0.0.1 that it signed itself, as on a field station without a name."""
    words = ["-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2"]
    words += ["-subj", "/CN=station", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", "req", *words], check=True, capture_output=True)
