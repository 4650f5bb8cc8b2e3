"""`trygon train` on a tiny model: killed in the middle, gone on with, and nothing done twice."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import open_clip
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from open_clip.model import CustomTextCLIP
from PIL import Image

from trygon.models.model import load_model
from trygon.storage import copy_file, exists, join, list_files, read_bytes
from trygon.testing.checkpoints import noted_step
from trygon.testing.commands import command, told
from trygon.testing.processes import family, kill_family, living
from trygon.testing.s3 import Fault, FaultyS3, Kind, s3_server, using
from trygon.testing.s3 import environment as environment_of
from trygon.testing.shards import write_tiny_shards
from trygon.testing.tiny import (
    tiny_sentence_architecture,
    write_tiny_model,
    write_tiny_sentence_model,
)
from trygon.training.measurements import Measurements
from trygon.training.reports import Gauges

# Several starts of Ray: on a busy machine that takes long.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

_EPOCHS = 4
_ALONE = ("--workers", "1")
"""Workers that are killed beside others are in tests/cluster."""
_STEPS_PER_EPOCH = 4


def _words(shards: str | Path, model: str | Path, out: str | Path, *more: str) -> list[str]:
    words = ["train", "--shards", str(shards), "--out", str(out), "--initial.model", str(model)]
    words += ["--batch-size", "16", "--epochs", str(_EPOCHS), "--steps-per-leg", "4", "--checkpoint-minutes", "0"]
    return [*words, *more]


def _lines(out: str | Path) -> list[str]:
    place = join(out, "metrics.jsonl")
    return read_bytes(place).decode().splitlines() if exists(place) else []


def _steps(out: str | Path) -> list[int]:
    return [json.loads(line)["step"] for line in _lines(out)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run where nothing happens to it. Its paths are relative, as users type them; Ray's workers run in other
    folders."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_tiny_shards(folder / "shards")
    write_tiny_model(folder / "tiny")
    words = command(*_words("shards", "tiny", "out", *_ALONE))
    subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=800, cwd=folder)
    return folder / "out"


def _ends_as(undisturbed: Path, out: str | Path) -> None:
    """The same loss in every step, and the same weights."""
    theirs, mine = ([json.loads(line)["loss"] for line in _lines(each)] for each in (undisturbed, out))
    assert mine == pytest.approx(theirs, abs=1e-4)
    wanted = load_model(undisturbed, "cpu").net.state_dict()
    for name, tensor in load_model(out, "cpu").net.state_dict().items():
        torch.testing.assert_close(tensor, wanted[name], atol=1e-4, rtol=1e-3)


def _frozen_architecture(path: Path) -> Path:
    """A timm trunk of a few layers, and a text tower that starts from the tiny sentence encoder."""
    architecture = tiny_sentence_architecture()
    vision = {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "mlp", "image_size": 64}
    architecture["model_cfg"]["vision_cfg"] = vision
    path.write_text(json.dumps(architecture))
    return path


def test_killed_run_on_s3_goes_on_from_its_checkpoint_there_and_a_finished_one_rests(
    tmp_path: Path, undisturbed: Path
) -> None:
    """Shards, the model to start from and the output lie on S3, and faults come between."""
    write_tiny_shards(tmp_path / "shards")
    write_tiny_model(tmp_path / "tiny")
    root, out = "s3://runs", "s3://runs/out"
    with s3_server("runs") as server, using(server), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRYGON_CACHE", str(tmp_path / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        for path in (*(tmp_path / "shards").iterdir(), *(tmp_path / "tiny").iterdir()):
            copy_file(path, join(root, path.parent.name, path.name))
        words = _words(join(root, "shards"), join(root, "tiny"), out, *_ALONE)
        faults = [Fault(kind, 25) for kind in (Kind.SLOW_DOWN, Kind.DROP_REQUEST, Kind.DROP_ANSWER, Kind.LOSE_ANSWER)]
        # From the second checkpoint on none arrives, so that the run cannot end before it is killed.
        held = Fault(Kind.HOLD, 1, ("PUT", "POST"), r"/checkpoints/run/leg-(?!000001/).*\.pt$")
        with FaultyS3(server, [held, *faults]) as faulty:
            environment = os.environ | environment_of(faulty.address)
            process = subprocess.Popen(command(*words), env=environment, stderr=subprocess.DEVNULL)
            try:
                _wait_until(process, lambda: noted_step(out) > 0)
                _wait_until(process, lambda: bool(faulty.met[Kind.HOLD]))
            finally:
                kill_family(process)
            faulty.faults = faults
            before = _lines(out)
            assert not exists(join(out, "provenance.json"))

            subprocess.run(command(*words), env=environment, check=True, timeout=800)
        assert set(faulty.met) == {Kind.HOLD, *(fault.kind for fault in faults)}
        assert _steps(out) == list(range(1, _EPOCHS * _STEPS_PER_EPOCH + 1))
        # A line holds the seconds that its step took: a step done again would have another.
        assert _lines(out)[:_STEPS_PER_EPOCH] == before[:_STEPS_PER_EPOCH]
        again = told(*words)
        assert "model: s3://runs/out (was complete)" in again.stdout, again.stderr
        _ends_as(undisturbed, out)
        assert not exists(join(out, ".lock"))
        checkpoints = {place.split("/")[-2] for place in list_files(join(out, "checkpoints"), ".pt")}
        assert len(checkpoints) == 2  # older ones are removed
    loaded: Any = open_clip.create_model_from_pretrained(f"local-dir:{undisturbed}")
    assert isinstance(loaded[0], CustomTextCLIP)


def test_a_checkpoint_that_does_not_arrive_whole_leaves_the_one_before_it_to_go_on_from(tmp_path: Path) -> None:
    write_tiny_shards(tmp_path / "shards")
    write_tiny_model(tmp_path / "tiny")
    out = "s3://halves/out"
    words = _words(tmp_path / "shards", tmp_path / "tiny", out, *_ALONE)
    words[words.index("--epochs") + 1] = "3"
    changed = Fault(Kind.CHANGE, 1, ("PUT",), r"/checkpoints/run/leg-(?!000001/).*\.pt$")
    said = tmp_path / "said"
    with s3_server("halves") as server, FaultyS3(server, [changed]) as faulty, using(faulty.address):
        with said.open("w") as stderr:
            process = subprocess.Popen(command(*words), stderr=stderr)
        try:
            _wait_until(
                process, lambda: "did not arrive whole; training goes on from the last checkpoint" in said.read_text()
            )
            assert noted_step(out) == _STEPS_PER_EPOCH
            faulty.faults = []
            assert process.wait(800) == 0
        finally:
            if process.poll() is None:
                kill_family(process)
        assert noted_step(out) == 3 * _STEPS_PER_EPOCH
    assert "Traceback" not in said.read_text()


def test_frozen_towers_are_computed_once_and_the_model_is_evaluated(tmp_path: Path) -> None:
    """The way of the starter: towers started and frozen, features, a head, and the measures of what came out."""
    shards, out = write_tiny_shards(tmp_path / "shards"), tmp_path / "out"
    write_tiny_shards(shards, "val", 1)
    sentences = write_tiny_sentence_model(tmp_path / "sentences")
    words = ["train", "--shards", str(shards), "--out", str(out), *_ALONE]
    words += ["--initial.architecture", str(_frozen_architecture(tmp_path / "architecture.json"))]
    words += ["--initial.sentence-model", str(sentences), "--freeze-image-trunk", "--freeze-text-tower"]
    words += ["--feature-dropout", "0.3", "--shuffle-rows", "32", "--image-learning-rate", "1e-3"]
    words += ["--batch-size", "16", "--epochs", "2", "--text-draw", "step", "--readers", "2"]
    words += ["--initial-share", "0.5"]
    subprocess.run(command(*words), env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=800)
    assert len(list((out / "features").glob("*.parquet"))) == 4
    initial, final = (load_model(folder).net.state_dict() for folder in (out / "initial", out))
    changed = {name for name in initial if not torch.equal(initial[name], final[name])}
    assert changed
    assert all(name == "logit_scale" or name.startswith("visual.head.") for name in changed)

    (measured,) = [json.loads(line) for line in (out / "validation.jsonl").read_text().splitlines()]
    assert measured["species/n"] == 16
    assert list((out / "tensorboard").glob("events*"))
    assert (out / "curves.png").stat().st_size > 5000
    card = (out / "README.md").read_text()
    assert "On 16 validation pictures of trained species, named among 8 species by captions of all ranks" in card

    evaluation = tmp_path / "evaluation"
    words = ["evaluate", "--model", str(out), "--baseline", str(out / "initial"), "--shards", str(shards)]
    words += ["--out", str(evaluation)]
    measures = told(*words)
    assert measures.returncode == 0, measures.stderr
    metrics = json.loads((evaluation / "metrics.json").read_text())
    for prefix in ("", "baseline/"):
        assert metrics[f"{prefix}zero_shot/seen/taxon/species/n"] == 16
        assert metrics[f"{prefix}zero_shot/seen/taxon/species/chance"] == pytest.approx(1 / 8, abs=1e-3)
        assert metrics[f"{prefix}zero_shot/seen/taxon/class/top1"] == 1
    # What was measured beside training is the model that was written, between its start and what was learned.
    for name in ("species/top1", "species/top5", "genus/top1"):
        assert measured[name] == pytest.approx(metrics[f"zero_shot/seen/taxon/{name}"], abs=1e-4)
    assert "was complete" in told(*words).stdout


def _write_pairs(folder: Path, columns: Sequence[str] = ("key", "jpg", "caption")) -> Path:
    """General pictures, each with a text, as img2dataset writes them; one is broken, and one text is missing."""
    folder.mkdir()
    rows = [
        {"key": f"{number:09d}", "jpg": _jpeg(number) if number else b"", "caption": f"boat {number}", "width": 40}
        for number in range(24)
    ]
    rows[5]["caption"] = None
    pq.write_table(pa.Table.from_pylist(rows).select([*columns, "width"]), folder / "00000.parquet", row_group_size=10)
    return folder


def _jpeg(number: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), (10 * number, 90, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_general_pictures_are_replayed_beside_the_taxa(tmp_path: Path) -> None:
    """And validation pictures that cannot be read do not end training."""
    shards, out = write_tiny_shards(tmp_path / "shards"), tmp_path / "out"
    (shards / "val-00000.parquet").write_bytes(b"PAR1 and no more")
    write_tiny_model(tmp_path / "tiny")
    replay = ["--replay", str(_write_pairs(tmp_path / "pairs")), "--replay-batch-size", "6", "--workers", "2"]
    replay += ["--objective", "clip_taxa"]
    words = command(*_words(shards, tmp_path / "tiny", out, *replay))
    words[words.index("--epochs") + 1] = "2"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(words, env=environment, check=True, timeout=800, stderr=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in _lines(out)]
    assert [line["step"] for line in lines] == list(range(1, 2 * _STEPS_PER_EPOCH + 1))
    assert all(0 < line["replay_loss"] < line["loss"] for line in lines)
    assert sum(line["broken"] for line in lines) == 2  # 8 steps of 6 are two times all
    last = len(lines)
    assert Measurements(str(out / "validation.jsonl")).lines()[-1].keys() == {"step", "problem"}
    assert f"the checkpoint of step {last} was not measured: val-00000.parquet: " in run.stderr
    steps = {name for name in _documented_gauges() if not name.startswith("val_")}
    assert steps - lines[-1].keys() == {"mfu", "passed_over"}  # of a GPU, and of half precision
    assert lines[-1].keys() - steps == {"time", "leg"}
    assert lines[-1]["left_s"] == 0 < lines[0]["left_s"]
    trained, initial = (load_model(folder).net.state_dict() for folder in (out, tmp_path / "tiny"))
    assert trained.keys() == initial.keys()


def _documented_gauges() -> set[str]:
    docs = (Path(__file__).parents[2] / "docs/train.md").read_text()
    return set(re.findall(r"`(?:ray_trygon_train|…)_(\w+)`", docs))


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_prometheus_has_the_figures_by_their_documented_names() -> None:
    (node,) = ray.nodes()
    endpoint = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    gauges, values = Gauges(), {name: float(number) for number, name in enumerate(sorted(_documented_gauges()))}
    deadline, seen = time.monotonic() + 180, {}
    while seen != values and time.monotonic() < deadline:
        gauges.show(values)
        time.sleep(1)
        with urlopen(endpoint, timeout=10) as answer:
            lines = re.findall(r"^ray_trygon_train_(\w+)\{.*\} (\S+)$", answer.read().decode(), re.MULTILINE)
        seen = {name: float(value) for name, value in lines}
    assert seen == values


def test_what_cannot_be_replayed_is_refused(tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "shards", count=1)
    write_tiny_model(tmp_path / "tiny")
    (tmp_path / "empty").mkdir()
    odd = _write_pairs(tmp_path / "odd", ("key", "jpg"))
    for words, expected in (
        (["--replay-batch-size", "6"], "give --replay FOLDER, or --replay-batch-size 0"),
        (["--replay", str(tmp_path / "empty"), "--replay-batch-size", "6"], "holds no Parquet files"),
        (["--replay", str(odd), "--replay-batch-size", "6"], "has no column 'caption'"),
        (["--replay", str(odd)], "needs a replay_batch_size"),
        (["--replay", str(odd), "--replay-batch-size", "6", "--objective", "siglip"], "goes with the objectives clip"),
    ):
        refused = told(*_words(shards, tmp_path / "tiny", tmp_path / "out", *words))
        assert refused.returncode == 2
        assert expected in refused.stderr


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_loss_that_is_no_number_ends_the_run_at_once_with_what_to_do(tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "shards")
    write_tiny_model(tmp_path / "tiny")
    words = ["--image-learning-rate", "1e30", "--warmup-steps", "0", *_ALONE]
    ended = told(*_words(shards, tmp_path / "tiny", tmp_path / "out", *words))
    assert ended.returncode == 1
    assert "the loss is not finite at step" in ended.stderr
    assert "give lower learning rates" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out/provenance.json").exists()


def test_workers_that_hang_are_replaced_and_a_shard_that_is_cut_ends_training(tmp_path: Path) -> None:
    """One worker is stopped, as by a driver that hangs: the other waits for it no longer than it is told to. Then a
    shard is cut: another try would meet that again."""
    shards, out = write_tiny_shards(tmp_path / "shards"), tmp_path / "out"
    write_tiny_model(tmp_path / "tiny")
    words = _words(shards, tmp_path / "tiny", out, "--workers", "2", "--collective-timeout-s", "10")
    words[words.index("--epochs") + 1] = "5000"
    said = tmp_path / "said"
    with said.open("w") as stderr:
        process = subprocess.Popen(command(*words), env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=stderr)
    try:
        _wait_until(process, lambda: noted_step(out) > 0)
        hanging = _training_workers(process)[0]
        hanging.suspend()
        _wait_until(process, lambda: not living([hanging]), 500)  # whoever hangs is ended
        done = _steps(out)[-1]
        _wait_until(process, lambda: "interrupted" in said.read_text() and max(_steps(out), default=0) > done)
        cut = shards / "train-00002.parquet"
        os.truncate(cut, 300)
        assert process.wait(500) == 1
    finally:
        if process.poll() is None:
            kill_family(process)
    lines = said.read_text().splitlines()
    assert re.search(r"worker [01] waited in vain for one that hangs, or whose machine is gone", said.read_text())
    assert sum(line.startswith("interrupted: ") for line in lines) == 1
    assert f"error: {cut} cannot be read" in lines[-1]
    assert "Traceback" not in said.read_text()


def _wait_until(process: "subprocess.Popen[Any]", is_so: Callable[[], bool], timeout_s: float = 800) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert process.poll() is None, "the program ended"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def _training_workers(process: "subprocess.Popen[Any]") -> list[psutil.Process]:
    return [it for it in family(process.pid) if "RayTrainWorker" in " ".join(it.cmdline())]
