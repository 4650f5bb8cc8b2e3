"""Ports for a server on loopback that is started again on the same ones."""

import random
import socket
from pathlib import Path

HOST = "127.0.0.1"

_LASTING = range(20_000, 65_536)
"""Below are Ray's."""
_MOST_TRIES = 50


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that the system gives to no connection by itself, where there are such: nobody
    takes them while the server is started again."""
    passing = passing_ports()
    lasting = [port for port in _LASTING if port not in passing]
    sockets: list[socket.socket] = []
    try:
        for port in (*random.sample(lasting, min(_MOST_TRIES, len(lasting))), *[0] * count):
            if len(sockets) == count:
                break
            sockets.append(socket.socket())
            try:
                sockets[-1].bind((HOST, port))
            except OSError:
                sockets.pop().close()
        return [it.getsockname()[1] for it in sockets]
    finally:
        for it in sockets:
            it.close()


def passing_ports() -> range:
    """The ports that the system gives to connections while they last; all, where it does not tell."""
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        return _LASTING
    return range(low, high + 1)
