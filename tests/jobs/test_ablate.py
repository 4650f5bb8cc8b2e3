"""`trygon ablate` on tiny models: a failing cell does not end the grid, and what is done is not done again."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from trygon.testing.processes import quiet_environment
from trygon.testing.shards import write_tiny_shards
from trygon.testing.tiny import write_tiny_model

# Two starts of Ray, and six of Python with torch.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _ablate(folder: Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    words = ["ablate", "grid.yaml", "--shards", "shards", "--out", "out"]
    return subprocess.run(
        [sys.executable, "-m", "trygon_jobs", *words],
        cwd=folder,
        env=quiet_environment() | (environment or {}),
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )


def _written(folder: Path) -> dict[Path, int]:
    """When each file of the cells was written."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent != folder]
    return {path: path.stat().st_mtime_ns for path in files}


def _write_grid(folder: Path, *names: str) -> None:
    base = {"initial": {"model": "tiny"}, "workers": 1, "batch_size": 16, "epochs": 1, "validation_samples": 0}
    runs = {
        "taxa": {"objective": "clip_taxa", "text_types": ["taxon"], "sources": {"one": 1}},
        "classes": {"objective": "classes"},
        "broken": {"initial": {"architecture": "nope"}},
    }
    grid = {"base": base, "axes": {"run": {name: runs[name] for name in names}}}
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))


def test_a_failed_cell_is_a_row_and_a_finished_one_is_not_done_again(tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "shards", count=4, sources=("one", "two"))
    write_tiny_shards(shards, "val", 3)
    write_tiny_model(tmp_path / "tiny")
    _write_grid(tmp_path, "taxa", "broken", "classes")
    # What is set for all trainings must not reach into the cells.
    first = _ablate(tmp_path, {"TRYGON_TRAIN_OBJECTIVE": "clip"})
    assert first.returncode == 1, first.stderr
    assert "1 of 3 cells failed (broken)" in first.stderr.splitlines()[-1]
    assert "Traceback" not in first.stderr
    out = tmp_path / "out"
    with (out / "ablation.csv").open() as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["taxa", "broken", "classes"]
    assert 0 <= float(rows["taxa"]["zero_shot/seen/taxon/species/top1"]) <= 1
    assert rows["classes"]["zero_shot/seen/taxon/species/top1"] == ""
    assert all(float(rows[name]["few_shot/seen/5/top1"]) >= 0 for name in ("taxa", "classes"))
    assert float(rows["classes"]["training_s"]) > 0
    assert "no architecture 'nope'" in rows["broken"]["failed"]
    trained = json.loads((out / "taxa/model/config.json").read_text())
    assert (trained["objective"], trained["sources"], trained["text_types"]) == ("clip_taxa", {"one": 1}, ["taxon"])
    steps = {name: len((out / name / "model/metrics.jsonl").read_text().splitlines()) for name in ("taxa", "classes")}
    assert steps == {"taxa": 2, "classes": 4}
    assert "| taxa " in first.stdout
    assert "a few labelled pictures of each" in (out / "taxa/evaluation/index.html").read_text()
    assert "<svg" in (out / "index.html").read_text()

    before = _written(out)
    _write_grid(tmp_path, "taxa", "classes")
    second = _ablate(tmp_path)
    assert second.returncode == 0, second.stderr
    assert _written(out) == before
    assert second.stdout.count("| taxa ") == 1
