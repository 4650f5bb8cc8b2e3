"""What a server that does not start says: one line, and the exit code of whose it is."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trygon.errors import UserError
from trygon.testing.commands import trygon
from trygon.testing.processes import quiet_environment
from trygon.testing.served import SETTINGS, Served, write_served
from trygon.testing.tiny import write_tiny_model
from trygon_serving.catalogue import VersionSpec, write_catalogue
from trygon_serving.launcher import run
from trygon_serving.settings import Settings, check, require_log

# Without the check that comes before: seconds lie between that and Serve's own bind.
UNCHECKED = """
import sys
from trygon.errors import report
from trygon_serving.launcher import run
from trygon_serving.settings import Settings, catalogue_of

try:
    settings = Settings.model_validate_json(sys.argv[1])
    run(settings, catalogue_of(settings))
except Exception as error:
    sys.exit(report(error))
"""


def _settings(model: Path, labels: Path, port: int) -> str:
    # No Triton is needed to see Serve fail.
    places = {"model": {"tiny": str(model)}, "labels": {"names": str(labels)}}
    return json.dumps(SETTINGS | places | {"port": port})


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    command, environment = [sys.executable, *words], quiet_environment()
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def test_a_version_that_gets_no_requests_keeps_no_other_from_being_served(tmp_path: Path) -> None:
    tiny = write_served(tmp_path / "served")
    good = VersionSpec(model=str(tiny.model_folder), labels={"names": str(tiny.labels_folder)})
    gone = good.model_copy(update={"model": str(tmp_path / "gone"), "share": 0.0})
    file = tmp_path / "models.json"
    write_catalogue(file, {"tiny": {"v1": gone, "v2": good}})
    assert list(check(Settings(models=str(file), **SETTINGS))["tiny"]) == ["v1", "v2"]
    write_catalogue(file, {"tiny": {"v1": gone.model_copy(update={"share": 3.0}), "v2": good}})
    with pytest.raises(UserError, match="no such folder"):
        check(Settings(models=str(file), **SETTINGS))


@pytest.mark.parametrize("variable", ["RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"])
def test_a_cluster_is_not_served_from_one_of_its_machines(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "127.0.0.1:9")
    with pytest.raises(UserError, match=r"trygon_serving\.app:build .*rayservice\.yaml"):
        run(Settings(**SETTINGS), {})


def test_what_nobody_foresaw_is_one_line_too() -> None:
    result = _run("-m", "trygon_serving", "{}")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ValidationError: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" in _run("-m", "trygon_serving", "{}", "--debug").stderr


@pytest.mark.parametrize(
    ("encoder", "triton", "told"),
    [
        ("openvino-int8", None, "make it: trygon export-model"),
        ("openvino-int8", "127.0.0.1:9", "does not go with --triton"),
        ("triton:127.0.0.1:9", None, "Triton runs torch, openvino, openvino-int8"),
        ("onnx", None, "Triton runs torch, openvino, openvino-int8; a Triton of your own runs it"),
        ("torch-bf16", None, "Triton runs torch, openvino, openvino-int8"),
        ("openvino:/nowhere", None, "there is none in /nowhere"),
    ],
)
def test_an_encoder_that_cannot_run_in_triton_is_told_before_anything_starts(
    tmp_path: Path, encoder: str, triton: str | None, told: str
) -> None:
    tiny = write_served(tmp_path)
    settings = json.loads(_settings(tiny.model_folder, tiny.labels_folder, 0))
    with pytest.raises(UserError, match=told) as caught:
        check(Settings(**settings | {"encoder": encoder, "triton": triton}))
    assert str(caught.value).startswith("--encoder")


@pytest.mark.parametrize(("log", "why"), [("none/x.jsonl", "No such file or directory"), (".", "Is a directory")])
def test_a_log_that_cannot_be_written_is_told_before_anything_starts(tmp_path: Path, log: str, why: str) -> None:
    path = tmp_path / log
    with pytest.raises(UserError) as caught:
        check(Settings.model_validate(SETTINGS | {"log": str(path)}))
    expected = f"--log {path}: {why}; give a file that can be written, in a folder that is there"
    assert str(caught.value) == expected


def test_a_log_is_gone_on_with(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("a line\n")
    require_log(log)
    assert log.read_text() == "a line\n"


@pytest.mark.slow
@pytest.mark.ray
def test_a_port_taken_after_it_was_checked_is_the_users_to_mend(tmp_path: Path) -> None:
    tiny = write_served(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = _run("-c", UNCHECKED, _settings(tiny.model_folder, tiny.labels_folder, port))
    assert result.returncode == 2, result.stderr
    expected = f"error: cannot listen on 127.0.0.1:{port}: it was taken meanwhile; choose another with --port"
    assert result.stderr.splitlines()[-1] == expected
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_port_in_use_is_one_line(tiny: Served) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = trygon("serve", "--model", tiny.model_folder, "--labels", tiny.labels_folder, "--port", port)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert f"127.0.0.1:{port}" in result.stderr
    assert "--port" in result.stderr


def _refused(model: Path, labels: Path) -> str:
    """What the check before the start says, in one line."""
    with pytest.raises(UserError) as caught:
        check(Settings.model_validate(SETTINGS | {"model": {"tiny": str(model)}, "labels": {"names": str(labels)}}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_missing_model_labels_and_wrong_pairs_are_one_line(tiny: Served, tmp_path: Path) -> None:
    assert str(tmp_path / "no") in _refused(tmp_path / "no", tiny.labels_folder)
    assert "build-labels" in _refused(tiny.model_folder, tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny.labels_folder, damaged)
    vectors = np.load(damaged / "vectors.npy")
    np.save(damaged / "vectors.npy", np.where(np.arange(4)[:, None] == 2, np.float32("nan"), vectors))
    assert "damaged" in _refused(tiny.model_folder, damaged)
    other = write_tiny_model(tmp_path / "other", seed=1)
    assert str(other) in _refused(other, tiny.labels_folder)
