"""Watching and killing the processes below another one, to see that nothing stays behind and nothing is lost."""

import os
import signal
import subprocess
from contextlib import suppress
from typing import Any

import psutil


def family(pid: int) -> list[psutil.Process]:
    """All processes below one."""
    return psutil.Process(pid).children(recursive=True)


def living(processes: list[psutil.Process]) -> list[str]:
    """The names of those that still run. A zombie does not: it waits for whoever is process 1."""
    names = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                names.append(process.name())
        except psutil.NoSuchProcess:
            continue
    return names


def quiet_environment() -> dict[str, str]:
    """The environment of a child: one thread for torch, as tests run beside each other."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def kill_family(process: "subprocess.Popen[Any]") -> None:
    """SIGKILL a program, then what it had started: only its own descendants, by id."""
    children = family(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
