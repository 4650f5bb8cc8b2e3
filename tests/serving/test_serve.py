"""`trygon serve` as a user runs it: a real process with the real Triton and the real Ray Serve on loopback."""

import concurrent.futures
import ipaddress
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import psutil
import pytest

from trygon.data.images import preprocess
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.models.model import load_model
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.commands import command, trygon
from trygon.testing.processes import family, living, quiet_environment
from trygon.testing.served import TAXA, Served
from trygon.testing.servers import free_port, proxies, replicas, tritons, wait_ready, write_certificate
from trygon.testing.tiny import write_tiny_model
from trygon_serving.catalogue import VersionSpec
from trygon_serving.rollout import add_version, set_share

pytestmark = [pytest.mark.slow, pytest.mark.ray]

JPEG = {"Content-Type": "image/jpeg"}
Reply = TypeVar("Reply")


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[str]
    client: httpx.Client
    tiny: Served
    port: int
    models: Path
    trust: ssl.SSLContext
    """Of its own certificate, and no other."""
    announced: str
    """What it said when it was ready."""


def _models(file: Path, *words: str) -> str:
    """`trygon models` with a file; what it lists then."""
    result = trygon("models", file, *words)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def running(tiny: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    port = free_port()
    file = tmp_path_factory.mktemp("models") / "models.json"
    _models(file, "--add", "tiny/v1", "--model", str(tiny.model_folder), "--labels", str(tiny.labels_folder))
    certificate, key = file.with_name("cert.pem"), file.with_name("key.pem")
    write_certificate(certificate, key)
    words = ["serve", "--models", file, "--port", port, "--limits.header-bytes", 8000]
    words += ["--tls-certificate", certificate, "--tls-key", key]
    trust = ssl.create_default_context(cafile=certificate)
    process = subprocess.Popen(
        command(*words),
        env=quiet_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", timeout=30, verify=trust) as client:
            wait_ready(client, process)
            yield Running(process, client, tiny, port, file, trust, _announced(process))
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def _announced(process: subprocess.Popen[str]) -> str:
    """All that it prints, up to the example of a request."""
    assert process.stdout
    lines, patience = [], threading.Timer(60, process.kill)
    patience.start()
    for line in process.stdout:
        lines.append(line)
        if "/v1/classify" in line:
            break
    patience.cancel()
    return "".join(lines)


def test_figures_say_of_which_replica_they_are_and_tritons_are_there_too(running: Running) -> None:
    running.client.get("/v1/taxa").raise_for_status()
    figures = running.client.get("/metrics").raise_for_status().text
    assert re.search(r'^trygon_requests_total\{path="/v1/taxa",replica="\w+",status="200"\} ', figures, re.MULTILINE)
    assert 'nv_inference_request_success{model="image_encoder",version="1"}' in figures, (
        "its Triton's stand beside them"
    )


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
        with httpx.Client(base_url=running.client.base_url, timeout=60, limits=limits, verify=running.trust) as client:
            post = [pool.submit(client.post, "/v1/classify", files=files) for _ in range(200)]
            responses = [it.result() for it in post]
    refused = [it for it in responses if it.status_code != 200]
    assert {it.status_code for it in refused} == {503}
    assert len(responses) - len(refused) >= 8
    for response in refused:
        assert response.headers["retry-after"]
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == 503


def test_a_head_is_refused_by_the_limit_that_was_given_and_by_the_proxy_itself_if_it_does_not_end(
    running: Running,
) -> None:
    refused = running.client.get("/", headers={"X": "x" * 8000})
    assert (refused.status_code, refused.json()["detail"]) == (431, "at most 8000 bytes")
    with (
        socket.create_connection(("127.0.0.1", running.port), timeout=30) as plain,
        running.trust.wrap_socket(plain, server_hostname="127.0.0.1") as asking,
    ):
        asking.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000)
        assert asking.recv(4096).startswith(b"HTTP/1.1 431 ")


def test_bodies_and_headers_are_looked_at_before_serves_proxy_has_them(running: Running, photo: bytes) -> None:
    parts = (b"x" * 1_000_000 for _ in range(30))  # how many there will be is not said
    response = running.client.post("/v1/classify", content=parts, headers={"Content-Type": "image/jpeg"})
    assert (response.status_code, response.json()["title"]) == (413, "The body is too large")
    assert "x-request-id" in response.headers
    orders = [(b"X-Request-Timeout-Seconds", b"0.001"), (b"X-Session-Id", b"\xff"), (b"Content-Type", b"image/jpeg")]
    for more in ([], [(b"X-Request-Timeout-Seconds", b"\xff"), (b"X-Request-ID", b"\xff")]):
        assert running.client.post("/v1/classify", content=photo, headers=[*orders, *more]).status_code == 200
    response = running.client.get("/", headers={"Host": "elsewhere.example"})
    assert (response.status_code, response.headers["content-type"]) == (421, "application/problem+json")


def test_all_that_was_started_listens_on_loopback_alone(running: Running) -> None:
    """Ray's and Triton's processes too, and not the port of requests alone."""
    listening = [
        ipaddress.ip_address(it.laddr.ip)
        for process in family(running.process.pid)
        for it in process.net_connections("inet")
        if it.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 5
    open_to_others = [it for it in listening if not (getattr(it, "ipv4_mapped", None) or it).is_loopback]
    assert open_to_others == []


def test_https_alone_is_spoken_where_there_is_a_certificate(running: Running) -> None:
    assert running.client.get("/").status_code == 200
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://127.0.0.1:{running.port}/healthz")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{running.port}/healthz")


def test_a_request_has_one_name_in_its_answer(running: Running) -> None:
    for given in ({}, {"X-Request-ID": "field-app.7"}):
        response = running.client.get("/healthz", headers=given)
        (name,) = response.headers.get_list("x-request-id")
        assert name == given.get("X-Request-ID", name)


def _ask_until(done: threading.Event, ask: Callable[[], Reply]) -> list[Reply]:
    responses = []
    while not done.is_set():
        responses.append(ask())
        time.sleep(0.1)  # the two cores are for what is starting
    return responses


def test_a_canary_and_its_way_back_lose_no_request(running: Running, photo: bytes, tmp_path: Path) -> None:
    """What the docs' commands do, while others ask. What is answered in between is compared in test_models.py."""
    other = write_tiny_model(tmp_path / "other", seed=1)
    bank = LabelBank.build(TaxonTree.from_taxa(TAXA[1:]), load_model(other, "cpu"), TextType.SCI)
    bank.save(tmp_path / "names")
    pairs = {"v1": (running.tiny.model.digest, LabelBank.load(running.tiny.labels_folder).tree.digest)}
    pairs["v2"] = (bank.model_digest, bank.tree.digest)

    def ask() -> httpx.Response:
        return running.client.post("/v1/classify", content=photo, headers=JPEG)

    def until(version: str, holds: Callable[[dict[str, Any]], bool]) -> None:
        deadline = time.monotonic() + 180
        while True:
            cards = running.client.get("/v1/models").raise_for_status().json()
            if any(it["model"]["version"] == version and holds(it) for it in cards):
                return
            assert time.monotonic() < deadline, cards
            time.sleep(0.2)

    done = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(_ask_until, done, ask) for _ in range(3)]
        try:
            labels = {"names": str(tmp_path / "names")}
            add_version(running.models, "tiny/v2", VersionSpec(model=str(other), labels=labels))
            until("v2", lambda card: card["ready"])
            set_share(running.models, "tiny/v2=0.5")
            until("v2", lambda card: card["share"] == 0.5)
            seen = {ask().raise_for_status().json()["model"]["version"] for _ in range(40)}
            assert seen == {"v1", "v2"}
            set_share(running.models, "tiny/v1=1")
            until("v2", lambda card: card["share"] == 0)
            assert {ask().json()["model"]["version"] for _ in range(10)} == {"v1"}
            assert "tiny/v2" not in _models(running.models, "--remove", "tiny/v2")
        finally:
            done.set()
    responses = [response for it in asking for response in it.result()]
    assert {it.status_code for it in responses} == {200}
    for reply in (it.json() for it in responses):
        assert (reply["model"]["digest"], reply["labels"]["digest"]) == pairs[reply["model"]["version"]]


def test_a_proxy_that_is_killed_under_load_comes_back_and_nobody_gets_a_wrong_answer(
    running: Running, photo: bytes
) -> None:
    """Meanwhile nobody listens: connections break, or are refused."""

    def ask() -> httpx.Response | None:
        try:
            return running.client.post("/v1/classify?floor=0", content=photo, headers=JPEG)
        except httpx.TransportError:
            return None

    wanted = running.client.post("/v1/classify?floor=0", content=photo, headers=JPEG).json()["answers"][0]["taxon"]
    done = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(_ask_until, done, ask) for _ in range(2)]
        try:
            (victim,) = proxies(running.process)
            victim.kill()
            victim.wait(30)
            wait_ready(running.client, running.process, within_s=90)
        finally:
            done.set()
    responses = [response for it in asking for response in it.result()]
    assert None in responses
    told = [it for it in (*responses, ask()) if it is not None]
    assert {it.status_code for it in told} <= {200, 503}
    for response in (it for it in told if it.status_code == 200):
        (answer,) = response.json()["answers"]
        assert answer["taxon"]["scientific"] == wanted["scientific"]
        assert answer["taxon"]["probability"] == pytest.approx(wanted["probability"], abs=1e-4)
    assert told[-1].status_code == 200


@pytest.mark.parametrize("victims", [tritons, replicas])
def test_what_is_killed_under_load_comes_back_and_nobody_gets_a_wrong_answer(
    running: Running, photo: bytes, victims: Callable[[subprocess.Popen[str]], list[psutil.Process]]
) -> None:
    def ask() -> httpx.Response:
        return running.client.post("/v1/classify?floor=0", content=photo, headers=JPEG)

    expected = ask().raise_for_status().json()["answers"]
    done = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(_ask_until, done, ask) for _ in range(2)]
        try:
            killed = victims(running.process)
            assert killed
            for victim in killed:
                victim.kill()
            deadline = time.monotonic() + 180
            while not set(victims(running.process)) - set(killed):  # its successor
                assert time.monotonic() < deadline
                time.sleep(0.3)
            wait_ready(running.client, running.process, within_s=90)
        finally:
            done.set()
    responses = [response for it in asking for response in it.result()]
    refused = [it for it in responses if it.status_code != 200]
    assert {it.status_code for it in refused} <= {503}  # requests may also wait for the new one
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
    assert tritons(running.process)
    folders = [Path(word) for word in tritons(running.process)[0].cmdline() if word.endswith("/repository")]
    start = time.monotonic()
    # To the whole group, as a terminal sends Ctrl-C.
    os.killpg(running.process.pid, signal.SIGINT)
    _, err = running.process.communicate(timeout=30)
    assert running.process.returncode == 0
    assert time.monotonic() - start < 20
    assert not living(processes)
    assert not folders[0].exists()
    assert f"curl -F image=@photo.jpg https://127.0.0.1:{running.port}/v1/classify" in running.announced
    assert "Traceback" not in err


def test_preprocessing_of_the_test_is_not_trivial(photo: bytes, tiny: Served) -> None:
    image_CHW = preprocess(photo, tiny.model.side, tiny.model.resize_mode)
    assert image_CHW.shape == (3, 32, 32)
    assert np.std(image_CHW) > 10
