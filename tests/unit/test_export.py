"""The Triton model repository: a config that Triton's own schema parses, and a description without loading."""

import dataclasses
import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from trygon.data.images import ResizeMode
from trygon.errors import UserError
from trygon.models.export import ENCODER, TEXT_ENCODER, interpreter_path, write_repository
from trygon.models.folder import CONFIG_NAME, WEIGHTS_NAME, describe
from trygon.models.model import load_model
from trygon.testing.tiny import TINY_CONFIG, TINY_SIDE, write_tiny_model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


def test_description_agrees_with_the_loaded_model(model_folder: Path) -> None:
    model = load_model(model_folder, "cpu")
    tower = describe(str(model_folder))
    for field in dataclasses.fields(tower):
        assert getattr(tower, field.name) == getattr(model, field.name), field.name


def test_repository_parses_and_says_what_a_client_needs(model_folder: Path, tmp_path: Path) -> None:
    tower = write_repository(tmp_path, str(model_folder))
    text = (tmp_path / ENCODER / "config.pbtxt").read_text()
    config = text_format.Parse(text, pb.ModelConfig())  # pyright: ignore[reportAttributeAccessIssue]
    assert (config.name, config.backend) == (ENCODER, "python")
    assert list(config.input[0].dims) == [3, TINY_SIDE, TINY_SIDE]
    assert list(config.output[0].dims) == [TINY_CONFIG["model_cfg"]["embed_dim"]]
    assert config.HasField("dynamic_batching")
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    assert parameters["digest"] == tower.digest == load_model(model_folder, "cpu").digest
    assert ResizeMode(parameters["resize_mode"]) is ResizeMode.SQUASH
    compile((tmp_path / ENCODER / "1" / "model.py").read_text(), "model.py", "exec")
    text = (tmp_path / TEXT_ENCODER / "config.pbtxt").read_text()
    captions = text_format.Parse(text, pb.ModelConfig())  # pyright: ignore[reportAttributeAccessIssue]
    assert captions.output == config.output
    assert captions.parameters["digest"].string_value == tower.digest
    assert (tmp_path / TEXT_ENCODER / "1" / "model.py").is_file()


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
