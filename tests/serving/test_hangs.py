"""A Triton that never answers a load: the real server, whose model's process ends before it has said a word."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from trygon.testing.served import Served
from trygon.testing.servers import tritons
from trygon_serving.args import AppArgs
from trygon_serving.catalogue import VersionSpec, Weights
from trygon_serving.embedded import Embedded
from trygon_serving.guard import region_prefix

pytestmark = pytest.mark.slow

_PATIENCE_S = 120


@pytest.fixture
def hasty_triton(tiny: Served) -> Iterator[Embedded]:
    """A server that is soon taken to hang."""
    with Embedded.start(Weights.of(str(tiny.model_folder)), hangs_after=8) as server:
        server.wait_ready()
        yield server


def _regions(server: Embedded) -> set[Path]:
    return set(Path("/dev/shm").glob(f"{region_prefix(server.folder)}*"))


def test_a_text_encoder_that_hangs_is_answered_once_triton_was_started_again(
    over_http: Callable[[AppArgs], AbstractContextManager[str]], hasty_triton: Embedded, tiny: Served, photo: bytes
) -> None:
    spec = VersionSpec(model=str(tiny.model_folder), labels={"names": str(tiny.labels_folder)})
    models = {"tiny": {"v1": spec}}
    args = AppArgs(models=models, triton=hasty_triton.grpc, repository=str(hasty_triton.repository))
    # The backend prefers a program that lies beside the model.
    broken = hasty_triton.repository / "text_encoder" / "triton_python_backend_stub"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    first, regions = tritons(hasty_triton.guard), _regions(hasty_triton)
    assert regions
    with over_http(args) as address, httpx.Client(base_url=address, timeout=60) as client:
        deadline = time.monotonic() + _PATIENCE_S

        def ask() -> httpx.Response:
            headers = {"Content-Type": "image/jpeg"}
            return client.post("/v1/classify?names=a tent", content=photo, headers=headers)

        while (reply := ask()).json()["title"] == "The model is not ready":
            assert time.monotonic() < deadline, reply.text
            time.sleep(0.2)
        assert reply.status_code == 503, reply.text
        broken.unlink()
        statuses = set()
        while (reply := ask()).status_code != 200:
            statuses.add(reply.status_code)
            assert time.monotonic() < deadline, reply.text
            time.sleep(0.2)
    assert statuses <= {503}
    assert reply.json()["answers"][0]["top"][0]["asked"] == "a tent"
    assert not first[0].is_running()
    assert tritons(hasty_triton.guard)
    assert not regions & _regions(hasty_triton)  # its memory went with it
