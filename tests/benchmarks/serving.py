"""The online classifier under load, beside a client that asks the same Triton directly and beside pybioclip.

    python tests/benchmarks/serving.py OUT [--model small|ViT-B-16] [--encoder torch] [--parts steady,...]
    python tests/benchmarks/serving.py OUT --soak 3600 [--rate 5]

Prints Markdown. Weights are random: what they say does not matter to time. `trygon serve` is started as a user starts
it, with 20,000 taxa; all load comes from `load.py`, in a process of its own on the same machine.
"""

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

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
from trygon.testing.servers import free_port
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
    sizes = dict(zip(RANKS, (10_000, 4000, 1000, 200, 40, 5, 1), strict=True))
    taxa = [Taxon.from_row({rank: f"{rank}{i // size}" for rank, size in sizes.items()}) for i in range(_TAXA)]
    vector_ND = np.random.default_rng(0).standard_normal((_TAXA, _DIM), np.float32)
    vector_ND /= np.linalg.norm(vector_ND, axis=1, keepdims=True)
    tower = describe(str(model))
    tree = TaxonTree.from_taxa(taxa)
    LabelBank(tree, vector_ND, 100.0, tower.ref, tower.digest, TextType.TAXON).save(folder)


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
        return f"{words[words.index('--grpc-address') + 1]}:{words[words.index('--grpc-port') + 1]}"

    def actor(self, kind: str) -> psutil.Process:
        """Serve's process whose title names a class."""
        return next(it for it in family(self.process.pid) if kind in " ".join(it.cmdline()[:1]))

    @property
    def parts(self) -> dict[str, list[psutil.Process]]:
        """What requests go through."""
        triton = [self.triton, *self.triton.children(recursive=True)]
        # Serve's own proxy; with RAY_SERVE_ENABLE_HA_PROXY=1 in the environment, HAProxy and what starts it.
        haproxy = [it for it in family(self.process.pid) if it.name() == "haproxy"]
        proxy = [self.actor("HAProxyManager"), *haproxy] if haproxy else [self.actor("ProxyActor")]
        return {"proxy": proxy, "replica": [self.actor("ServeReplica")], "Triton": triton}

    @property
    def memory_mb(self) -> dict[str, float]:
        """Resident memory of each part."""
        return {name: sum(it.memory_info().rss for it in some) / 1e6 for name, some in self.parts.items()}

    @property
    def cpu_s(self) -> dict[str, float]:
        """Processor time that each part has had."""
        times = {name: [it.cpu_times() for it in some] for name, some in self.parts.items()}
        return {name: sum(it.user + it.system for it in some) for name, some in times.items()}


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
def serving(out: Path, name: str, encoder: str = "torch") -> Iterator[Running]:
    """`trygon serve` with a model, its encoder and labels in a folder, made where they are missing."""
    model, labels, pictures = out / name, out / f"{name}-labels", out / "pictures"
    if not labels.exists():
        write_model(model, name)
        write_labels(labels, model)
        write_pictures(pictures)
    trygon = [sys.executable, "-m", "trygon_jobs"]
    if encoder != "torch":
        words = ["--model", model, "--encoder", encoder, "--pictures", pictures]
        subprocess.run([*trygon, "export-model", *map(str, words)], check=True, capture_output=True)
    port = free_port()
    words = ["--model", model, "--labels", labels, "--encoder", encoder, "--port", port]
    command = [*trygon, "serve", *map(str, words), "--log", str(out / "requests.jsonl")]
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
    """Of a client that sends pixels, ready beforehand."""
    decoding: list[float] = field(default_factory=list)
    """Of a client that has the same JPEGs as those that ask the endpoint, and decodes and resizes them itself."""
    endpoint: list[float] = field(default_factory=list)
    cpu_ms: list[dict[str, float]] = field(default_factory=list)
    """Of each part, for a picture that the endpoint answers: unlike the rates, hardly touched by a busy machine."""
    idle: list[float] = field(default_factory=list)
    """The share of the machine that nobody used meanwhile."""
    others: list[float] = field(default_factory=list)
    """The share of the machine that other programs used, Ray's own among them."""

    @property
    def served(self) -> float:
        return float(np.median(self.endpoint))


def saturation(running: Running, seconds: float, rounds: int) -> Saturation:
    """The endpoint and the direct clients in turn."""
    found = Saturation()
    direct = Plan("grpc", running.grpc, str(running.pictures), seconds, _CONNECTIONS)
    decoding = replace(direct, protocol="grpc-jpeg")
    endpoint = Plan("http", running.classify, str(running.pictures), seconds, _CONNECTIONS)
    for _ in range(rounds):
        found.direct.append(under(direct).served_per_s)
        found.decoding.append(under(decoding).served_per_s)
        before, machine = running.cpu_s, psutil.cpu_times()
        outcome = under(endpoint)
        found.endpoint.append(outcome.served_per_s)
        spent = {name: value - before[name] for name, value in running.cpu_s.items()}
        num_pictures = outcome.statuses["200"]
        spent["client"] = outcome.client_cpu_ms * num_pictures / 1000
        found.cpu_ms.append({name: 1000 * value / num_pictures for name, value in spent.items()})
        idle_s, whole_s = (
            now - then for now, then in zip(_idle_and_all(psutil.cpu_times()), _idle_and_all(machine), strict=True)
        )
        found.idle.append(idle_s / whole_s)
        found.others.append(1 - (idle_s + sum(spent.values())) / whole_s)
    print(f"| the endpoint | {found.served:.1f} pictures/s ({told(found.endpoint)}) |")
    for name, rates in (("that sends pixels", found.direct), ("that decodes the same JPEGs", found.decoding)):
        rate = float(np.median(rates))
        print(f"| direct client {name} | {rate:.1f} pictures/s ({told(rates)}): share {found.served / rate:.2f} |")
    medians = {name: float(np.median([it[name] for it in found.cpu_ms])) for name in found.cpu_ms[0]}
    print(f"| CPU ms a picture | {', '.join(f'{name} {value:.1f}' for name, value in medians.items())} |")
    idle, others = (100 * float(np.median(it)) for it in (found.idle, found.others))
    print(
        f"| of the machine | {idle:.0f} % idle, {others:.0f} % for other programs and the client's start |", flush=True
    )
    return found


def _idle_and_all(times: Any) -> tuple[float, float]:
    return times.idle + times.iowait, sum(times)


def told(values: list[float]) -> str:
    return ", ".join(f"{it:.1f}" for it in values)


def steady(running: Running, seconds: float, served: float) -> None:
    """70 % of saturation, with even gaps as load generators have them, and by chance as people ask: at least 200
    requests each where that takes no more than a minute."""
    seconds = max(seconds, min(60.0, 200 / (0.7 * served)))
    plan = Plan("http", running.classify, str(running.pictures), seconds, rate=0.7 * served)
    for gaps, evenly in (("even gaps", True), ("gaps by chance", False)):
        outcome = under(replace(plan, evenly=evenly))
        print(
            f"| at 70 % of saturation, {gaps} | p50 {outcome.p50_ms:.0f} ms, p99 {outcome.p99_ms:.0f} ms, "
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
        outcome = under(Plan("http", running.classify, str(running.pictures), 40, rate=0.5 * served))
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


def soak(running: Running, seconds: float, rate: float) -> None:
    """So many requests a second for long: a row for each minute, and how memory grew after the first fifth of it."""
    rows: list[tuple[float, dict[str, float]]] = []
    start = time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        window = min(60.0, seconds - passed)
        outcome = under(Plan("http", running.classify, str(running.pictures), window, rate=rate))
        rows.append((time.monotonic() - start, running.memory_mb))
        memory = ", ".join(f"{name} {value:.0f} MB" for name, value in rows[-1][1].items())
        print(f"| {rows[-1][0]:.0f} s | {outcome.statuses}, p99 {outcome.p99_ms:.0f} ms; {memory} |", flush=True)
    settled = [row for row in rows if row[0] >= seconds / 5]
    hours = (settled[-1][0] - settled[0][0]) / 3600
    for name in settled[0][1]:
        grown = settled[-1][1][name] - settled[0][1][name]
        print(f"| {name} grew by | {grown:.1f} MB{f', {grown / hours:.0f} MB an hour' if hours else ''} |")


def main() -> None:
    """Measure, and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=_VISION, default="ViT-B-16")
    parser.add_argument("--encoder", default="torch", help="as for trygon serve")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement; 60 for a slow model")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--parts", default="steady,overload,pybioclip,faults", help="after saturation")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="instead of the parts")
    parser.add_argument("--rate", type=float, help="requests a second of the soak, in place of half of saturation")
    given = parser.parse_args()
    parts = set(given.parts.split(",")) if not given.soak else set()
    with serving(given.out, given.model, given.encoder) as running:
        print(f"| {given.model}, {given.encoder} | |\n|---|---|")
        print(f"| ready after | {running.start_s:.0f} s |", flush=True)
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
            soak(running, given.soak, given.rate or 0.5 * served)


if __name__ == "__main__":
    main()
