"""`trygon ablate` on tiny models: a failing cell does not end the grid, and what is done is not done again."""

import csv
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from trygon.testing.commands import command, told
from trygon.testing.processes import quiet_environment
from trygon.testing.shards import write_tiny_shards
from trygon.testing.tiny import write_tiny_model

# A start of Ray, and several of Python with torch.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_WORDS = ("ablate", "grid.yaml", "--shards", "shards", "--out", "out")


def _written(folder: Path) -> dict[Path, int]:
    """When each file of the cells was written."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent != folder]
    return {path: path.stat().st_mtime_ns for path in files}


def _write_grid(folder: Path, *names: str) -> None:
    base = {"initial": {"model": "tiny"}, "workers": 1, "batch_size": 16, "epochs": 1, "validation_samples": 0}
    runs = {
        "broken": {"initial": {"architecture": "nope"}},
        "classes": {"objective": "classes", "text_types": ["taxon"], "sources": {"one": 1}},
    }
    grid = {"base": base, "axes": {"run": {name: runs[name] for name in names}}}
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))


def test_a_failed_cell_is_a_row_and_a_finished_one_is_not_done_again(tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "shards", count=4, sources=("one", "two"))
    write_tiny_shards(shards, "val", 3)
    write_tiny_model(tmp_path / "tiny")
    _write_grid(tmp_path, "broken", "classes")
    # What is set for all trainings must not reach into the cells.
    environment = quiet_environment() | {"TRYGON_TRAIN_OBJECTIVE": "clip"}
    first = subprocess.run(
        command(*_WORDS), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=800, check=False
    )
    assert first.returncode == 1, first.stderr
    assert "1 of 2 cells failed (broken)" in first.stderr.splitlines()[-1]
    assert "Traceback" not in first.stderr
    out = tmp_path / "out"
    with (out / "ablation.csv").open() as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["broken", "classes"]
    assert rows["classes"]["zero_shot/seen/taxon/species/top1"] == ""
    assert 0 <= float(rows["classes"]["few_shot/seen/5/top1"]) <= 1
    assert float(rows["classes"]["training_s"]) > 0
    assert "no architecture 'nope'" in rows["broken"]["failed"]
    trained = json.loads((out / "classes/model/config.json").read_text())
    assert (trained["objective"], trained["sources"], trained["text_types"]) == ("classes", {"one": 1}, ["taxon"])
    assert len((out / "classes/model/metrics.jsonl").read_text().splitlines()) == 2
    assert "| classes " in first.stdout
    assert "a few labelled pictures of each" in (out / "classes/evaluation/index.html").read_text()
    assert "<svg" in (out / "index.html").read_text()

    before = _written(out)
    _write_grid(tmp_path, "classes")
    second = told(*_WORDS, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert _written(out) == before
    assert second.stdout.count("| classes ") == 1
