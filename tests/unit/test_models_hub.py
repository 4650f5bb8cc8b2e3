"""`hf-hub:OWNER/NAME` goes the way of open_clip's own loader: tried on the cache that a download leaves, offline."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trygon.labelling.bank import LabelBank
from trygon.testing.tiny import TINY_CONFIG, write_tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """A cache of the hub's client that holds `trygon/tiny`."""
    repository = tmp_path / "hub/models--trygon--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("0" * 40)
    shutil.copytree(write_tiny_model(tmp_path / "tiny"), repository / "snapshots" / ("0" * 40))
    return tmp_path / "hub"


def _offline(cache: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_labels_are_built_with_a_model_of_the_hub(hub_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "taxa.csv").write_text(
        "kingdom,phylum,class,order,family,genus,species,common\n"
        "Animalia,Chordata,Mammalia,Carnivora,Felidae,Panthera,leo,lion\n"
        "Animalia,Chordata,Mammalia,Carnivora,Felidae,Panthera,onca,jaguar\n"
    )
    words = ["-m", "trygon_jobs", "build-labels", "--model", "hf-hub:trygon/tiny", "--out", str(tmp_path / "labels")]
    built = _offline(hub_cache, *words, "--taxa", str(tmp_path / "taxa.csv"))
    assert built.returncode == 0, built.stderr
    bank = LabelBank.load(tmp_path / "labels")
    assert bank.model == "hf-hub:trygon/tiny"
    assert bank.vector_ND.shape == (2, 16)


def test_config_of_a_model_of_the_hub_is_read(hub_cache: Path) -> None:
    code = "from trygon.models.folder import read_config; print(read_config('hf-hub:trygon/tiny')['model_cfg'])"
    read = _offline(hub_cache, "-c", code)
    assert read.stdout.strip() == str(TINY_CONFIG["model_cfg"] | {"custom_text": True}), read.stderr


def test_a_model_that_cannot_be_reached_is_one_line(hub_cache: Path, tmp_path: Path) -> None:
    words = [
        "-m",
        "trygon_jobs",
        "build-labels",
        "--model",
        "hf-hub:nobody/nothing",
        "--out",
        str(tmp_path / "labels"),
    ]
    refused = _offline(hub_cache, *words)
    assert refused.returncode == 2
    assert "hf-hub:nobody/nothing" in refused.stderr
    assert "Traceback" not in refused.stderr
