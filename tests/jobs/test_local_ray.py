"""The local Ray: who reaches it."""

import ipaddress
import os

import psutil
import pytest
import ray

from trygon.testing.processes import family


@ray.remote
def _process() -> int:
    return os.getpid()


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_it_listens_on_loopback_alone() -> None:
    worker = ray.get(_process.remote())
    processes = family(os.getpid())
    assert worker in {process.pid for process in processes}
    listening = [
        ipaddress.ip_address(it.laddr.ip)
        for process in processes
        for it in process.net_connections("inet")
        if it.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 5
    open_to_others = [it for it in listening if not (getattr(it, "ipv4_mapped", None) or it).is_loopback]
    assert open_to_others == []
