"""`trygon train` on a cluster of several raylets, of which some are killed and some come; and on two hosts."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hosts import Hosts, can_make_hosts
from ray.cluster_utils import Cluster

from trygon.models.model import load_model
from trygon.testing.checkpoints import noted_step
from trygon.testing.commands import command
from trygon.testing.processes import kill_family
from trygon.testing.shards import write_tiny_shards
from trygon.testing.tiny import write_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

_FAST = {
    "RAY_AUTH_MODE": "disabled", "RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "2", "RAY_health_check_initial_delay_ms": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "OMP_NUM_THREADS": "1", "TRYGON_TRAIN_RESIZE_S": "5",
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that runs nothing; tests say how many nodes they want beside it."""
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 200_000_000}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _FAST.items():
            patch.setenv(name, value)
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield cluster
        finally:
            cluster.shutdown()


def _nodes(cluster: Cluster, num: int) -> list[Any]:
    """Have so many nodes of two CPUs, whatever a test before this one left."""
    nodes = list(cluster.worker_nodes)
    for node in nodes[num:]:
        cluster.remove_node(node)
    for _ in range(len(nodes), num):
        cluster.add_node(num_cpus=2, object_store_memory=200_000_000)
    cluster.wait_for_nodes()
    return list(cluster.worker_nodes)


def _train(cluster: Cluster, folder: Path, *words: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"RAY_ADDRESS": str(cluster.address)}
    # To a file: Ray's own words may be more than a pipe holds.
    with (folder / "told").open("w") as told:
        return subprocess.Popen(_command(folder, *words), env=environment, stderr=told, text=True)


def _command(folder: Path, *words: str) -> list[str]:
    flags = ["--shards", folder / "shards", "--out", folder / "out", "--initial.model", folder / "tiny"]
    flags += ["--batch-size", 16, "--steps-per-leg", 4, "--checkpoint-minutes", 0, "--validation-samples", 0]
    return command("train", *flags, *words)


def _prepare(folder: Path) -> Path:
    folder.mkdir()
    write_tiny_shards(folder / "shards")
    write_tiny_model(folder / "tiny")
    return folder


def _lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "out/metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _wait(process: "subprocess.Popen[str]", folder: Path, what: str, within_s: float, **wanted: float) -> None:
    """Until the last line of metrics has at least the step, and the number of workers, that are wanted, and a
    checkpoint of at least the step `saved` is noted: checkpoints come after their steps, beside training."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        assert process.poll() is None, f"ended before {what}: {(folder / 'told').read_text()}"
        last = (_lines(folder) or [{"step": 0, "workers": 0}])[-1]
        enough = last["step"] >= wanted["step"] and noted_step(folder / "out") >= wanted.get("saved", 0)
        if enough and last["workers"] == wanted.get("workers", last["workers"]):
            return
        time.sleep(0.2)
    told = (folder / "told").read_text()
    raise AssertionError(f"no {what} within {within_s} s; the last line is {_lines(folder)[-1:]}; {told}")


def test_features_wait_for_a_gpu_as_long_as_they_may_and_say_so(cluster: Cluster, tmp_path: Path) -> None:
    folder = _prepare(tmp_path / "training")
    _nodes(cluster, 1)
    words = ["--workers", "1", "--freeze-image-trunk", "--use-gpu", "--wait-for-room-s", "2"]
    assert _train(cluster, folder, *words).wait(300) == 2, (folder / "told").read_text()
    told = (folder / "told").read_text()
    assert (
        "waiting for room for a worker of 1.5 CPUs and 1 GPU: the cluster has 2 CPUs and 0 GPUs on 2 machines" in told
    )
    assert "error: no room for a worker of" in told


def test_training_goes_on_with_fewer_nodes_and_grows_when_one_comes_back(cluster: Cluster, tmp_path: Path) -> None:
    folder = _prepare(tmp_path / "training")
    _nodes(cluster, 1)
    alone = _train(cluster, folder, "--workers", "2", "--epochs", "2000", "--wait-for-room-s", "2")
    assert alone.wait(500) == 2, (folder / "told").read_text()
    told = (folder / "told").read_text()
    assert "waiting for room for 2 workers of 1.5 CPUs each: the cluster has 2 CPUs on 2 machines" in told
    assert "error: no room for 2 workers of 1.5 CPUs each: the cluster has 2 CPUs on 2 machines" in told
    lost = _nodes(cluster, 2)[1]
    process = _train(cluster, folder, "--workers", "2", "--min-workers", "1", "--epochs", "2000")
    try:
        _wait(process, folder, "two workers", 500, step=8, workers=2, saved=4)
        cluster.remove_node(lost, allow_graceful=False)
        alone_from = _lines(folder)[-1]["step"]
        _wait(process, folder, "one worker", 500, step=alone_from + 8, workers=1, saved=alone_from + 1)
        _nodes(cluster, 2)
        _wait(process, folder, "two workers again", 500, step=alone_from + 16, workers=2)
    finally:
        kill_family(process)
    lines = _lines(folder)
    # Whoever did them, all steps are there once, and those before a change of workers are kept.
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert [
        workers
        for workers, before in zip(
            (it["workers"] for it in lines), (0, *(it["workers"] for it in lines)), strict=False
        )
        if workers != before
    ] == [2, 1, 2]


# Full rates from the first step on: moments that were lost would show in the weights.
_WORDS = ("--workers", "2", "--epochs", "12", "--warmup-steps", "0")


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to."""
    folder = _prepare(tmp_path_factory.mktemp("training") / "undisturbed")
    _nodes(cluster, 2)
    process = _train(cluster, folder, *_WORDS)
    assert process.wait(600) == 0, (folder / "told").read_text()
    return folder


def test_a_run_that_loses_a_worker_a_node_and_its_driver_ends_where_an_undisturbed_one_ends(
    cluster: Cluster, undisturbed: Path, tmp_path: Path
) -> None:
    disturbed = _prepare(tmp_path / "disturbed")
    lost = _nodes(cluster, 2)[1]
    process = _train(cluster, disturbed, *_WORDS)
    try:
        _wait(process, disturbed, "a checkpoint", 500, step=8, saved=4)
        _kill_a_worker()
        killed_at = _lines(disturbed)[-1]["step"]
        _wait(process, disturbed, "a checkpoint without the worker", 500, step=killed_at + 8, saved=killed_at + 1)
        cluster.remove_node(lost, allow_graceful=False)
        _nodes(cluster, 2)
        killed_at = _lines(disturbed)[-1]["step"]
        _wait(process, disturbed, "a checkpoint on another node", 500, step=killed_at + 4, saved=killed_at + 1)
    finally:
        kill_family(process)
    assert _lines(disturbed)[-1]["step"] < 48, "it had ended before its driver was killed"
    # The latest checkpoint is damaged, and a kill in the middle of bringing one to its place left that there.
    run = disturbed / "out/checkpoints/run"
    latest, half = run / f"leg-{noted_step(disturbed / 'out') // 4:06d}/state.pt", run / "leg-000099/state.pt"
    whole = latest.read_bytes()
    latest.write_bytes(whole[:-1])
    half.parent.mkdir()
    half.write_bytes(whole[: len(whole) // 2])
    process = _train(cluster, disturbed, *_WORDS)
    assert process.wait(800) == 0, (disturbed / "told").read_text()
    told = (disturbed / "told").read_text()
    assert f"{latest.parent} is not whole; training goes on from {run}/leg-" in told
    assert not half.parent.exists()
    assert [line["step"] for line in _lines(disturbed)] == list(range(1, 49))
    losses, expected = ([line["loss"] for line in _lines(folder)] for folder in (disturbed, undisturbed))
    assert losses == pytest.approx(expected, abs=4e-5)  # a line has five digits
    weights = load_model(undisturbed / "out", "cpu").net.state_dict()
    for name, tensor in load_model(disturbed / "out", "cpu").net.state_dict().items():
        # A step moves a weight by up to 1e-4.
        torch.testing.assert_close(tensor, weights[name], atol=1e-5, rtol=1e-4)


def _kill_a_worker() -> None:
    import psutil

    mine = [it for it in psutil.Process().children(recursive=True) if "RayTrainWorker" in " ".join(it.cmdline())]
    assert mine, "no training worker is there"
    mine[0].kill()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    if not can_make_hosts():
        pytest.skip("network namespaces need root, and ip or apt")
    hosts = Hosts(tmp_path)
    try:
        yield hosts
    finally:
        hosts.close()


def test_a_host_that_goes_dark_and_comes_back_changes_nothing(hosts: Hosts, undisturbed: Path, tmp_path: Path) -> None:
    disturbed = _prepare(tmp_path / "disturbed")
    hosts.start(0)
    time.sleep(5)
    hosts.start(1)
    with (disturbed / "told").open("w") as told:
        process = hosts.run(0, _command(disturbed, *_WORDS), stderr=told)
    _wait(process, disturbed, "twelve steps", 500, step=12)
    assert [hosts.workers(host) for host in (0, 1)] == [1, 1]
    hosts.stop(1)
    hosts.start(1)
    assert process.wait(800) == 0, (disturbed / "told").read_text()
    expected, found = _lines(undisturbed), _lines(disturbed)
    assert [line["step"] for line in found] == list(range(1, 49))
    for one, other in zip(expected, found, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=2e-4)
