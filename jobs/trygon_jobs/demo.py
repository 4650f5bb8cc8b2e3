"""The whole chain on this machine: every step is the command that a user runs, one after the other."""

import json
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from pydantic import Field

from trygon.disk import writing_to
from trygon.errors import TrygonError, UserError
from trygon.storage import read_json, write_bytes, write_json
from trygon_jobs.config import JobConfig

if TYPE_CHECKING:
    from rich.console import Console

_READY_S = 900
_LOOK_S = 0.5

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The classifier is on this machine: no proxy of the user's stands before it."""


class DemoConfig(JobConfig):
    """The demo's settings."""

    out: Path = Path("demo-output")
    """Folder that everything lands in. Run again, finished steps are not repeated."""
    port: int = Field(default=8123, ge=1, le=65535)
    """Port on loopback for the one request of the serving step."""


@dataclass(frozen=True)
class Step:
    """One command of the chain."""

    words: list[str]
    """As a user types them after `trygon`."""
    writes: tuple[Path, ...] = ()
    """What it writes last: a step that leaves these files as they were had nothing to do."""

    def stamps(self) -> list[int | None]:
        """When each of these files was written; None for one that is not there."""
        return [path.stat().st_mtime_ns if path.is_file() else None for path in self.writes]

    def stood_since(self, stamps: list[int | None]) -> bool:
        """Whether all of them were there then and have not been written since."""
        return bool(stamps) and None not in stamps and self.stamps() == stamps


def steps(out: Path, port: int) -> dict[str, Step]:
    """The chain, by the names of its jobs."""
    from trygon.cache import sample_folder
    from trygon.data.sample.build import drawn_parts

    shards, model, labels, archive, run = (out / name for name in ("shards", "model", "labels", "archive", "run"))
    evaluation, made_by = out / "evaluation", ["--model", str(model)]
    # Among 15,000 real species a hundred made-up ones would not be found again: they are the only labels then.
    taxa = "--taxa" if "photos" in drawn_parts(sample_folder()) else "--include"
    return {
        "sample": Step(
            ["sample", "--archive", str(archive)], (sample_folder() / "sample.json", out / "archive-truth.csv")
        ),
        "curate": Step(["curate", str(shards), "--config", "photos"], (shards / "summary.json",)),
        "train": Step(
            ["train", "--config", "starter", "--shards", str(shards), "--out", str(model)],
            (model / "provenance.json",),
        ),
        "evaluate": Step(
            [
                *("evaluate", *made_by, "--baseline", str(model / "initial")),
                *("--shards", str(shards), "--out", str(evaluation)),
            ],
            (evaluation / "evaluation.json",),
        ),
        "build-labels": Step(
            [
                *("build-labels", *made_by, "--out", str(labels)),
                *(taxa, str(shards / "taxa.parquet"), "--calibrate", str(shards)),
            ],
            (labels / "bank.json",),
        ),
        "label": Step(
            ["label", str(archive), *made_by, "--labels", str(labels), "--out", str(run)], (run / "summary.json",)
        ),
        "serve": Step(["serve", *made_by, "--labels", str(labels), "--port", str(port)]),
    }


class Costs:
    """What each step cost, as it stands in `summary.json` after every step, also after one that failed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: dict[str, dict[str, Any]] = read_json(path).get("steps", {}) if path.is_file() else {}
        self.last_run: dict[str, dict[str, Any]] = {}

    def add(self, name: str, figures: dict[str, Any]) -> None:
        """Note a step's figures and write the file; a step found complete keeps those of the run that did the work."""
        self.last_run[name] = figures
        done_now = figures["exit_code"] == 0 and not figures["was_complete"]
        if done_now or (figures["was_complete"] and name not in self.steps):
            self.steps[name] = figures
        total = {
            "seconds": round(sum(it["seconds"] for it in self.steps.values()), 1),
            "peak_memory_bytes": max((it["peak_memory_bytes"] for it in self.steps.values()), default=0),
        }
        write_json(self.path, {"steps": self.steps, "last_run": self.last_run, "total": total})


def main(config: Annotated[DemoConfig, Parameter(name="*")] = DemoConfig()) -> None:
    """Run the whole chain on sample data: photos, training, a labelled archive, one request.

    Where Debian 12's apt is missing, drawn organisms stand in for the photos; the first step says so.
    """
    from rich.console import Console

    from trygon_jobs.demo_summary import lines

    console = Console(highlight=False)
    _require_port(config.port)
    with writing_to(config.out):
        config.out.mkdir(parents=True, exist_ok=True)
        _run_chain(config, console)
    console.print()
    for line in lines(config.out):
        console.print(line, soft_wrap=True)


def _require_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"cannot listen on port {port}: {error.strerror}; choose another with --port") from error


def _run_chain(config: DemoConfig, console: "Console") -> None:
    costs, chain = Costs(config.out / "summary.json"), steps(config.out, config.port)
    for number, (name, step) in enumerate(chain.items(), 1):
        before = costs.steps.get(name)
        expected = f"  (took {before['seconds']:.0f} s before)" if before else ""
        title = f"\n[bold cyan]step {number} of {len(chain)}[/]  trygon {shlex.join(step.words)}[dim]{expected}[/]"
        console.print(title, soft_wrap=True)
        with measured(name, step, costs) as process:
            if name == "serve":
                _ask(process, config)
            else:
                process.wait()
        _end_unless_done(process, step)


@contextmanager
def measured(name: str, step: Step, costs: Costs) -> Iterator[subprocess.Popen[bytes]]:
    """The running command of a step; at the end it is stopped, and what it cost is noted however it ended."""
    stamps, start = step.stamps(), time.monotonic()
    command = [sys.executable, "-m", "trygon_jobs", *step.words, *(["--debug"] if "--debug" in sys.argv else [])]
    process = subprocess.Popen(command)
    memory = PeakMemory(process.pid)
    try:
        with memory:
            yield process
    finally:
        _stop(process)
        figures = {
            "seconds": round(time.monotonic() - start, 1),
            "peak_memory_bytes": memory.bytes,
            "exit_code": process.returncode,
            "was_complete": process.returncode == 0 and step.stood_since(stamps),
        }
        costs.add(name, figures)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_unless_done(process: subprocess.Popen[bytes], step: Step) -> None:
    """End with a failed step's exit code. It has said why itself, unless a signal ended it."""
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise TrygonError(
            f"`trygon {shlex.join(step.words)}` was ended by {name}, as where memory runs out; "
            "give the same command again: it goes on"
        )
    if process.returncode:
        sys.exit(process.returncode)


class PeakMemory:
    """The most memory that a process and all below it held together, seen twice a second while `with` lasts."""

    def __init__(self, pid: int) -> None:
        self.pid, self.bytes = pid, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self.bytes = max(self.bytes, _memory_bytes(self.pid))


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


def _ask(server: subprocess.Popen[bytes], config: DemoConfig) -> None:
    """Send one held-out photo to the classifier once it is ready; the photo and the answer are kept."""
    url = f"http://127.0.0.1:{config.port}"
    if not _becomes_ready(server, f"{url}/readyz"):
        return
    row = _held_out_animal(config.out / "shards")
    photo = row.pop("image")
    request = urllib.request.Request(f"{url}/v1/classify", data=photo, headers={"Content-Type": "image/jpeg"})
    with _DIRECT.open(request, timeout=_READY_S) as response:
        reply = json.load(response)
    write_bytes(config.out / "photo.jpg", photo)
    write_json(config.out / "answer.json", {"photo": row, "answer": {"floor": reply["floor"], **reply["answers"][0]}})


def _becomes_ready(server: subprocess.Popen[bytes], url: str) -> bool:
    """Wait for an answer; False where the server ends before."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            return False
        try:
            with _DIRECT.open(url, timeout=5):
                return True
        except OSError:
            time.sleep(_LOOK_S)
    raise TrygonError(f"{url} was not ready within {_READY_S} s")


def _held_out_animal(shards: Path) -> dict[str, Any]:
    """The first held-out sample that shows an animal: most names in the LabelBank are of animals."""
    import pyarrow.parquet as pq

    from trygon.data.shards import list_shards

    for shard in list_shards(shards, "unseen"):
        if found := pq.read_table(shard, filters=[("kingdom", "==", "Animalia")]).slice(0, 1).to_pylist():
            return found[0]
    raise TrygonError(f"{shards} holds no unseen sample of an animal to send")
