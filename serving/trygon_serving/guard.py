"""Keeps the embedded Triton running: starts it again when it dies or hangs, and ends it when the launcher ends.

Run as a program between the two (`python -m trygon_serving.guard FOLDER NUM_LOOKS COMMAND…`), it learns
of the launcher's end, however that comes, by the end of its standard input. It imports nothing of trygon.
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

from trygon_serving.stall import Watch

READY = b"ready\n"
"""What the launcher writes once the server answers: from then on a server that ends is started again, always."""

LOG, HTTP = "triton.log", "http"
"""In the server's folder: what it writes, and the socket where it tells what it loads."""

_RESTARTED = ("--exit-on-error", "false")
"""A model whose folder is gone since must not keep the others from being served again."""

_STARTS = 2
"""Rarely a start of the Python backend fails beside other work (`PyCapsule_GetPointer called with incorrect name`),
and the next one does not."""
_POLL_S = 0.2
_RESTART_PAUSE_S, _MOST_DOUBLINGS = 1.0, 5
_TOLD_AFTER = 3
"""Restarts in a row that came to nothing."""
_MOST_PATIENCE, _FORGOTTEN_S = 16, 3600.0
"""A model that hangs whenever it is loaded must not take the others away all the time: each hang within an hour of the
last one has twice its patience, up to so many times."""
_STOP_TIMEOUT_S = 5.0
_PR_SET_PDEATHSIG = 1


class Launcher:
    """The process at the other end of standard input."""

    is_content = False
    """Whether it has seen the server answer."""

    def has_ended(self, within_s: float) -> bool:
        """Whether it ends within some seconds; they are shorter where it says something."""
        if not select.select([sys.stdin], [], [], within_s)[0]:
            return False
        said = os.read(sys.stdin.fileno(), len(READY))
        self.is_content = self.is_content or bool(said)
        return not said


def guard(command: list[str], folder: Path, num_looks: int) -> int:
    """Keep the server running until the launcher ends; the exit code of a server that never became ready.

    `num_looks`: see `Watch`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole foreground group: the launcher decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    launcher, log_wanted, num_starts, num_failed = Launcher(), False, 1, 0
    patience, hung_s = 1, -_FORGOTTEN_S
    server, watch = _spawn(command, folder), Watch(folder / HTTP, num_looks)
    try:
        while not launcher.has_ended(_POLL_S):
            hangs = server.poll() is None and watch.hangs(server.pid)
            if server.poll() is None and not hangs:
                continue
            _end_group(server, folder)
            if hangs:
                is_again = time.monotonic() - hung_s < _FORGOTTEN_S
                patience, hung_s = min(2 * patience, _MOST_PATIENCE) if is_again else 1, time.monotonic()
                _note(folder, f"Error: it hung while it loaded {watch.loading}")
            if launcher.is_content:
                if hangs:
                    _tell(f"Triton hung while it loaded {watch.loading}; it is started again")
                num_failed = 0 if watch.has_answered else num_failed + 1
                if num_failed == _TOLD_AFTER:
                    _tell(f"Triton does not start again, and is tried further; its log: {folder / LOG}")
                if launcher.has_ended(_RESTART_PAUSE_S * 2 ** min(num_failed, _MOST_DOUBLINGS)):
                    return 0
                server = _spawn([*command, *_RESTARTED], folder)
            elif num_starts < _STARTS:
                num_starts += 1
                server = _spawn(command, folder)
            else:
                log_wanted = True
                return server.returncode or 1
            watch = Watch(folder / HTTP, num_looks * patience)
        return 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what goes on here ends by itself
        _stop(server, folder)
        if not log_wanted:
            shutil.rmtree(folder, ignore_errors=True)


def region_prefix(folder: Path) -> str:
    """How the shared memory of a server's models is called: it is theirs alone, and can be removed after them."""
    return f"{folder.name}-"


def _spawn(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    (folder / HTTP).unlink(missing_ok=True)  # a killed server leaves it, and the next would find it taken
    with (folder / LOG).open("ab") as log:
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


def _stop(server: subprocess.Popen[bytes], folder: Path) -> None:
    """Ask the server to end; then end its whole group."""
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(_STOP_TIMEOUT_S)
    _end_group(server, folder)


def _end_group(server: subprocess.Popen[bytes], folder: Path) -> None:
    """End a server that may have ended, and its model processes, and remove the memory that they shared."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    for region in Path("/dev/shm").glob(f"{region_prefix(folder)}*"):
        region.unlink(missing_ok=True)


def _note(folder: Path, line: str) -> None:
    with contextlib.suppress(OSError), (folder / LOG).open("a") as log:  # a full disk must not end the guard
        log.write(f"{line}\n")


def _tell(line: str) -> None:
    """To whoever started the launcher, if anybody reads it."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(guard(sys.argv[3:], Path(sys.argv[1]), int(sys.argv[2])))
