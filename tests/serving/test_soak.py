"""A minute's soak of `trygon serve` as a user runs it: whatever is asked, nothing of it stays in memory.

The short form of `tests/benchmarks/serving.py --soak`.
"""

import concurrent.futures
import io
import itertools
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from trygon.testing.commands import command
from trygon.testing.processes import quiet_environment
from trygon.testing.served import write_served
from trygon.testing.servers import free_port, proxies, replicas, started, tritons

pytestmark = [pytest.mark.slow, pytest.mark.ray]

_WARM_UP_S, _SOAK_S = 20, 60
_LEAST, _MOST_MB = 600, {"proxy": 12, "replica": 25, "Triton": 40}
"""Requests, however long a slow machine takes, and what each part may grow by: twice what was seen to come and go. A
picture of each request would be 110 MB as it was sent, and 50 MB as Triton gets it, with four requests of seven; an
answer of each, 12 MB."""
_NUM_CLIENTS = 3


def _jpeg(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (400, 400, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


_PICTURES = [_jpeg(seed) for seed in range(4)]
_ASKED: list[tuple[str, dict[str, str], list[bytes], int]] = [
    ("/v1/classify", {}, _PICTURES, 200),
    ("/v1/classify", {"clade": "Canidae", "rank": "genus"}, _PICTURES, 200),
    ("/v1/classify", {"names": "a tent\nred fox\nfox number {number}"}, _PICTURES, 200),
    ("/v1/embed", {}, [*_PICTURES[1:], b"no picture"], 200),
    ("/v1/classify", {}, [it[:-1000] for it in _PICTURES], 422),
    ("/v1/classify", {"labels": "number {number}"}, _PICTURES, 422),
    ("/v1/number-{number}", {}, _PICTURES, 404),
]
"""Path, options, pictures and status. What has a number is a little other each time."""


@dataclass
class Soak:
    """Requests of all kinds in turn, of several clients at once."""

    client: httpx.Client
    number: "itertools.count[int]" = field(default_factory=itertools.count)
    first: dict[int, list[float]] = field(default_factory=dict)
    """What was answered first, by the place in `_ASKED`."""

    def run(self, seconds: float, least: int = 0) -> int:
        """Ask for so long, and so often at the least; how many were asked."""
        end_s, first = time.monotonic() + seconds, next(self.number)

        def ask() -> None:
            number = first
            while time.monotonic() < end_s or number < first + least:
                self.ask(number := next(self.number))

        with concurrent.futures.ThreadPoolExecutor(_NUM_CLIENTS) as pool:
            for asking in [pool.submit(ask) for _ in range(_NUM_CLIENTS)]:
                asking.result()
        return next(self.number) - first

    def ask(self, number: int) -> None:
        """One request, and what has to come of it."""
        place = number % len(_ASKED)
        path, options, pictures, status = _ASKED[place]
        form = {name: value.format(number=number) for name, value in options.items()}
        files = [("image", (f"{each}.jpg", picture)) for each, picture in enumerate(pictures)]
        while (response := self.client.post(path.format(number=number), data=form, files=files)).status_code == 503:
            time.sleep(int(response.headers["retry-after"]))  # it is busy, or loads the text encoder
        assert response.status_code == status, response.text
        if form == options:
            figures = _figures(response.json())
            assert figures == pytest.approx(self.first.setdefault(place, figures), abs=1e-4)


def _figures(reply: dict[str, Any]) -> list[float]:
    """The probabilities or vectors of an answer."""
    tops = [it["probability"] for answer in reply.get("answers", []) for it in answer["top"]]
    return [*tops, *(it for each in reply.get("embeddings", []) for it in each["vector"] or [])]


def _memory_mb(process: "subprocess.Popen[Any]") -> dict[str, float]:
    """What each part has for itself alone: files that are mapped and Ray's store are shared."""
    (triton,) = tritons(process)
    parts = {"proxy": proxies(process), "replica": replicas(process), "Triton": [triton, *triton.children()]}
    return {name: sum(map(_own_mb, some)) for name, some in parts.items()}


def _own_mb(process: psutil.Process) -> float:
    return process.memory_full_info().uss / 1e6


def test_nothing_of_a_minutes_requests_stays_in_memory(tmp_path: Path) -> None:
    tiny, port = write_served(tmp_path, side=224), free_port()
    words = command("serve", "--model", tiny.model_folder, "--labels", tiny.labels_folder, "--port", port)
    with (
        started(words, tmp_path / "log", port, quiet_environment()) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client,
    ):
        soak = Soak(client)
        soak.run(_WARM_UP_S, _LEAST // 4)  # threads, arenas, caches and the text encoder come with the first requests
        before = _memory_mb(process)
        num_asked = soak.run(_SOAK_S, _LEAST)
        grown = {name: value - before[name] for name, value in _memory_mb(process).items()}
    assert all(grown[name] < most for name, most in _MOST_MB.items()), (num_asked, before, grown)
