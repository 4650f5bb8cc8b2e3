"""The whole chain on this machine: every step is the command that a user runs, one after the other."""

import json
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trygon.errors import TrygonError
from trygon.storage import read_json, write_json
from trygon_jobs.config import JobConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

_READY_S = 180


class DemoConfig(JobConfig):
    """The demo's settings."""

    out: Path = Path("demo-output")
    """Folder that everything lands in. Run again, finished steps are not repeated."""
    port: int = 8123
    """Port on loopback for the one request of the serving step."""


def steps(out: Path) -> dict[str, list[str]]:
    """The commands of the chain up to serving, by step, as a user types them after `trygon`."""
    shards, model, labels, archive, run = (out / name for name in ("shards", "model", "labels", "archive", "run"))
    return {
        "sample": ["sample", "--archive", str(archive)],
        "curate": ["curate", str(shards)],
        "train": ["train", "--config", "starter", "--shards", str(shards), "--out", str(model)],
        "evaluate": [
            *("evaluate", "--model", str(model), "--baseline", str(model / "initial")),
            *("--shards", str(shards), "--out", str(out / "evaluation")),
        ],
        "build-labels": [
            *("build-labels", "--model", str(model), "--out", str(labels)),
            *("--include", str(shards / "taxa.parquet")),
        ],
        "label": ["label", str(archive), "--model", str(model), "--labels", str(labels), "--out", str(run)],
    }


def main(config: Annotated[DemoConfig, Parameter(name="*")] = DemoConfig()) -> None:
    """Run the whole chain on real sample data: photos, training, a labelled archive, one request."""
    from rich.console import Console

    console = Console(highlight=False)
    out = config.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    previous = read_json(out / "summary.json")["steps"] if (out / "summary.json").is_file() else {}
    commands = {name: [sys.executable, "-m", "trygon_jobs", *words] for name, words in steps(config.out).items()}
    measured = {}
    for number, (name, command) in enumerate(commands.items(), 1):
        _announce(console, number, len(commands) + 1, command[3:], previous.get(name))
        measured[name] = _run(command)
    serve = ["serve", "--model", str(config.out / "model"), "--labels", str(config.out / "labels")]
    serve += ["--port", str(config.port)]
    _announce(console, len(commands) + 1, len(commands) + 1, serve, previous.get("serve"))
    measured["serve"], answer = _serve_once([sys.executable, "-m", "trygon_jobs", *serve], config.port, out)
    write_json(out / "answer.json", answer)
    # A step that had nothing left to do keeps the figures of the run that did the work.
    kept = {
        name: max((figures, previous.get(name, figures)), key=lambda it: it["seconds"])
        for name, figures in measured.items()
    }
    total = {"seconds": round(sum(it["seconds"] for it in kept.values()), 1)}
    total["peak_memory_bytes"] = max(it["peak_memory_bytes"] for it in kept.values())
    write_json(out / "summary.json", {"steps": kept, "last_run": measured, "total": total})
    _tell(console, config.out)


def _announce(console: "Console", number: int, count: int, words: list[str], before: dict[str, float] | None) -> None:
    expected = f"  (took {before['seconds']:.0f} s before)" if before else ""
    console.print(
        f"\n[bold cyan]step {number} of {count}[/]  trygon {shlex.join(words)}[dim]{expected}[/]", soft_wrap=True
    )


def _run(command: list[str]) -> dict[str, float]:
    with _measured(command) as (process, figures):
        while process.poll() is None:
            figures["peak_memory_bytes"] = max(figures["peak_memory_bytes"], _memory_bytes(process.pid))
            time.sleep(0.5)
    if process.returncode:
        raise TrygonError(f"the step `trygon {shlex.join(command[3:])}` ended with exit code {process.returncode}")
    return figures


def _serve_once(command: list[str], port: int, out: Path) -> tuple[dict[str, float], dict[str, object]]:
    """Start the classifier, wait for it, send it one held-out photo, and stop it."""
    with _measured(command) as (process, figures):
        _wait_ready(process, f"http://127.0.0.1:{port}/readyz")
        photo = _held_out_photo(out / "shards")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/classify", data=photo, headers={"Content-Type": "image/jpeg"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        figures["peak_memory_bytes"] = _memory_bytes(process.pid)
    return figures, answer


def _wait_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TrygonError(f"`trygon serve` ended with exit code {process.returncode} before it was ready")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise TrygonError(f"{url} was not ready within {_READY_S} s")


def _held_out_photo(shards: Path) -> bytes:
    import pyarrow.parquet as pq

    shard = sorted(shards.glob("unseen-*.parquet"))[0]
    return next(pq.ParquetFile(shard).iter_batches(1, columns=["image"]))["image"][0].as_py()


@contextmanager
def _measured(command: list[str]) -> "Iterator[tuple[subprocess.Popen[bytes], dict[str, float]]]":
    """A process that is stopped at the end, and its figures: seconds and peak memory."""
    figures: dict[str, float] = {"seconds": 0.0, "peak_memory_bytes": 0}
    start = time.monotonic()
    process = subprocess.Popen(command)
    try:
        yield process, figures
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
        figures["seconds"] = round(time.monotonic() - start, 1)


def _memory_bytes(pid: int) -> int:
    """Memory of a process and all below it; what they share counts once (PSS)."""
    import psutil

    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_pss_bytes(member.pid) for member in family)


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _tell(console: "Console", out: Path) -> None:
    """What came out, read back from the files."""
    from trygon_jobs.demo_summary import lines

    console.print()
    for line in lines(out):
        console.print(line, soft_wrap=True)
