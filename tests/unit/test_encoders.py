"""Encoders by name: the vectors of the model itself, from every runtime and from several threads at once."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from open_clip import SimpleTokenizer
from PIL import Image

from trygon.data.images import ResizeMode
from trygon.data.picked import pick_pictures
from trygon.errors import UserError
from trygon.models.encoder_folder import read_card
from trygon.models.encoders import ENCODERS, find_encoder, load_encoder
from trygon.models.encoders.choice import EncoderChoice
from trygon.models.folder import ImageTower, describe
from trygon.models.model import Model, load_model, save_model
from trygon.models.towers import build_network
from trygon.testing.tiny import TINY_CONFIG, TINY_SIDE, write_tiny_model
from trygon_jobs.export_model import ExportModelConfig
from trygon_jobs.export_model import main as export_model


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve pictures, a file that is none, and a broken one."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(12):
        coarse = Image.fromarray(rng.integers(0, 255, (4, 5, 3), np.uint8))
        coarse.resize((80, 64)).save(root / f"{number}.jpg")
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "notes.txt").write_text("none")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def exported(folder: Path, pictures: Path) -> Path:
    """The model folder with all of its exported encoders beside the model."""
    for encoder in ("openvino", "openvino-int8", "onnx"):
        export_model(ExportModelConfig(model=str(folder), encoder=encoder, pictures=str(pictures)))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_model(folder, "cpu")


@pytest.fixture(scope="module")
def tower(folder: Path) -> ImageTower:
    return describe(str(folder))


def _images(pictures: Path, count: int) -> np.ndarray:
    squares = list(pick_pictures(str(pictures)).squares(TINY_SIDE, ResizeMode.SQUASH))
    return np.stack([squares[number % len(squares)] for number in range(count)])


@pytest.mark.parametrize(("name", "least"), [("torch", 1 - 1e-6), ("torch-bf16", 0.995)])
def test_vectors_are_those_of_the_model(
    name: str, least: float, tower: ImageTower, model: Model, pictures: Path
) -> None:
    _compare(name, least, tower, model, pictures)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("openvino", 1 - 1e-6), ("openvino-int8", 0.97), ("onnx", 1 - 1e-6)])
@pytest.mark.usefixtures("exported")
def test_exported_vectors_are_those_of_the_model(
    name: str, least: float, tower: ImageTower, model: Model, pictures: Path
) -> None:
    _compare(name, least, tower, model, pictures)


@pytest.mark.slow
@pytest.mark.usefixtures("exported")
def test_bf16_vectors_are_those_of_the_model(tower: ImageTower, model: Model, pictures: Path) -> None:
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU does not compute in bf16")
    _compare("openvino-bf16", 0.995, tower, model, pictures)


_FIND = """
from trygon.models.encoders import find_encoder
from trygon.models.folder import describe

find_encoder("openvino-bf16", describe({folder!r}))
"""


@pytest.mark.slow
def test_bf16_is_refused_where_the_cpu_does_not_compute_in_it(folder: Path) -> None:
    """When it is looked for, whether it was exported or not. OpenVINO takes the CPU for an older one here."""
    words = [sys.executable, "-c", _FIND.format(folder=str(folder))]
    old = os.environ | {"OV_CPU_MAX_ISA": "AVX2"}
    result = subprocess.run(words, env=old, capture_output=True, text=True, timeout=120, check=False)
    assert result.stderr.splitlines()[-1].endswith(
        "UserError: --encoder openvino-bf16: this CPU does not compute in bf16; give openvino or openvino-int8"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("openvino-int8", 0.97), ("onnx", 1 - 1e-6)])
def test_a_tower_of_convolutions_is_exported_with_its_head(
    name: str, least: float, pictures: Path, tmp_path: Path
) -> None:
    vision = {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "mlp", "image_size": TINY_SIDE}
    config = TINY_CONFIG | {"model_cfg": TINY_CONFIG["model_cfg"] | {"vision_cfg": vision}}
    save_model(tmp_path, build_network(config["model_cfg"], None), config, SimpleTokenizer())
    values = {"model": str(tmp_path), "encoder": name, "pictures": str(pictures)}
    export_model(ExportModelConfig.model_validate(values))
    _compare(name, least, describe(str(tmp_path)), load_model(tmp_path, "cpu"), pictures)


def _compare(name: str, least: float, tower: ImageTower, model: Model, pictures: Path) -> None:
    """The encoder beside the model, on batches of any size, and called by several threads."""
    encoder = load_encoder(find_encoder(name, tower), num_threads=2)
    for count in (1, 5, 8, 11):
        image_BCHW = _images(pictures, count)
        vector_BD = encoder.encode_images(image_BCHW)
        assert vector_BD.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vector_BD, axis=1), 1, atol=1e-5 if name != "torch-bf16" else 5e-3)
        assert (vector_BD * model.encode_images(image_BCHW)).sum(1).min() > least
    assert len(encoder.encode_images(_images(pictures, 3)[:0])) == 0
    image_BCHW = _images(pictures, 24)
    alone_BD = encoder.encode_images(image_BCHW)
    with ThreadPoolExecutor(4) as pool:
        for vector_BD in pool.map(lambda _: encoder.encode_images(image_BCHW), range(8)):
            np.testing.assert_allclose(vector_BD, alone_BD, atol=1e-5)


_FIRST_AT_ONCE = """
import sys
import threading

import numpy as np

from trygon.models.encoders import find_encoder, load_encoder
from trygon.models.folder import describe

sys.setswitchinterval(1e-6)
tower = describe(sys.argv[1])


def encode(encoder, barrier):
    barrier.wait()
    encoder.encode_images(np.zeros((2, 3, tower.side, tower.side), np.uint8))


for name in sys.argv[2:]:
    encoder, barrier = load_encoder(find_encoder(name, tower), num_threads=4), threading.Barrier(4)
    threads = [threading.Thread(target=encode, args=(encoder, barrier)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(name)
"""


@pytest.mark.slow
def test_several_threads_may_be_the_first_to_call(exported: Path) -> None:
    """As a worker's are, in a process where that runtime has encoded nothing yet: OpenVINO's module has a lock that it
    must not hold while it waits for the interpreter's."""
    names = ["openvino", "onnx", "torch"]
    words = [sys.executable, "-c", _FIRST_AT_ONCE, str(exported), *names]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stdout.split()) == (0, names), result.stderr


@pytest.mark.slow
def test_export_says_what_it_is_made_of_and_stands(
    exported: Path, pictures: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    card = read_card(str(exported / "encoders/openvino-int8"))
    assert card
    assert (card.model_digest, card.num_fitted, card.num_compared) == (model.digest, 10, 2)
    assert 0.97 < card.least_cosine <= card.mean_cosine <= 1.0001
    export_model(ExportModelConfig(model=str(exported), pictures=str(pictures)))
    assert "it stood here already" in capsys.readouterr().out
    tower = describe(str(exported))
    assert find_encoder("openvino-int8", tower).identity == f"openvino-int8:{card.digest}"
    for spec, digest, words in (
        (f"openvino:{exported / 'encoders/openvino'}", "another", "was made of another model"),
        (f"openvino-int8:{exported / 'encoders/openvino'}", tower.digest, "what lies in"),
    ):
        with pytest.raises(UserError, match=words):
            find_encoder(spec, replace(tower, digest=digest))


def test_what_cannot_be_used_is_said_in_one_line(tower: ImageTower) -> None:
    hub = ImageTower("hf-hub:someone/model", "", 32, 16, tower.resize_mode)
    for spec, of, words in (
        ("onnx-tensorrt", tower, f"there are {', '.join(ENCODERS)}"),
        ("onnx", replace(tower, ref="other"), "trygon export-model --model other --encoder onnx"),
        ("torch:x", tower, "takes no place"),
        ("openvino", replace(tower, ref="other"), "trygon export-model --model other --encoder openvino"),
        ("openvino", hub, "openvino:FOLDER"),
        ("triton", tower, "triton:HOST:PORT"),
        ("triton:127.0.0.1:9", tower, "does not answer"),
    ):
        with pytest.raises(UserError) as caught:
            find_encoder(spec, of)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_damaged_graph_is_told_in_one_line(tower: ImageTower, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match=r"model\.onnx cannot be loaded: ") as caught:
        load_encoder(EncoderChoice("onnx", tower, str(tmp_path), "onnx"), num_threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoder", "module", "extra"), [("onnx", "onnxscript", "onnx"), ("openvino", "nncf", "openvino")]
)
def test_export_without_its_library_names_what_to_install(
    tower: ImageTower,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoder: str,
    module: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    values = {"model": tower.ref, "encoder": encoder, "pictures": str(pictures), "out": str(tmp_path / "out")}
    with pytest.raises(UserError, match=rf"^[^\n]+: pip install 'trygon\[{extra}\]'$"):
        export_model(ExportModelConfig.model_validate(values))


def test_export_wants_real_pictures(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one.jpg").write_bytes(b"\xff\xd8\xff")
    for pictures, words in ((tmp_path / "none", "no pictures lie there"), (tmp_path, "only 0 of the pictures")):
        with pytest.raises(UserError, match=words):
            export_model(ExportModelConfig(model=str(folder), pictures=str(pictures), out=str(tmp_path / "out")))
    assert read_card(str(tmp_path / "out")) is None
