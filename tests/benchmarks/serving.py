"""The online classifier under load, beside a client that asks the same Triton directly and beside pybioclip.

    python tests/benchmarks/serving.py OUT [--model small|ViT-B-16] [--seconds 20] [--parts steady,...]
    python tests/benchmarks/serving.py OUT --soak 60

Prints Markdown. Weights are random: what they say does not matter to time. `trygon serve` is started as a user starts
it, with 20,000 taxa; all load comes from `load.py`, in a process of its own on the same machine.
"""

import argparse
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
from load import Outcome, Plan
from PIL import Image

from trygon.labelling.bank import LabelBank
from trygon.models.folder import describe
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.processes import family
from trygon.testing.tiny import TINY_CONFIG

_VISION = {
    "small": {"image_size": 224, "patch_size": 16, "width": 192, "layers": 6, "head_width": 64},
    "ViT-B-16": {"image_size": 224, "patch_size": 16, "width": 768, "layers": 12, "head_width": 64},
}
_DIM, _TAXA, _PICTURES = 512, 20_000, 32
_CONNECTIONS = 32
_HERE = Path(__file__).parent


def write_model(folder: Path, name: str) -> None:
    """A model of random weights whose text tower is small: nothing here asks it."""
    import torch
    from open_clip import SimpleTokenizer
    from open_clip.model import CustomTextCLIP

    from trygon.models.model import save_model

    torch.manual_seed(0)
    sizes = {"embed_dim": _DIM, "vision_cfg": _VISION[name]}
    config = TINY_CONFIG | {"model_cfg": TINY_CONFIG["model_cfg"] | sizes}
    save_model(folder, CustomTextCLIP(**config["model_cfg"]), config, SimpleTokenizer())


def write_labels(folder: Path, model: Path) -> None:
    """20,000 species in 4,000 genera, with random vectors."""
    sizes = (10_000, 4000, 1000, 200, 40, 5, 1)
    sizes = dict(zip(RANKS, (10_000, 4000, 1000, 200, 40, 5, 1), strict=True))
    taxa = [Taxon.from_row({rank: f"{rank}{i // size}" for rank, size in sizes.items()}) for i in range(_TAXA)]
    vector_ND = np.random.default_rng(0).standard_normal((_TAXA, _DIM), np.float32)
    vector_ND /= np.linalg.norm(vector_ND, axis=1, keepdims=True)
    tower = describe(str(model))
    tree = TaxonTree.from_taxa(taxa)
    LabelBank(tree, vector_ND.astype(np.float16), 100.0, tower.ref, tower.digest, TextType.TAXON).save(folder)


def write_pictures(folder: Path) -> None:
    """JPEGs of 800 × 600 with as much detail as a photo has: some 90 KB each."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(_PICTURES):
        coarse = Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).resize(
            (800, 600), Image.Resampling.BICUBIC
        )
        noise = rng.normal(0, 6, (600, 800, 3))
        Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)).save(folder / f"{number}.jpg")


@dataclass
class Running:
    """`trygon serve`, and what was put under it."""

    process: subprocess.Popen[bytes]
    url: str
    pictures: Path
    start_s: float

    @property
    def classify(self) -> str:
        return f"{self.url}/v1/classify"

    @property
    def triton(self) -> psutil.Process:
        return next(it for it in family(self.process.pid) if it.name() == "tritonserver")

    @property
    def grpc(self) -> str:
        words = self.triton.cmdline()
        return f"127.0.0.1:{words[words.index('--grpc-port') + 1]}"

    def actor(self, kind: str) -> psutil.Process:
        """Serve's process whose title names a class."""
        return next(it for it in family(self.process.pid) if kind in " ".join(it.cmdline()[:1]))

    @property
    def parts(self) -> dict[str, list[psutil.Process]]:
        """What requests go through."""
        triton = [self.triton, *self.triton.children(recursive=True)]
        return {"proxy": [self.actor("ProxyActor")], "replica": [self.actor("ServeReplica")], "Triton": triton}

    @property
    def memory_mb(self) -> dict[str, float]:
        """Resident memory of each part."""
        return {name: sum(it.memory_info().rss for it in some) / 1e6 for name, some in self.parts.items()}

    @property
    def cpu_s(self) -> dict[str, float]:
        """Processor time that each part has had."""
        times = {name: [it.cpu_times() for it in some] for name, some in self.parts.items()}
        return {name: sum(it.user + it.system for it in some) for name, some in times.items()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(command: list[str], ready: str) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A server, and the seconds until it was ready; it gets Ctrl-C in the end."""
    start = time.perf_counter()
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        wait_for(ready, process)
        yield process, time.perf_counter() - start
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def wait_for(url: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Until a page answers 200."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if process and process.poll() is not None:
            raise SystemExit(f"ended by itself: {process.args}")
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} did not answer in time")


@contextmanager
def serving(out: Path, name: str) -> Iterator[Running]:
    """`trygon serve` with a model and labels in a folder, made where they are missing."""
    model, labels, pictures = out / name, out / f"{name}-labels", out / "pictures"
    if not labels.exists():
        write_model(model, name)
        write_labels(labels, model)
        write_pictures(pictures)
    port = free_port()
    words = ["--model", model, "--labels", labels, "--port", port, "--log", out / "requests.jsonl"]
    command = [sys.executable, "-m", "trygon_jobs", "serve", *map(str, words)]
    url = f"http://127.0.0.1:{port}"
    with started(command, f"{url}/readyz") as (process, seconds):
        yield Running(process, url, pictures, seconds)


def under(plan: Plan) -> Outcome:
    """What comes of some load."""
    command = [sys.executable, str(_HERE / "load.py"), json.dumps(asdict(plan))]
    return Outcome(**json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


@dataclass
class Saturation:
    """Pictures a second, of several rounds in turn."""

    direct: list[float] = field(default_factory=list)
    endpoint: list[float] = field(default_factory=list)
    cpu_ms: list[dict[str, float]] = field(default_factory=list)
    """Of each part, for a picture that the endpoint answers: unlike the rates, hardly touched by a busy machine."""

    @property
    def served(self) -> float:
        return float(np.median(self.endpoint))


def saturation(running: Running, seconds: float, rounds: int) -> Saturation:
    """The endpoint and the direct client in turn."""
    found = Saturation()
    direct = Plan("grpc", running.grpc, str(running.pictures), seconds, _CONNECTIONS)
    endpoint = Plan("http", running.classify, str(running.pictures), seconds, _CONNECTIONS)
    for _ in range(rounds):
        found.direct.append(under(direct).served_per_s)
        before = running.cpu_s
        outcome = under(endpoint)
        found.endpoint.append(outcome.served_per_s)
        spent = {name: value - before[name] for name, value in running.cpu_s.items()}
        found.cpu_ms.append({name: 1000 * value / outcome.statuses["200"] for name, value in spent.items()})
    direct_median = float(np.median(found.direct))
    print(f"| direct gRPC client | {direct_median:.1f} pictures/s ({told(found.direct)}) |")
    print(f"| the endpoint | {found.served:.1f} pictures/s ({told(found.endpoint)}) |")
    print(f"| share | {found.served / direct_median:.2f} |")
    medians = {name: float(np.median([it[name] for it in found.cpu_ms])) for name in found.cpu_ms[0]}
    print(f"| CPU ms a picture | {', '.join(f'{name} {value:.1f}' for name, value in medians.items())} |", flush=True)
    return found


def told(values: list[float]) -> str:
    return ", ".join(f"{it:.1f}" for it in values)


def steady(running: Running, seconds: float, served: float) -> None:
    """Requests as people send them, at 70 % of saturation."""
    outcome = under(Plan("http", running.classify, str(running.pictures), seconds, rate=0.7 * served))
    print(
        f"| at 70 % of saturation | p50 {outcome.p50_ms:.0f} ms, p99 {outcome.p99_ms:.0f} ms, "
        f"{outcome.p99_ms / outcome.p50_ms:.1f} ×; {outcome.statuses} |",
        flush=True,
    )


def overload(running: Running, seconds: float, served: float) -> None:
    """Five times as many as can be answered."""
    before = running.memory_mb
    with watched(running) as peak:
        outcome = under(Plan("http", running.classify, str(running.pictures), seconds, rate=5 * served))
    share = f"{outcome.served_per_s:.1f} served/s, {outcome.served_per_s / served:.2f} of saturation"
    refused = f"refused p50 {outcome.refused_p50_ms:.0f} ms, p99 {outcome.refused_p99_ms:.0f} ms"
    print(f"| at 5 × saturation | {share}; {refused}; served p50 {outcome.p50_ms:.0f} ms; {outcome.statuses} |")
    told_of = ", ".join(f"{name} {before[name]:.0f} → {peak[name]:.0f}" for name in before)
    print(f"| memory there, before → most (MB) | {told_of} |", flush=True)


@contextmanager
def watched(running: Running) -> Iterator[dict[str, float]]:
    """The most memory that each part has meanwhile."""
    peak = running.memory_mb
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            for name, value in running.memory_mb.items():
                peak[name] = max(peak[name], value)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def faults(running: Running, served: float) -> None:
    """Each part killed while requests come at half of saturation; how long none was answered."""
    victims: dict[str, Callable[[], psutil.Process]] = {
        "Triton": lambda: running.triton,
        "the replica": lambda: running.actor("ServeReplica"),
        "the proxy": lambda: running.actor("ProxyActor"),
    }
    for name, victim in victims.items():
        timer = threading.Timer(4, lambda victim=victim: victim().kill())
        timer.start()
        outcome = under(Plan("http", running.classify, str(running.pictures), 30, rate=0.5 * served))
        print(f"| {name} killed | no answer for {outcome.gap_s:.1f} s; {outcome.statuses} |", flush=True)
        wait_for(f"{running.url}/readyz")


def pybioclip(out: Path, name: str, running: Running, seconds: float) -> None:
    """pybioclip behind FastAPI with the same model, and the endpoint beside it, which rests meanwhile."""
    port = free_port()
    command = [sys.executable, str(_HERE / "pybioclip_app.py"), str(out / name), str(port)]
    url = f"http://127.0.0.1:{port}"
    with started(command, f"{url}/openapi.json") as (process, _):
        plan = Plan("http", f"{url}/predict", str(running.pictures), seconds, _CONNECTIONS)
        under(Plan("http", f"{url}/predict", str(running.pictures), 5, 4))  # it compiles with the first
        before = cpu_s(process.pid)
        outcome = under(plan)
        cpu_ms = 1000 * (cpu_s(process.pid) - before) / max(1, outcome.statuses.get("200", 0))
    ours = under(Plan("http", running.classify, str(running.pictures), seconds, _CONNECTIONS))
    ratio = ours.served_per_s / outcome.served_per_s
    theirs = f"{outcome.served_per_s:.1f} pictures/s, p50 {outcome.p50_ms:.0f} ms, CPU ms a picture {cpu_ms:.1f}"
    beside = f"the endpoint {ours.served_per_s:.1f}, p50 {ours.p50_ms:.0f} ms: {ratio:.1f} ×"
    print(f"| pybioclip behind FastAPI | {theirs}; {beside} |", flush=True)


def cpu_s(pid: int) -> float:
    """Processor time that a process has had."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def soak(running: Running, minutes: float, served: float) -> None:
    """Half of saturation for long: memory a minute, and the statuses."""
    outcomes: list[Outcome] = []
    for minute in range(max(1, round(minutes))):
        outcomes.append(under(Plan("http", running.classify, str(running.pictures), 60, rate=0.5 * served)))
        memory = ", ".join(f"{name} {value:.0f} MB" for name, value in running.memory_mb.items())
        print(
            f"| minute {minute + 1} | {outcomes[-1].statuses}, p99 {outcomes[-1].p99_ms:.0f} ms; {memory} |",
            flush=True,
        )


def main() -> None:
    """Measure, and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=_VISION, default="ViT-B-16")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--parts", default="steady,overload,pybioclip,faults", help="after saturation")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="instead of the parts")
    given = parser.parse_args()
    parts = set(given.parts.split(",")) if not given.soak else set()
    with serving(given.out, given.model) as running:
        print(f"| ready after | {running.start_s:.0f} s |\n", flush=True)
        served = saturation(running, given.seconds, given.rounds).served
        if "steady" in parts:
            steady(running, given.seconds, served)
        if "overload" in parts:
            overload(running, given.seconds, served)
        if "pybioclip" in parts:
            pybioclip(given.out, given.model, running, given.seconds)
        if "faults" in parts:
            faults(running, served)
        if given.soak:
            soak(running, given.soak, served)


if __name__ == "__main__":
    main()
