"""Whether a Triton hangs: it loads models or lets them go, and none of their processes does anything.

Seen with Triton 2.51: where the process of a Python model stands still for a second as it starts, or ends before its
first word, the server waits for it for ever, and with it whoever asks for that model again. How long a load takes says
nothing, as weights may come from a slow disk or a hub: it is the processes that are looked at, in Linux's /proc.
Imports nothing of trygon.
"""

import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LOOK_PAUSE_S = 1.0
_TIMEOUT_S = 1.0
_FEW_TICKS = 5
"""Hundredths of a second of CPU, of all processes from one look to the next: what only waits uses less."""


@dataclass(frozen=True)
class _Work:
    """What a process has done so far."""

    ticks: int
    num_bytes: int
    """Read and written."""
    is_busy: bool
    """Whether its main thread waits for the disk, or would go on if a CPU were free for it."""


class Watch:
    """Looks at one run of a server, once a second. What counts are looks and not seconds: where the machine itself
    stood still, nobody hangs."""

    def __init__(self, http_socket: Path, num_looks: int) -> None:
        """`num_looks`: so many without any movement are a hang."""
        self._socket, self._num_looks = http_socket, num_looks
        self.has_answered = False
        """Whether the server has told once what it loads."""
        self._loading: list[str] | None = None
        self._before: Mapping[int, _Work] = {}
        self._num_still = 0
        self._next_s = 0.0

    @property
    def loading(self) -> str:
        """What it loaded when it was last looked at."""
        return ", ".join(self._loading or ["its models"])

    def hangs(self, server: int) -> bool:
        """Look, if it is time to; `server` is the process, which leads the group of its models' processes."""
        if time.monotonic() < self._next_s:
            return False
        self._next_s = time.monotonic() + _LOOK_PAUSE_S
        self._loading = _loading(self._socket)
        self.has_answered = self.has_answered or self._loading is not None
        if self._loading == []:
            self._num_still = 0
            return False
        now = {pid: work for pid, words, work in _group(server) if self._counts(words)}
        self._num_still = 0 if _has_moved(self._before, now) else self._num_still + 1
        self._before = now
        return self._num_still >= self._num_looks

    def _counts(self, words: str) -> bool:
        """Whether a command is a process of what is loaded; of a server that says nothing of that, all are."""
        return self._loading is None or any(f"/{name}/1/" in words for name in self._loading)


class _Connection(http.client.HTTPConnection):
    """Over a socket of this machine."""

    def __init__(self, place: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._place = place

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._place))


def _loading(place: Path) -> list[str] | None:
    """The models that the server loads or lets go; None where it does not say: it starts, or hangs itself."""
    connection = _Connection(place)
    try:
        connection.request("POST", "/v2/repository/index", b"{}")
        answer = connection.getresponse()
        index = json.loads(answer.read()) if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    if index is None:
        return None
    return [it["name"] for it in index if it.get("state") in ("LOADING", "UNLOADING")]


def _group(leader: int) -> Iterator[tuple[int, str, _Work]]:
    """The processes of a group: number, command, work. Of the leader, which reads figures all the time, no bytes."""
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        with suppress(OSError):  # it has ended, or is another user's
            # Behind the name, which may hold anything: proc(5) counts these from 3.
            fields = (place / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[5 - 3]) != leader:
                continue
            pid, ticks = int(place.name), int(fields[14 - 3]) + int(fields[15 - 3])
            num_bytes = 0 if pid == leader else _num_bytes(place)
            yield pid, (place / "cmdline").read_text(errors="replace"), _Work(ticks, num_bytes, fields[0] in "DR")


def _num_bytes(process: Path) -> int:
    with suppress(OSError):
        lines = (line.split(": ") for line in (process / "io").read_text().splitlines())
        return sum(int(value) for name, value in lines if name in ("rchar", "wchar", "read_bytes"))
    return 0


def _has_moved(before: Mapping[int, _Work], now: Mapping[int, _Work]) -> bool:
    if before.keys() != now.keys():
        return True
    num_ticks = sum(work.ticks - before[pid].ticks for pid, work in now.items())
    has_read = any(work.num_bytes != before[pid].num_bytes for pid, work in now.items())
    return has_read or num_ticks > _FEW_TICKS or any(work.is_busy for work in now.values())
