"""A Triton of one's own (`--triton HOST:PORT`), which nobody here starts again: it goes away or hangs, and is back."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from trygon.limits import Limits
from trygon.testing.served import Served
from trygon.testing.servers import tritons
from trygon_serving.args import AppArgs
from trygon_serving.catalogue import VersionSpec, Weights, write_catalogue
from trygon_serving.embedded import Embedded
from trygon_serving.rollout import set_share

OverHttp = Callable[[AppArgs], AbstractContextManager[str]]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_triton(tiny: Served) -> Iterator[Embedded]:
    """The real server. What starts it again after a second stands for whoever does so elsewhere, whenever they do."""
    with Embedded.start(Weights.of(str(tiny.model_folder)), hangs_after=600) as server:
        server.wait_ready()
        yield server


@contextmanager
def _killed(server: Embedded) -> Iterator[None]:
    """It is gone, and its guard sees that afterwards only."""
    (triton,) = tritons(server.guard)
    os.kill(server.guard.pid, signal.SIGSTOP)
    try:
        triton.kill()
        yield
    finally:
        os.kill(server.guard.pid, signal.SIGCONT)


@contextmanager
def _stopped(server: Embedded) -> Iterator[None]:
    """It takes connections, and says nothing."""
    (triton,) = tritons(server.guard)
    triton.suspend()
    try:
        yield
    finally:
        triton.resume()


@pytest.mark.parametrize("away", [_killed, _stopped])
def test_what_needs_a_triton_that_is_away_is_refused_until_it_is_back_and_no_restart_is_needed(
    over_http: OverHttp,
    own_triton: Embedded,
    tiny: Served,
    photo: bytes,
    away: Callable[[Embedded], AbstractContextManager[None]],
) -> None:
    spec = VersionSpec(model=str(tiny.model_folder), labels={"names": str(tiny.labels_folder)})
    args = AppArgs(models={"tiny": {"v1": spec}}, triton=own_triton.grpc, limits=Limits(answer_s=3))
    with over_http(args) as address, httpx.Client(base_url=address, timeout=60) as client:

        def ask() -> httpx.Response:
            return client.post("/v1/classify?floor=0", content=photo, headers={"Content-Type": "image/jpeg"})

        def until_ready() -> None:
            deadline = time.monotonic() + 120
            while (told := client.get("/readyz")).status_code != 200:
                assert time.monotonic() < deadline, told.text
                time.sleep(0.2)

        until_ready()
        expected = ask().raise_for_status().json()["answers"]
        with away(own_triton):
            refused = [ask()]
            assert client.get("/readyz").status_code == 503
            deadline = time.monotonic() + 60
            # What hangs may answer yet, until it did not twice.
            while (ready := client.get("/v1/models").json()[0]["ready"]) or refused[-1].status_code != 503:
                assert time.monotonic() < deadline, (ready, refused[-1].text)
                refused.append(ask())
            assert client.get("/healthz").status_code == 200
        until_ready()
        (answer,), (wanted,) = ask().raise_for_status().json()["answers"], expected
    assert answer["taxon"]["scientific"] == wanted["taxon"]["scientific"]
    assert {it.status_code for it in refused} <= ({503} if away is _killed else {503, 504})
    assert all(it.headers["retry-after"] for it in refused)


def test_shares_are_those_of_the_file_though_triton_hangs(
    over_http: OverHttp, own_triton: Embedded, tiny: Served, tmp_path: Path
) -> None:
    """A new version may be what it hangs with: the way back must not wait for it."""
    spec = VersionSpec(model=str(tiny.model_folder), labels={"names": str(tiny.labels_folder)})
    file = tmp_path / "models.json"
    write_catalogue(file, {"tiny": {"v1": spec, "v2": spec}})
    args = AppArgs(models=str(file), triton=own_triton.grpc)
    with over_http(args) as address, httpx.Client(base_url=address, timeout=60) as client:

        def shares() -> list[float]:
            return [it["share"] for it in client.get("/v1/models").raise_for_status().json() if it["ready"]]

        deadline = time.monotonic() + 120
        while shares() != [0.5, 0.5]:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        with _stopped(own_triton):
            start = time.monotonic()
            for version in ("v2", "v1", "v2", "v1", "v2"):
                set_share(file, f"tiny/{version}=1")
                while [it["model"]["version"] for it in client.get("/v1/models").json() if it["share"]] != [version]:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            took_s = time.monotonic() - start
    assert took_s < 18, "each question to Triton is given up after 5 s, and one was waited for each time"
