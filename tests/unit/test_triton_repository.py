"""The Triton model repository: configs that Triton's own schema parses, and a description without loading."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from trygon.data.images import ResizeMode
from trygon.errors import UserError
from trygon.models.encoder_folder import encoder_place
from trygon.models.encoders import find_encoder
from trygon.models.encoders.onnx import OnnxEncoder
from trygon.models.folder import CONFIG_NAME, WEIGHTS_NAME, describe
from trygon.models.model import load_model
from trygon.models.triton_config import ENCODER, MAX_BATCH, MAX_TEXT_BYTES, TEXT_ENCODER, onnx_image_encoder
from trygon.models.triton_repository import ONNX, TENSORRT, interpreter_path, write_own_repository, write_repository
from trygon.testing.commands import trygon
from trygon.testing.photos import draw_photo
from trygon.testing.tiny import TINY_CONFIG, TINY_SIDE, write_tiny_model
from trygon_jobs.export_model import ExportModelConfig
from trygon_jobs.export_model import main as export_model
from trygon_serving.triton import tower_of


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(10):
        draw_photo(folder / f"{number}.jpg", hue=20 * number, cutout=False)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A model folder with the graph of its image tower beside the model."""
    folder = write_tiny_model(tmp_path_factory.mktemp("exported"))
    export_model(ExportModelConfig(model=str(folder), encoder="onnx", pictures=str(pictures)))
    return folder


def _config(repository: Path, name: str) -> Any:
    text = (repository / name / "config.pbtxt").read_text()
    return text_format.Parse(text, pb.ModelConfig())  # pyright: ignore[reportAttributeAccessIssue]


def _files(repository: Path) -> set[str]:
    return {str(path.relative_to(repository)) for path in repository.rglob("[!.]*") if path.is_file()}


def _warm_up(config: Any) -> list[tuple[int, str, int, list[int], bool]]:
    return [
        (sample.batch_size, name, tensor.data_type, list(tensor.dims), tensor.zero_data)
        for sample in config.model_warmup
        for name, tensor in sample.inputs.items()
    ]


def test_description_agrees_with_the_loaded_model(model_folder: Path) -> None:
    model = load_model(model_folder, "cpu")
    tower = describe(str(model_folder))
    for field in dataclasses.fields(tower):
        assert getattr(tower, field.name) == getattr(model, field.name), field.name


def test_repository_parses_and_says_what_a_client_needs(model_folder: Path, tmp_path: Path) -> None:
    tower = write_repository(tmp_path, str(model_folder))
    config = _config(tmp_path, ENCODER)
    assert (config.name, config.backend) == (ENCODER, "python")
    assert list(config.input[0].dims) == [3, TINY_SIDE, TINY_SIDE]
    assert list(config.output[0].dims) == [TINY_CONFIG["model_cfg"]["embed_dim"]]
    assert config.HasField("dynamic_batching")
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    assert parameters["digest"] == tower.digest == load_model(model_folder, "cpu").digest
    assert ResizeMode(parameters["resize_mode"]) is ResizeMode.SQUASH
    compile((tmp_path / ENCODER / "1" / "model.py").read_text(), "model.py", "exec")
    captions = _config(tmp_path, TEXT_ENCODER)
    assert captions.output == config.output
    assert captions.parameters["digest"].string_value == tower.digest
    assert (tmp_path / TEXT_ENCODER / "1" / "model.py").is_file()
    # The server that trygon starts is to be ready soon: its program warms itself up.
    assert _warm_up(config) == _warm_up(captions) == []


def test_a_repository_of_ones_own_warms_both_encoders_up(model_folder: Path, tmp_path: Path) -> None:
    tower = write_own_repository(tmp_path, str(model_folder), suffix="-second")
    config, captions = _config(tmp_path, f"{ENCODER}-second"), _config(tmp_path, f"{TEXT_ENCODER}-second")
    assert (config.name, captions.name) == (f"{ENCODER}-second", f"{TEXT_ENCODER}-second")
    assert config.backend == captions.backend == "python"
    assert tower_of(config) == tower == describe(str(model_folder))
    for it, entry, dims in ((config, "image", [3, TINY_SIDE, TINY_SIDE]), (captions, "text", [MAX_TEXT_BYTES])):
        assert _warm_up(it) == [(size, entry, it.input[0].data_type, dims, True) for size in (1, MAX_BATCH)]


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [ONNX, TENSORRT])
def test_the_graph_lies_in_the_repository_and_is_what_its_config_says(
    exported: Path, tmp_path: Path, encoder: str
) -> None:
    tower = write_own_repository(tmp_path, str(exported), encoder, "-b", text=False, tensorrt_cache="/engines")
    assert _files(tmp_path) == {f"{ENCODER}-b/config.pbtxt", f"{ENCODER}-b/1/model.onnx"}
    config = _config(tmp_path, f"{ENCODER}-b")
    assert (config.name, config.backend, config.max_batch_size) == (f"{ENCODER}-b", "onnxruntime", MAX_BATCH)
    assert config.dynamic_batching.default_queue_policy.max_queue_size
    assert tower_of(config) == tower
    assert str(tmp_path.parent) not in str(config).replace(tower.ref, "")  # no other file of this machine
    # With TensorRT its vectors are others.
    digest = find_encoder(ONNX, tower).identity.removeprefix(f"{ONNX}:")
    assert config.parameters["encoder"].string_value == f"{encoder}:{digest}"

    (entry,), (output,) = config.input, config.output
    session = onnxruntime.InferenceSession(tmp_path / f"{ENCODER}-b/1/model.onnx", providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape[1:]) == (entry.name, "tensor(uint8)", list(entry.dims))
    assert (given.name, given.type, given.shape[1:]) == (output.name, "tensor(float)", list(output.dims))
    assert isinstance(taken.shape[0], str)  # any batch
    assert given.shape[0] == taken.shape[0]
    assert entry.data_type == pb.TYPE_UINT8  # pyright: ignore[reportAttributeAccessIssue]
    assert output.data_type == pb.TYPE_FP32  # pyright: ignore[reportAttributeAccessIssue]

    image_BCHW = np.random.default_rng(0).integers(0, 255, (MAX_BATCH, *entry.dims), np.uint8)
    expected_BD = load_model(exported, "cpu").encode_images(image_BCHW)
    assert [sample.batch_size for sample in config.model_warmup] == [1, MAX_BATCH]
    for size, name, data_type, dims, zero in _warm_up(config):
        assert (name, data_type, dims, zero) == (entry.name, entry.data_type, list(entry.dims), True)
        (vector_BD,) = session.run([output.name], {name: image_BCHW[:size]})
        np.testing.assert_allclose(np.asarray(vector_BD), expected_BD[:size], atol=1e-5)


@pytest.mark.slow
def test_tensorrt_has_a_gpu_and_a_folder_for_the_engines_of_each_model(exported: Path, tmp_path: Path) -> None:
    write_own_repository(tmp_path, str(exported), ONNX)
    plain = _config(tmp_path, ENCODER)
    assert not plain.HasField("optimization")
    assert plain.instance_group[0].kind == pb.ModelInstanceGroup.KIND_AUTO  # pyright: ignore[reportAttributeAccessIssue]
    assert _config(tmp_path, TEXT_ENCODER).backend == "python"
    # Beside the model, and in a folder that is named.
    place = encoder_place(str(exported), ONNX)
    for encoder in (TENSORRT, f"{TENSORRT}:{place}"):
        write_own_repository(tmp_path, str(exported), encoder, tensorrt_cache="/engines")
        config = _config(tmp_path, ENCODER)
        (group,) = config.instance_group
        assert group.kind == pb.ModelInstanceGroup.KIND_GPU  # pyright: ignore[reportAttributeAccessIssue]
        (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
        assert not config.optimization.execution_accelerators.cpu_execution_accelerator
        assert accelerator.name == "tensorrt"
        engines = accelerator.parameters.pop("trt_engine_cache_path")
        assert accelerator.parameters == {"precision_mode": "FP16", "trt_engine_cache_enable": "1"}
        assert Path(engines).parent == Path("/engines")
    choice = find_encoder(ONNX, describe(str(exported)))
    another = onnx_image_encoder(choice.tower, dataclasses.replace(choice, identity="onnx:0123"), "/engines")
    (accelerator,) = another.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.parameters["trt_engine_cache_path"] != engines


@pytest.mark.slow
def test_another_encoder_and_another_model_take_the_place_of_the_former(exported: Path, tmp_path: Path) -> None:
    other, repository = write_tiny_model(tmp_path / "other", seed=1), tmp_path / "repository"
    program = {f"{name}/{file}" for name in (ENCODER, TEXT_ENCODER) for file in ("config.pbtxt", "1/model.py")}
    write_own_repository(repository, str(other))
    write_own_repository(repository, str(other), suffix="-beside")
    beside = {f"{name}-beside/{file}" for name in (ENCODER, TEXT_ENCODER) for file in ("config.pbtxt", "1/model.py")}
    assert _files(repository) == program | beside
    write_own_repository(repository, str(exported), ONNX, text=False)
    assert _files(repository) == {f"{ENCODER}/config.pbtxt", f"{ENCODER}/1/model.onnx"} | beside
    assert _config(repository, ENCODER).parameters["digest"].string_value == describe(str(exported)).digest
    stood = (repository / ENCODER / "1/model.onnx").stat()
    write_own_repository(repository, str(exported), ONNX, text=False)
    assert (repository / ENCODER / "1/model.onnx").stat() == stood
    tower = write_own_repository(repository, str(other))
    assert _files(repository) == program | beside
    assert {_config(repository, name).parameters["digest"].string_value for name in (ENCODER, TEXT_ENCODER)} == {
        tower.digest
    }


def test_what_somebody_else_put_into_the_repository_stays(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / TEXT_ENCODER).mkdir()
    (tmp_path / TEXT_ENCODER / "config.pbtxt").write_text('name: "text_encoder"')
    write_own_repository(tmp_path, str(model_folder), text=False)
    assert (tmp_path / TEXT_ENCODER / "config.pbtxt").is_file()


@pytest.mark.slow
def test_weights_too_large_for_onnx_lie_beside_the_graph(
    model_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of 1.5 GB: too much for a test.
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 0)
    graph, repository = tmp_path / "graph", tmp_path / "repository"
    config = ExportModelConfig(model=str(model_folder), encoder="onnx", pictures=str(pictures), out=str(graph))
    export_model(config)
    write_own_repository(repository, str(model_folder), f"{ONNX}:{graph}", text=False)
    parts = {f"{ENCODER}/1/{name}" for name in ("model.onnx", "model.onnx.data")}
    assert _files(repository) == {f"{ENCODER}/config.pbtxt"} | parts
    image_BCHW = np.random.default_rng(0).integers(0, 255, (5, 3, TINY_SIDE, TINY_SIDE), np.uint8)
    vector_BD = OnnxEncoder(repository / ENCODER / "1/model.onnx").encode_images(image_BCHW)
    np.testing.assert_allclose(vector_BD, load_model(model_folder, "cpu").encode_images(image_BCHW), atol=1e-5)
    monkeypatch.undo()
    (graph / "encoder.json").unlink()
    export_model(config)
    write_own_repository(repository, str(model_folder), f"{ONNX}:{graph}", text=False)
    assert _files(repository) == {f"{ENCODER}/config.pbtxt", f"{ENCODER}/1/model.onnx"}


@pytest.mark.slow
def test_a_graph_that_changed_since_its_export_is_refused(exported: Path, tmp_path: Path) -> None:
    place = shutil.copytree(encoder_place(str(exported), ONNX), tmp_path / "onnx")
    with (place / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match="is damaged; remove the folder and export it again"):
        write_own_repository(tmp_path / "repository", str(exported), f"{ONNX}:{place}")
    assert not (tmp_path / "repository").exists()


@pytest.mark.slow
def test_the_commands_make_a_repository_from_a_model(model_folder: Path, pictures: Path, tmp_path: Path) -> None:
    export = ["export-triton", model_folder, "repository", "--encoder"]
    missing = trygon(*export, f"onnx:{tmp_path / 'graph'}", cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr.count("\n") == 1
    assert not (tmp_path / "repository").exists()
    assert f"trygon export-model --model {model_folder} --encoder onnx" in missing.stderr
    words = ["--encoder", "onnx", "--pictures", pictures, "--out", "graph"]
    made = trygon("export-model", "--model", model_folder, *words, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "a cosine of 1.0000" in made.stdout
    assert made.stderr == ""
    done = trygon(*export, f"onnx:{tmp_path / 'graph'}", "--no-text", "--name", "tiny", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = f"image_encoder-tiny in repository: tritonserver --model-repository={tmp_path / 'repository'}"
    assert done.stdout == f"{expected}\n"
    config = _config(tmp_path / "repository", f"{ENCODER}-tiny")
    assert tower_of(config) == describe(str(model_folder))


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ("torch-bf16", "Triton runs torch, openvino, openvino-int8, onnx, onnx-tensorrt"),
        ("triton:127.0.0.1:1", "Triton runs torch"),
        ("onnx-tensorrt", "--encoder onnx: there is none in"),
        ("torch:elsewhere", "takes no place"),
    ],
)
def test_encoders_that_no_repository_can_have_are_refused(
    model_folder: Path, tmp_path: Path, encoder: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        write_own_repository(tmp_path / "repository", str(model_folder), encoder)
    assert not (tmp_path / "repository").exists()


def test_onnx_is_for_a_triton_of_ones_own(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a Triton of your own runs it: trygon export-triton"):
        write_repository(tmp_path, str(model_folder), encoder=ONNX)


def test_backend_is_told_where_trygon_and_torch_lie() -> None:
    import torch

    import trygon

    paths = interpreter_path()
    assert Path(trygon.__file__).parent.parent in paths
    assert Path(torch.__file__).parent.parent in paths


@pytest.mark.parametrize("missing", [CONFIG_NAME, WEIGHTS_NAME])
def test_incomplete_folder_is_named(model_folder: Path, tmp_path: Path, missing: str) -> None:
    for name in {CONFIG_NAME, WEIGHTS_NAME} - {missing}:
        (tmp_path / name).symlink_to(model_folder / name)
    with pytest.raises(UserError, match=missing):
        describe(str(tmp_path))


@pytest.mark.parametrize("content", [[], {"model_cfg": {}}, {"model_cfg": {"embed_dim": 4, "vision_cfg": 3}}])
def test_config_of_something_else_is_refused(model_folder: Path, tmp_path: Path, content: object) -> None:
    (tmp_path / WEIGHTS_NAME).symlink_to(model_folder / WEIGHTS_NAME)
    (tmp_path / CONFIG_NAME).write_text(json.dumps(content))
    with pytest.raises(UserError, match=CONFIG_NAME):
        describe(str(tmp_path))
