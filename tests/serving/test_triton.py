"""The embedded Triton: the real server, the real backend, the vectors of the model itself."""

import asyncio
import os
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest
import torch
import tritonclient.grpc as triton_client
from open_clip import SimpleTokenizer
from PIL import Image
from safetensors.torch import load_file, save_file
from tritonclient.utils import InferenceServerException

from trygon.errors import TrygonError, UserError
from trygon.models.encoders import find_encoder, load_encoder
from trygon.models.folder import WEIGHTS_NAME, describe
from trygon.models.model import load_model, save_model
from trygon.models.towers import build_network
from trygon.models.triton_config import ENCODER, MAX_BATCH, MAX_TEXT_BYTES
from trygon.models.triton_repository import write_own_repository, write_repository
from trygon.testing.processes import family, living
from trygon.testing.served import Served
from trygon.testing.servers import tritons
from trygon.testing.tiny import TINY_CONFIG, write_tiny_model
from trygon_jobs.export_model import ExportModelConfig
from trygon_jobs.export_model import main as export_model
from trygon_serving import embedded
from trygon_serving.catalogue import Weights
from trygon_serving.embedded import Embedded
from trygon_serving.problem import Problem
from trygon_serving.repository import Repository
from trygon_serving.triton import TritonEncoder

pytestmark = pytest.mark.slow

DIM: int = TINY_CONFIG["model_cfg"]["embed_dim"]


async def _encode_all(address: str, image_BCHW: np.ndarray) -> np.ndarray:
    client = TritonEncoder(address, DIM)
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


def test_an_exported_encoder_runs_in_it_without_torch(tiny: Served, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for number in range(10):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / f"{number}.png")
    encoder = tmp_path / "encoder"
    ref, pictures = str(tiny.model_folder), str(tmp_path)
    export_model(ExportModelConfig(model=ref, encoder="openvino", pictures=pictures, out=str(encoder)))
    with Embedded.start(Weights.of(str(tiny.model_folder), f"openvino:{encoder}")) as server:
        server.wait_ready()
        image_BCHW = rng.integers(0, 255, (12, 3, 32, 32), np.uint8)
        vector_BD = asyncio.run(_encode_all(server.grpc, image_BCHW))
        mapped = {Path(part.path).name for it in family(server.guard.pid) for part in it.memory_maps()}
        tower = describe(str(tiny.model_folder))
        # A labelling run that begins with the server may go on without it, and the other way round.
        there, here = (find_encoder(it, tower) for it in (f"triton:{server.grpc}", f"openvino:{encoder}"))
        assert there.identity == here.identity
    np.testing.assert_allclose(vector_BD, tiny.model.encode_images(image_BCHW), atol=1e-4)
    assert any("openvino" in name for name in mapped)
    assert not any("torch" in name for name in mapped)


def test_a_repository_of_ones_own_loads_warms_up_and_answers(triton: Embedded, tiny: Served) -> None:
    write_own_repository(triton.repository, str(tiny.model_folder), suffix="-written")
    names = ("image_encoder-written", "text_encoder-written")
    image_BCHW = np.random.default_rng(4).integers(0, 255, (MAX_BATCH, 3, 32, 32), np.uint8)

    async def encode() -> tuple[np.ndarray, np.ndarray]:
        client = TritonEncoder(triton.grpc, DIM, names[0])
        try:
            return await client.encode(image_BCHW, 30), await client.encode_texts(["a photo of a fox."], 30)
        finally:
            await client.close()

    with triton_client.InferenceServerClient(triton.grpc) as client:
        try:
            for name in names:
                client.load_model(name)  # fails where a warm-up does
                config: Any = client.get_model_config(name, as_json=True)
                assert [it["batch_size"] for it in config["config"]["model_warmup"]] == [1, MAX_BATCH]
            vector_BD, text_BD = asyncio.run(encode())
        finally:
            for name in names:
                client.unload_model(name)
                shutil.rmtree(triton.repository / name)
    np.testing.assert_allclose(vector_BD, tiny.model.encode_images(image_BCHW), atol=1e-4)
    np.testing.assert_allclose(text_BD, tiny.model.encode_texts(["a photo of a fox."]), atol=1e-4)


def test_a_real_triton_reads_the_config_of_onnx_and_misses_its_backend_alone(
    triton: Embedded, tiny: Served, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    for number in range(10):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / f"{number}.png")
    ref, graph = str(tiny.model_folder), str(tmp_path / "graph")
    export_model(ExportModelConfig(model=ref, encoder="onnx", pictures=str(tmp_path), out=graph))
    write_own_repository(triton.repository, ref, f"onnx:{graph}", "-onnx", text=False)
    with triton_client.InferenceServerClient(triton.grpc) as client:
        try:
            with pytest.raises(InferenceServerException, match="backend library for backend 'onnxruntime"):
                client.load_model("image_encoder-onnx")
        finally:
            shutil.rmtree(triton.repository / "image_encoder-onnx")


@pytest.mark.parametrize("texts", [["a photo of Vulpes vulpes.", "", "Luchs, Åland, 狐"], ["x" * 5000, "a"] * 16])
def test_vectors_of_captions_are_those_of_the_model(triton: Embedded, tiny: Served, texts: list[str]) -> None:
    async def encode() -> np.ndarray:
        client, deadline = TritonEncoder(triton.grpc, DIM), time.monotonic() + 120
        try:
            while True:
                try:
                    return await client.encode_texts(texts, 30)
                except Problem as problem:  # it is being loaded, which may take long on a busy machine
                    if problem.status != 503 or time.monotonic() > deadline:
                        raise
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


def test_labelling_finds_its_model_under_any_name_and_asks_where_it_runs_in_several_ways(
    triton: Embedded, tiny: Served, tmp_path: Path
) -> None:
    other = write_tiny_model(tmp_path / "other", seed=1)
    names = ("image_encoder-other", "image_encoder-ways")
    write_repository(triton.repository, str(other), suffix="-other")
    write_repository(triton.repository, str(tiny.model_folder), suffix="-ways")
    config = triton.repository / names[1] / "config.pbtxt"
    config.write_text(config.read_text().replace('string_value: "torch"', 'string_value: "openvino:0123"'))
    image_BCHW = np.zeros((2, 3, 32, 32), np.uint8)
    spec, tower = f"triton:{triton.grpc}", describe(str(tiny.model_folder))
    with triton_client.InferenceServerClient(triton.grpc) as client:
        try:
            for name in names:
                client.load_model(name)
            choice = find_encoder(spec, describe(str(other)))
            assert (choice.identity, choice.place) == ("torch", f"{triton.grpc}/{names[0]}")
            expected_BD = load_model(other, "cpu").encode_images(image_BCHW)
            np.testing.assert_allclose(load_encoder(choice, 1).encode_images(image_BCHW), expected_BD, atol=1e-4)
            with pytest.raises(UserError, match=f"choose one with {spec}/image_encoder or {spec}/{names[1]}"):
                find_encoder(spec, tower)
            assert find_encoder(f"{spec}/image_encoder", tower).identity == "torch"
            assert find_encoder(f"{spec}/{names[1]}", tower).identity == "openvino:0123"
        finally:
            for name in (*names, *(it.replace("image", "text") for it in names)):
                client.unload_model(name)
                shutil.rmtree(triton.repository / name)


def test_the_server_tells_what_its_model_is(triton: Embedded, tiny: Served) -> None:
    async def ask() -> None:
        repository, client = Repository(triton.grpc), TritonEncoder(triton.grpc, DIM)
        (held,) = [it for it in (await repository.held()).values() if it.name == client.name]
        tower = held.tower
        assert (tower.side, tower.dim, tower.digest) == (tiny.model.side, tiny.model.dim, tiny.model.digest)
        assert tower.resize_mode is tiny.model.resize_mode
        assert await client.is_ready()
        await client.close()
        await repository.close()

    asyncio.run(ask())


def test_a_vector_of_another_width_is_a_problem(triton: Embedded) -> None:
    async def ask() -> None:
        client = TritonEncoder(triton.grpc, DIM + 1)
        try:
            with pytest.raises(Problem) as caught:
                await client.encode(np.zeros((1, 3, 32, 32), np.uint8), 30)
        finally:
            await client.close()
        assert caught.value.status == 502

    asyncio.run(ask())


def test_image_of_another_size_is_a_problem_and_not_a_crash(triton: Embedded) -> None:
    with pytest.raises(Problem):
        asyncio.run(_encode_all(triton.grpc, np.zeros((1, 3, 8, 8), np.uint8)))


@pytest.fixture(scope="module")
def slow_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A server that takes some 20 ms for a picture. The last test of this file ends it."""
    folder = tmp_path_factory.mktemp("slow")
    sizes = {"image_size": 224, "patch_size": 16, "width": 192, "layers": 6, "head_width": 64}
    config = TINY_CONFIG | {"model_cfg": TINY_CONFIG["model_cfg"] | {"vision_cfg": sizes}}
    save_model(folder, build_network(config["model_cfg"], None), config, SimpleTokenizer())
    with Embedded.start(Weights.of(str(folder))) as server:
        server.wait_ready()
        yield server


def test_what_nobody_waits_for_any_more_is_not_encoded(slow_triton: Embedded) -> None:
    """How long an answer may take is set for the server that asks; Triton has no limit of its own."""

    async def ask(num: int, seconds: float) -> list[object]:
        client = TritonEncoder(slow_triton.grpc, DIM)
        image_BCHW = np.zeros((1, 3, 224, 224), np.uint8)
        try:
            asked = (client.encode(image_BCHW, seconds) for _ in range(num))
            return await asyncio.gather(*asked, return_exceptions=True)
        finally:
            await client.close()

    given_up = [it for it in asyncio.run(ask(250, 0.1)) if isinstance(it, Problem)]
    assert len(given_up) > 200
    assert {it.status for it in given_up} == {504}
    (vector_BD,) = asyncio.run(ask(1, 60))
    assert isinstance(vector_BD, np.ndarray)
    with triton_client.InferenceServerClient(slow_triton.grpc) as client:
        (told,) = cast("Any", client.get_inference_statistics(ENCODER)).model_stats
    assert told.inference_stats.success.count < 150  # two batches may be on their way


def test_its_owner_alone_can_tell_it_what_to_load(triton: Embedded) -> None:
    """Which runs code: no port takes orders, and no one else may enter the folder of its sockets."""
    assert stat.S_IMODE(triton.folder.stat().st_mode) == 0o700
    assert triton.grpc.startswith(f"unix:{triton.folder}/")
    (server,) = tritons(triton.guard)
    listening = [it.laddr for it in server.net_connections("tcp") if it.status == psutil.CONN_LISTEN]
    assert [f"http://{it.ip}:{it.port}/metrics" for it in listening] == [triton.metrics]


def test_a_path_that_is_too_long_for_a_socket_is_told(
    tiny: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (deep := tmp_path / ("d" * 100)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(UserError, match="set TMPDIR to another"):
        Embedded.start(Weights.of(str(tiny.model_folder)))
    assert not list(deep.iterdir())


def test_nobody_there_is_503() -> None:
    with pytest.raises(Problem) as caught:
        asyncio.run(_encode_all("127.0.0.1:1", np.zeros((1, 3, 8, 8), np.uint8)))
    assert caught.value.status == 503
    assert caught.value.headers["Retry-After"]
    assert "127.0.0.1" not in caught.value.body.decode(), "no client needs to know where Triton is"


def test_broken_weights_are_told_in_one_line(tiny: Served, tmp_path: Path) -> None:
    for file in tiny.model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: None if file.suffix == ".json" else 500])
    with (
        Embedded.start(Weights.of(str(tmp_path))) as server,
        pytest.raises(TrygonError, match="Triton did not start: ") as caught,
    ):
        server.wait_ready()
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not server.folder.exists()


def test_weights_that_are_no_numbers_are_told_before_anything_is_answered(
    triton: Embedded, tiny: Served, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.model_folder, folder)
    weights = load_file(folder / WEIGHTS_NAME)
    weights["visual.proj"] = torch.full_like(weights["visual.proj"], float("nan"))
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    write_repository(triton.repository, str(folder), suffix="-broken")
    with triton_client.InferenceServerClient(triton.grpc) as client:
        try:
            with pytest.raises(InferenceServerException, match="its vectors are no numbers"):
                client.load_model("image_encoder-broken")
        finally:
            for name in ("image_encoder-broken", "text_encoder-broken"):
                shutil.rmtree(triton.repository / name)


def test_vectors_that_are_no_numbers_are_no_answer(triton: Embedded, tiny: Served, tmp_path: Path) -> None:
    """One damaged word of the vocabulary, which loading the model does not meet."""
    folder = tmp_path / "model"
    shutil.copytree(tiny.model_folder, folder)
    weights = load_file(folder / WEIGHTS_NAME)
    weights["text.token_embedding.weight"][SimpleTokenizer().encode("zebra")] = float("inf")
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    write_repository(triton.repository, str(folder), suffix="-word")

    async def encode() -> None:
        client = TritonEncoder(triton.grpc, DIM, "image_encoder-word")
        try:
            assert np.isfinite(await client.encode_texts(["a photo of lion."], 30)).all()
            with pytest.raises(Problem, match="text_encoder-word gave a vector that is no numbers") as caught:
                await client.encode_texts(["a photo of zebra."], 30)
            assert caught.value.status == 502
        finally:
            await client.close()

    with triton_client.InferenceServerClient(triton.grpc) as client:
        try:
            asyncio.run(encode())
        finally:
            client.unload_model("text_encoder-word")
            for name in ("image_encoder-word", "text_encoder-word"):
                shutil.rmtree(triton.repository / name)


def test_missing_wheel_names_the_command(monkeypatch: pytest.MonkeyPatch, tiny: Served) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(UserError, match=f"pip install --no-deps {embedded.WHEEL}"):
        Embedded.start(Weights.of(str(tiny.model_folder)))


def test_server_ends_with_its_guard_and_its_guard_with_us(slow_triton: Embedded) -> None:
    """Last in this file: it ends the server of another."""
    processes = family(slow_triton.guard.pid)
    assert len(processes) >= 2  # the server and the image encoder's process
    slow_triton.require_guard()
    os.kill(slow_triton.guard.pid, signal.SIGKILL)
    psutil.Process(slow_triton.guard.pid).wait(10)
    with pytest.raises(TrygonError, match="start the server again"):
        slow_triton.require_guard()
    psutil.wait_procs(processes, timeout=10)
    deadline = time.monotonic() + 10
    while living(processes) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not living(processes)
