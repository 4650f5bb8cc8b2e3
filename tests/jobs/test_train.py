"""`trygon train` on a tiny model: two workers, killed in the middle, gone on with, and nothing done twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import psutil
import pytest
from open_clip.model import CustomTextCLIP
from PIL import Image

from trygon.data.images import encode_jpeg
from trygon.data.shards import shard_path, write_shard
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.tiny import write_tiny_model

# Three starts of Ray: on a busy machine that takes long.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

_EPOCHS = 6
_STEPS_PER_EPOCH = 4


def _write_shards(folder: Path) -> Path:
    folder.mkdir()
    taxa = [Taxon(("Animalia", "Chordata", "Aves", "O", "F", "Genus", f"s{i}"), f"bird {i}") for i in range(8)]
    rng = np.random.default_rng(0)
    for index in range(4):
        rows = []
        for number in range(16):
            taxon = taxa[number % 8]
            pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            rows.append(
                {
                    "sample_id": index * 16 + number,
                    "image": encode_jpeg(Image.fromarray(pixels)),
                    **dict(zip(RANKS, taxon.lineage, strict=True)),
                    "common": taxon.common,
                    "split": "train",
                    "source": "test",
                    "source_id": f"{index}-{number}",
                }
            )
        write_shard(shard_path(folder, "train", index), rows)
    TaxonTree.from_taxa(taxa).save(folder / "taxa.parquet")
    return folder


def _command(shards: Path, model: Path, out: Path) -> list[str]:
    words = ["train", "--shards", str(shards), "--out", str(out), "--initial.model", str(model)]
    words += ["--batch-size", "16", "--epochs", str(_EPOCHS), "--steps-per-leg", "4", "--shuffle-rows", "0"]
    return [sys.executable, "-m", "trygon_jobs", *words]


def _steps(out: Path) -> list[int]:
    path = out / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.is_file() else []


def _kill_family(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the driver, then what it had started: only its own descendants, by id."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for child in children:
        if child.is_running():
            child.kill()


def test_killed_run_goes_on_from_its_checkpoint_and_a_finished_one_rests(tmp_path: Path) -> None:
    shards, model, out = _write_shards(tmp_path / "shards"), write_tiny_model(tmp_path / "tiny"), tmp_path / "out"
    command = _command(shards, model, out)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 400
    while not list((out / "checkpoints/run").glob("leg-*/state.pt")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.2)
    _kill_family(process)
    before = len(_steps(out))

    subprocess.run(command, env=environment, check=True, timeout=400)
    assert _steps(out) == list(range(1, _EPOCHS * _STEPS_PER_EPOCH + 1))
    assert before < _EPOCHS * _STEPS_PER_EPOCH
    loaded: Any = open_clip.create_model_from_pretrained(f"local-dir:{out}")
    assert isinstance(loaded[0], CustomTextCLIP)

    weights = (out / "open_clip_model.safetensors").stat().st_mtime_ns
    subprocess.run(command, env=environment, check=True, timeout=200)
    assert (out / "open_clip_model.safetensors").stat().st_mtime_ns == weights
