"""`trygon serve` as a user runs it: a real process with the real Triton and the real Ray Serve on loopback."""

import concurrent.futures
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from trygon.data.images import preprocess
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.testing.processes import family, living, quiet_environment
from trygon.testing.served import Served
from trygon.testing.tiny import write_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.ray]

JPEG = {"Content-Type": "image/jpeg"}


def _command(model: Path, labels: Path, port: int, *more: str) -> list[str]:
    words = ["serve", "--model", str(model), "--labels", str(labels), "--port", str(port), *more]
    return [sys.executable, "-m", "trygon_jobs", *words]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_ready(client: httpx.Client, process: subprocess.Popen[str], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise AssertionError("not ready in time")


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[str]
    client: httpx.Client
    tiny: Served
    port: int


@pytest.fixture(scope="module")
def running(tiny: Served) -> Iterator[Running]:
    port = _free_port()
    command = _command(tiny.model_folder, tiny.labels_folder, port)
    process = subprocess.Popen(
        command,
        env=quiet_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            _wait_ready(client, process)
            yield Running(process, client, tiny, port)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def _tritons(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [it for it in family(process.pid) if it.name() == "tritonserver"]


def test_answer_is_the_one_of_the_library(running: Running, photo: bytes) -> None:
    model, bank = running.tiny.model, LabelBank.load(running.tiny.labels_folder)
    vector_BD = model.encode_images(preprocess(photo, model.side, model.resize_mode)[None])
    expected = Classifier(bank, floor=0.3, k=3).classify(vector_BD)[0]
    reply = running.client.post("/v1/classify?k=3&floor=0.3", content=photo, headers=JPEG).raise_for_status().json()
    (answer,) = reply["answers"]
    assert [it["scientific"] for it in answer["top"]] == [taxon.scientific for taxon, _ in expected.top]
    assert answer["top"][0]["probability"] == pytest.approx(expected.top[0][1], abs=1e-3)
    assert reply["model"]["digest"] == model.digest
    assert reply["labels"]["digest"] == bank.tree.digest


def test_names_in_any_words_and_many_images(running: Running, photo: bytes) -> None:
    files = [("image", ("fox.jpg", photo, "image/jpeg"))] * 3
    form = {"names": "a tent\nred fox"}
    while (response := running.client.post("/v1/classify", files=files, data=form)).status_code == 503:
        assert response.headers["retry-after"]  # the text encoder is being loaded
        time.sleep(1)
    reply = response.raise_for_status().json()
    assert [{it["asked"] for it in answer["top"]} for answer in reply["answers"]] == [{"a tent", "red fox"}] * 3


@pytest.mark.parametrize(
    ("path", "content", "headers", "status"),
    [
        ("/v1/classify", b"not a picture", JPEG, 415),
        ("/v1/classify", b"", JPEG, 422),
        ("/v1/classify", b"{}", {"Content-Type": "application/json"}, 422),
        ("/v1/classify", b"{}", {"Content-Type": "text/plain"}, 415),
        ("/v1/classify?k=0", b"x", JPEG, 422),
        ("/v1/classify?floor=2", b"x", JPEG, 422),
        ("/v1/classify", bytes(20_000_001), JPEG, 413),
        ("/v1/other", b"", JPEG, 404),
    ],
)
def test_problems(running: Running, path: str, content: bytes, headers: dict[str, str], status: int) -> None:
    response = running.client.post(path, content=content, headers=headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert response.json()["title"]


def test_page_loads_nothing_from_elsewhere(running: Running) -> None:
    page = running.client.get("/").raise_for_status()
    assert "<h1>" in page.text
    assert 'src="http' not in page.text
    assert 'href="http' not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_overload_is_refused_with_a_time_to_come_back(running: Running, photo: bytes) -> None:
    files = [("image", ("fox.jpg", photo, "image/jpeg"))] * 8
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        limits = httpx.Limits(max_connections=64)
        with httpx.Client(base_url=running.client.base_url, timeout=60, limits=limits) as client:
            post = [pool.submit(client.post, "/v1/classify", files=files) for _ in range(200)]
            responses = [it.result() for it in post]
    refused = [it for it in responses if it.status_code != 200]
    assert {it.status_code for it in refused} == {503}
    assert len(responses) - len(refused) >= 8
    for response in refused:
        assert response.headers["retry-after"]
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == 503


def test_a_request_has_one_name_in_its_answer(running: Running) -> None:
    for given in ({}, {"X-Request-ID": "field-app.7"}):
        response = running.client.get("/healthz", headers=given)
        (name,) = response.headers.get_list("x-request-id")
        assert name == given.get("X-Request-ID", name)


def _replicas(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [it for it in family(process.pid) if it.cmdline() and it.cmdline()[0].startswith("ray::ServeReplica")]


@pytest.mark.parametrize("victims", [_tritons, _replicas])
def test_what_is_killed_under_load_comes_back_and_nobody_gets_a_wrong_answer(
    running: Running, photo: bytes, victims: Callable[[subprocess.Popen[str]], list[psutil.Process]]
) -> None:
    def ask() -> httpx.Response:
        return running.client.post("/v1/classify?floor=0", content=photo, headers=JPEG)

    def ask_until(done: threading.Event) -> list[httpx.Response]:
        responses = []
        while not done.is_set():
            responses.append(ask())
            time.sleep(0.02)
        return responses

    expected = ask().raise_for_status().json()["answers"]
    done = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask_until, done) for _ in range(4)]
        try:
            for victim in victims(running.process):
                victim.kill()
            deadline = time.monotonic() + 60
            while running.client.get("/readyz").status_code == 200 and time.monotonic() < deadline:
                time.sleep(0.01)
            _wait_ready(running.client, running.process, 90)
        finally:
            done.set()
    responses = [response for it in asking for response in it.result()]
    refused = [it for it in responses if it.status_code != 200]
    assert {it.status_code for it in refused} == {503}
    for response in refused:
        assert response.headers["retry-after"]
        assert response.headers["content-type"] == "application/problem+json"
        assert len(response.headers.get_list("x-request-id")) == 1
    for response in (*(it for it in responses if it.status_code == 200), ask()):
        (answer,), (wanted,) = response.json()["answers"], expected
        assert answer["taxon"]["scientific"] == wanted["taxon"]["scientific"]
        assert answer["taxon"]["probability"] == pytest.approx(wanted["taxon"]["probability"], abs=1e-4)


def test_one_signal_stops_everything(running: Running) -> None:
    """Last in this file: it ends the server of the others."""
    processes = family(running.process.pid)
    assert _tritons(running.process)
    folders = [Path(word) for word in _tritons(running.process)[0].cmdline() if word.endswith("/repository")]
    start = time.monotonic()
    # To the whole group, as a terminal sends Ctrl-C.
    os.killpg(running.process.pid, signal.SIGINT)
    out, err = running.process.communicate(timeout=30)
    assert running.process.returncode == 0
    assert time.monotonic() - start < 20
    assert not living(processes)
    assert not folders[0].exists()
    assert f"curl -F image=@photo.jpg http://127.0.0.1:{running.port}/v1/classify" in out
    assert "Traceback" not in err


def _refused(*command: str) -> str:
    result = subprocess.run(command, env=quiet_environment(), capture_output=True, text=True, timeout=60)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


def test_port_in_use_is_one_line(tiny: Served) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        error = _refused(*_command(tiny.model_folder, tiny.labels_folder, port))
    assert f"127.0.0.1:{port}" in error
    assert "--port" in error


def test_missing_model_labels_and_wrong_pairs_are_one_line(tiny: Served, tmp_path: Path) -> None:
    port = _free_port()
    assert str(tmp_path / "no") in _refused(*_command(tmp_path / "no", tiny.labels_folder, port))
    assert "build-labels" in _refused(*_command(tiny.model_folder, tmp_path, port))
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny.labels_folder, damaged)
    vectors = np.load(damaged / "vectors.npy")
    np.save(damaged / "vectors.npy", np.where(np.arange(4)[:, None] == 2, np.float16("nan"), vectors))
    assert "damaged" in _refused(*_command(tiny.model_folder, damaged, port))
    other = write_tiny_model(tmp_path / "other", seed=1)
    assert str(other) in _refused(*_command(other, tiny.labels_folder, port))


def test_preprocessing_of_the_test_is_not_trivial(photo: bytes, tiny: Served) -> None:
    image_CHW = preprocess(photo, tiny.model.side, tiny.model.resize_mode)
    assert image_CHW.shape == (3, 32, 32)
    assert np.std(image_CHW) > 10
