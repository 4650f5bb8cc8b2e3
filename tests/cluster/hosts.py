"""Two hosts of a cluster: network namespaces with an address and a raylet each, joined by a cable."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from trygon.testing.debian import install

_NAMES = ("trygon-one", "trygon-two")
_ADDRESSES = ("10.213.7.1", "10.213.7.2")
_PORT = 6399


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _remove() -> None:
    for name in _NAMES:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def can_make_hosts() -> bool:
    """Whether this user may, and has `ip`, or apt to bring it."""
    if os.geteuid() or not (shutil.which("ip") or shutil.which("apt-get")):
        return False
    install({"ip": "iproute2"})
    _remove()
    made = subprocess.run(["ip", "netns", "add", _NAMES[0]], check=False, capture_output=True).returncode == 0
    _remove()
    return made


class Hosts:
    """Two hosts of a cluster, the head of which runs on the first."""

    def __init__(self, folder: Path) -> None:
        _remove()
        self._folder = folder
        self._session = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # Ray's sockets need a short path
        _ip("link", "add", "trygon1", "type", "veth", "peer", "name", "trygon2")
        for name, address, cable in zip(_NAMES, _ADDRESSES, ("trygon1", "trygon2"), strict=True):
            _ip("netns", "add", name)
            _ip("link", "set", cable, "netns", name, "name", "eth0")
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", name, "link", "set", device, "up")

    def start(self, host: int) -> None:
        """Its raylet; the other comes after the head."""
        ray = str(Path(sys.executable).with_name("ray"))
        words = [ray, "start", "--block", f"--node-ip-address={_ADDRESSES[host]}", "--num-cpus=2"]
        words += ["--object-store-memory=200000000", "--disable-usage-stats"]
        if host == 0:
            words += ["--head", f"--port={_PORT}", "--include-dashboard=false", f"--temp-dir={self._session}"]
        else:
            words += [f"--address={_ADDRESSES[0]}:{_PORT}"]
        with (self._folder / f"host-{host}.log").open("ab") as log:
            self.run(host, words, stdout=log, stderr=log)

    def run(self, host: int, words: list[str], **options: Any) -> "subprocess.Popen[Any]":
        """Start a program there."""
        environment = os.environ | {
            "RAY_ADDRESS": f"{_ADDRESSES[0]}:{_PORT}", "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "eth0",  # the machine's own name is that of neither host
            "RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "500",
            "RAY_health_check_failure_threshold": "2", "RAY_health_check_initial_delay_ms": "0",
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        }  # fmt: skip
        if words[1] == "start":
            del environment["RAY_ADDRESS"]
        return subprocess.Popen(["ip", "netns", "exec", _NAMES[host], *words], env=environment, **options)

    def processes(self, host: int) -> list[psutil.Process]:
        """All that run there."""
        pids = subprocess.run(["ip", "netns", "pids", _NAMES[host]], check=True, capture_output=True, text=True)
        return [psutil.Process(int(pid)) for pid in pids.stdout.split() if psutil.pid_exists(int(pid))]

    def workers(self, host: int) -> int:
        """How many of them train."""
        return sum("RayTrainWorker" in " ".join(it.cmdline()) for it in self.processes(host))

    def stop(self, host: int) -> None:
        """As when the power goes: all of a host's processes at once."""
        for process in self.processes(host):
            process.send_signal(signal.SIGKILL)
        while self.processes(host):
            time.sleep(0.1)

    def close(self) -> None:
        """Stop both, and take them away."""
        for host in (1, 0):
            self.stop(host)
        _remove()
        shutil.rmtree(self._session, ignore_errors=True)
