"""The embedded Triton: the real server from the PyPI wheel, on loopback, restarted when it dies, gone when we are.

Run as a program (`python -m trygon_serving.server`), this module is the guard between the launcher and the server. It
learns of the launcher's end, however that comes, by the end of its standard input. It imports nothing of trygon.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_READY = b"ready\n"
"""What the launcher writes once the server answers: from then on a server that dies is started again."""

_RESTARTED = ("--exit-on-error", "false")
"""A model whose folder is gone since must not keep the others from being served again."""

_STARTS = 2
"""Rarely a start of the Python backend fails beside other work (`PyCapsule_GetPointer called with incorrect name`),
and the next one does not."""
_RESTART_PAUSE_S = 1.0
_STOP_TIMEOUT_S = 5.0
_PR_SET_PDEATHSIG = 1


def guard(command: list[str], folder: Path) -> int:
    """Keep the server running until standard input ends; the exit code of a server that never became ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole foreground group: the launcher decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ready, log_wanted, num_starts = False, False, 1
    server = _spawn(command, folder)
    try:
        while True:
            if select.select([sys.stdin], [], [], 0.2)[0]:
                if not os.read(sys.stdin.fileno(), len(_READY)):
                    return 0
                ready = True
            if server.poll() is None:
                continue
            if not ready and num_starts < _STARTS:
                num_starts += 1
                server = _spawn(command, folder)
                continue
            if not ready:
                log_wanted = True
                return server.returncode or 1
            time.sleep(_RESTART_PAUSE_S)
            server = _spawn([*command, *_RESTARTED], folder)
    finally:
        _stop(server)
        if not log_wanted:
            shutil.rmtree(folder, ignore_errors=True)


def _spawn(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "triton.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # with its model processes it is one group, which can be ended as one
            preexec_fn=_die_with_parent,
        )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to end; then end its whole group, model processes included."""
    server.terminate()
    try:
        server.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(guard(sys.argv[2:], Path(sys.argv[1])))
