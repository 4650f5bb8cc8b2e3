"""How many replicas there are follows the load: of `trygon serve` as a user runs it, and by a RayService's policy."""

import asyncio
import concurrent.futures
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton_client
import yaml

from trygon.models.triton_config import ENCODER
from trygon.models.triton_repository import write_repository
from trygon.testing.commands import command
from trygon.testing.processes import family, quiet_environment
from trygon.testing.served import Served
from trygon.testing.servers import free_port, replicas, started
from trygon.testing.tiny import write_tiny_model
from trygon_serving.embedded import Embedded
from trygon_serving.keys import add_key
from trygon_serving.triton import TritonEncoder
from trygon_serving.triton_figures import TritonFigures

pytestmark = [pytest.mark.slow, pytest.mark.ray]

RAYSERVICE = Path(__file__).parents[2] / "infra/k8s/rayservice.yaml"
JPEG = {"Content-Type": "image/jpeg"}
ONE, TWO, DRAINING = {"RUNNING": 1}, {"RUNNING": 2}, {"RUNNING": 1, "STOPPING": 1}

_WATCH = """
import sys, time, ray
from ray import serve
ray.init(sys.argv[1], logging_level="ERROR", log_to_driver=False)
while True:
    states = serve.status().applications["trygon"].deployments["classifier"].replica_states
    print(*(f"{getattr(state, 'value', state)}={count}" for state, count in states.items() if count), flush=True)
    time.sleep(0.5)
"""
"""A program that says once and again in which states Serve sees the replicas."""

_SERVE_RUN = """
from trygon.cluster.local import start_ray
start_ray()
from ray.serve.scripts import cli
cli()
"""
"""Ray's own command `serve`, on a Ray that is kept to this machine."""

Answered = concurrent.futures.Future[httpx.Response]

_SLOWLY = """
import time
_execute = TritonPythonModel.execute
TritonPythonModel.execute = lambda self, requests: time.sleep(1) or _execute(self, requests)
"""


class Watch:
    """The states of replicas, as they are now."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process, self.states = process, dict[str, int]()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.states = {state: int(count) for state, _, count in (it.partition("=") for it in line.split())}

    def until(self, states: dict[str, int], timeout_s: float = 180) -> None:
        """Block until the replicas are in these states."""
        deadline = time.monotonic() + timeout_s
        while self.states != states:
            assert self._process.poll() is None
            assert time.monotonic() < deadline, f"{self.states}, and not {states}"
            time.sleep(0.1)


@contextmanager
def _watching(process: "subprocess.Popen[Any]", environment: dict[str, str]) -> Iterator[Watch]:
    addresses = re.findall(r"--gcs-address=(\S+)", " ".join(word for it in family(process.pid) for word in _words(it)))
    # The first has it look for a Ray that is kept to loopback there.
    environment = environment | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
    words = [sys.executable, "-c", _WATCH, addresses[0]]
    watcher = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield Watch(watcher)
    finally:
        watcher.terminate()
        watcher.wait(30)


def _words(process: psutil.Process) -> list[str]:
    """None where it has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _environment() -> dict[str, str]:
    """With a token that the server and who watches it know."""
    return quiet_environment() | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _until(done: threading.Event, ask: Callable[[], httpx.Response]) -> list[httpx.Response]:
    responses = []
    while not done.is_set():
        responses.append(ask())
        time.sleep(0.1)
    return responses


def _held_by(client: httpx.Client, num_replicas: int, upload: Callable[[], Answered]) -> list[Answered]:
    """As many uploads as it takes until each of so many replicas has one: which of them gets the next is Serve's to
    choose, and its proxy hears of a new one later than who watches its state. Sixteen for each would be a load."""
    uploads, holding, deadline = [upload()], set[str](), time.monotonic() + 60
    while len(holding) < num_replicas:
        assert time.monotonic() < deadline, holding
        figures = client.get("/metrics").text
        holding |= set(re.findall(r'^trygon_held_bytes\{replica="([^"]+)"\} [1-9]', figures, re.MULTILINE))
        if len(uploads) < 12:
            uploads.append(upload())
        time.sleep(0.2)
    return uploads


def _slowly(content: bytes, end: threading.Event) -> Iterator[bytes]:
    """A body that comes by drops, and whole once it is to end."""
    position = 0
    while not end.is_set():
        yield content[position : position + 4]
        position += 4
        end.wait(2)
    yield content[position:]


def test_a_second_replica_comes_with_the_load_and_ends_what_it_has_when_the_load_goes(
    tiny: Served, photo: bytes, tmp_path: Path
) -> None:
    port, environment = free_port(), _environment()
    folders = ["--model", tiny.model_folder, "--labels", tiny.labels_folder]
    # Serve averages over 30 s. Earlier than that it would see the load again once the younger replica counts no more.
    scaling = ["--replicas", "1..2", "--scale-up-s", 1, "--scale-down-s", 25]
    words = command("serve", *folders, *scaling, "--port", port, "--limits.body-s", 300)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, limits=httpx.Limits(max_connections=64))
    load, trickle, uploads = threading.Event(), threading.Event(), threading.Event()

    def ask() -> httpx.Response:
        return client.post("/v1/classify?floor=0", content=photo, headers=JPEG)

    def ask_slowly(end: threading.Event) -> httpx.Response:
        return client.post("/v1/classify?floor=0", content=_slowly(photo, end), headers=JPEG)

    with (
        started(words, tmp_path / "log", port, environment) as process,
        client,
        _watching(process, environment) as watch,
        concurrent.futures.ThreadPoolExecutor(48) as pool,
    ):
        try:
            wanted = ask().raise_for_status().json()["answers"]
            watch.until(ONE)
            trickling = pool.submit(_until, trickle, ask)
            # In work from its head on: what has not come whole takes no CPU from the replica that starts.
            loading = [pool.submit(ask_slowly, load) for _ in range(32)]
            watch.until(TWO)
            load.set()
            loaded = [it.result() for it in loading]
            slow = _held_by(client, 2, lambda: pool.submit(ask_slowly, uploads))
            watch.until(DRAINING)
            time.sleep(3)  # without a request it would have ended by then
            assert (watch.states, len(replicas(process))) == (DRAINING, 2)
            uploads.set()
            answered = [it.result() for it in slow]
            watch.until(ONE)
            assert len(replicas(process)) == 1
        finally:
            for event in (load, trickle, uploads):
                event.set()
        responses = [*loaded, *trickling.result(), ask()]
    assert {it.status_code for it in answered} == {200}
    assert {it.status_code for it in responses} <= {200, 503}
    assert all(it.headers["retry-after"] for it in responses if it.status_code == 503)
    assert responses[-1].status_code == 200
    for response in (*answered, *(it for it in responses if it.status_code == 200)):
        (answer,) = response.json()["answers"]
        assert answer["taxon"]["scientific"] == wanted[0]["taxon"]["scientific"]


async def _flood(address: str, done: threading.Event, model: str = ENCODER) -> None:
    """Keep a Triton busy, past the server."""
    image_BCHW, client = np.zeros((32, 3, 32, 32), np.uint8), TritonEncoder(address, 16, model)

    async def ask() -> None:
        while not done.is_set():
            await client.encode(image_BCHW, 60)

    try:
        await asyncio.gather(*(ask() for _ in range(24)))
    finally:
        await client.close()


def test_triton_says_how_many_wait_and_nobody_else_does(triton: Embedded) -> None:
    async def waiting() -> int:
        done, queue = threading.Event(), TritonFigures(triton.metrics)
        assert await queue.pending() == 0
        flood = asyncio.create_task(_flood(triton.grpc, done))
        try:
            async with asyncio.timeout(60):
                while not (pending := await queue.pending()):
                    await asyncio.sleep(0.1)
        finally:
            done.set()
            await flood
        return pending

    assert asyncio.run(waiting()) > 0
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection, and says nothing
        for port in (silent.getsockname()[1], 1):
            assert asyncio.run(TritonFigures(f"http://127.0.0.1:{port}/metrics").pending()) is None


@contextmanager
def _busy(triton: Embedded, other: Path) -> Iterator[None]:
    """A queue in a Triton that is long for a reason that takes no CPU from a replica that starts: another model, which
    does nothing for a second before it encodes."""
    write_repository(triton.repository, str(other), suffix="-slow")
    names, done = ("image_encoder-slow", "text_encoder-slow"), threading.Event()
    program = triton.repository / names[0] / "1" / "model.py"
    program.write_text(program.read_text() + _SLOWLY)
    with triton_client.InferenceServerClient(triton.grpc) as client, concurrent.futures.ThreadPoolExecutor(1) as pool:
        try:
            client.load_model(names[0])
            flooding = pool.submit(asyncio.run, _flood(triton.grpc, done, names[0]))
            yield
            done.set()
            flooding.result()
        finally:
            done.set()
            client.unload_model(names[0])
            for name in names:
                shutil.rmtree(triton.repository / name)


def test_a_replica_comes_when_pictures_wait_in_triton_alone(tiny: Served, triton: Embedded, tmp_path: Path) -> None:
    """With the manifest's own application, which nobody asks here: the Triton of its replica has other clients."""
    port, environment = free_port(), _environment()
    config = yaml.safe_load(yaml.safe_load(RAYSERVICE.read_text())["spec"]["serveConfigV2"])
    (application,) = config["applications"]
    (classifier,) = application["deployments"]
    add_key(tmp_path / "keys.json", "tests")
    config["http_options"] |= {"host": "127.0.0.1", "port": port}
    version = {"model": str(tiny.model_folder), "labels": {"names": str(tiny.labels_folder)}}
    application["args"] |= {"keys": str(tmp_path / "keys.json"), "models": {"tiny": {"v1": version}}}
    application["args"] |= {"triton": triton.grpc, "triton_metrics": triton.metrics}
    classifier["max_replicas_per_node"] = 2
    classifier["autoscaling_config"] |= {"min_replicas": 1, "max_replicas": 2, "upscale_delay_s": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    words = [sys.executable, "-c", _SERVE_RUN, "run", str(tmp_path / "config.yaml")]
    with (
        started(words, tmp_path / "log", port, environment) as process,
        _watching(process, environment) as watch,
    ):
        watch.until(ONE)
        # Some twenty, of the 64 pictures that a replica takes: more than an eighth.
        with _busy(triton, write_tiny_model(tmp_path / "other", seed=1)):
            watch.until(TWO)
