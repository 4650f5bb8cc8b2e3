"""How fast training is beside open_clip's own trainer, and beside a bare step on samples that lie in memory.

    python tests/benchmarks/training.py OUT [--images 4096] [--batch 128] [--steps 48] [--workers 1 2] [--rounds 2]
    python tests/benchmarks/training.py OUT --workers 1 --threads 1  # on two cores: one is left to readers and Ray
    python tests/benchmarks/training.py OUT --model ViT-B-16 --images 320 --batch 16 --steps 12 --skip 4 --rounds 1
    python tests/benchmarks/training.py OUT --model ViT-B-16 --precision bf16  # and the rest as above

All train the same model from the same weights, in fp32 or `--precision bf16`, on the same curated pictures of a
synthetic tree of life: a small one (6 layers of 192 for pictures of 224 pixels in patches of 32, 4 of 192 for captions
of up to 77 tokens), or BioCLIP's ViT-B/16. `trygon train` reads the Parquet form, `open_clip_train.main` the
WebDataset form, with as many processes, batches of the same size and one process each that reads. They take turns. A
rate is that of the steps after the first `--skip` of a run, by the clock, from what each trainer writes for every
step. The bare step is `Learner.step` over and over on the same few batches, with as many processes. Then how near that
is to what the cores do in plain products of matrices, and what resilience costs: seconds that a checkpoint takes from
training, and from the start of a command that goes on to its first step. Some 25 minutes on two cores, either.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from trygon.storage import read_json
from trygon.testing.commands import command

# open_clip gives data parallelism the device, which that refuses for a CPU; nothing else is changed.
_OPEN_CLIP = """
import runpy, torch
parallel = torch.nn.parallel.DistributedDataParallel
torch.nn.parallel.DistributedDataParallel = lambda module, device_ids=None, **options: parallel(module, **options)
runpy.run_module("open_clip_train.main", run_name="__main__")
"""
_MODELS = {
    "small": {
        "embed_dim": 192,
        "vision_cfg": {"image_size": 224, "patch_size": 32, "width": 192, "layers": 6, "head_width": 64},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 192, "heads": 3, "layers": 4},
    },
    "ViT-B-16": {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "patch_size": 16, "width": 768, "layers": 12, "head_width": 64},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
    },
}


_PRECISIONS = {"fp32": "fp32", "bf16": "amp_bf16"}
"""What open_clip's trainer calls them."""


def write_model(folder: Path, name: str) -> None:
    """The model that all start from, of random weights."""
    from open_clip import SimpleTokenizer
    from open_clip.model import CustomTextCLIP

    from trygon.models.model import save_model
    from trygon.testing.tiny import TINY_CONFIG

    torch.manual_seed(0)
    config = TINY_CONFIG | {"model_cfg": _MODELS[name]}
    save_model(folder, CustomTextCLIP(**config["model_cfg"]), config, SimpleTokenizer())


def write_data(out: Path, images: int) -> Path:
    """Curated shards in both forms."""
    made, shards = out / f"sources-{images}", out / f"shards-{images}"
    subprocess.run(command("synthesize", made, "--images", images), check=True)
    sources = [word for kind in ("inat21", "eol") for word in ("--source", f"{kind}:{made / kind}")]
    flags = ["--side", 224, "--resize", "squash", "--shard-rows", 512, "--webdataset", "--holdout", 0]
    subprocess.run(command("curate", shards, *sources, *flags), check=True)
    return shards


def train_command(out: Path, shards: Path, run: Path, workers: int, options: Any, epochs: int) -> list[str]:
    words = ["--shards", shards, "--out", run, "--initial.model", out / "model", "--objective", "clip"]
    words += ["--workers", workers, "--batch-size", options.batch, "--epochs", epochs, "--shuffle-rows", 512]
    words += ["--warmup-steps", 10, "--threads", threads(workers, options), "--precision", options.precision]
    return command("train", *words, "--steps-per-leg", options.steps)


def threads(workers: int, options: Any) -> int:
    """Of each process that trains."""
    return options.threads or max(1, (os.cpu_count() or 1) // workers)


def lines_of(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def rate(times: list[float], options: Any) -> float:
    """Images a second, from when the steps were done."""
    kept = times[options.skip - 1 :]
    return options.batch * (len(kept) - 1) / (kept[-1] - kept[0])


def run_trygon(out: Path, shards: Path, workers: int, options: Any) -> tuple[float, float]:
    """Images a second, and the share of it that went by waiting for data."""
    run = out / "run"
    shutil.rmtree(run, ignore_errors=True)
    command = train_command(out, shards, run, workers, options, epochs=options.epochs)
    subprocess.run([*command, "--checkpoint-minutes", "60"], check=True)
    lines = lines_of(run)[: options.steps]
    times = [line["time"] for line in lines]
    waited = sum(line["data_s"] for line in lines[options.skip :]) / (times[-1] - times[options.skip - 1])
    return rate(times, options), waited


def run_open_clip(out: Path, shards: Path, workers: int, options: Any) -> float:
    tars = sorted(map(str, (shards / "webdataset/train").glob("*.tar")))
    logs = out / "open_clip"
    shutil.rmtree(logs, ignore_errors=True)
    command = [
        sys.executable,
        "-c",
        _OPEN_CLIP,
        "--model",
        f"local-dir:{out / 'model'}",
        "--device",
        "cpu",
    ]
    command += ["--dist-backend", "gloo", "--dataset-type", "webdataset", "--train-data", "::".join(tars)]
    command += ["--dataset-resampled", "--train-num-samples", str(options.steps * options.batch), "--workers", "1"]
    command += ["--batch-size", str(options.batch // workers), "--epochs", "1", "--lr", "1e-4"]
    command += ["--precision", _PRECISIONS[options.precision]]
    command += [
        "--warmup",
        "10",
        "--local-loss",
        "--gather-with-grad",
        "--log-every-n-steps",
        "1",
        "--save-frequency",
        "0",
    ]
    command += ["--logs", str(logs), "--name", "run", "--beta1", "0.9", "--beta2", "0.98", "--eps", "1e-6"]
    # As torchrun would start them; its own parser takes --logs for one of its options.
    shared = {
        "OMP_NUM_THREADS": str(threads(workers, options)), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(29500 + os.getpid() % 500), "WORLD_SIZE": str(workers),
    }  # fmt: skip
    processes = [
        subprocess.Popen(command, env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, cwd=out)
        for rank in range(workers)
    ]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit("open_clip's trainer failed")
    text = next(logs.rglob("out.log")).read_text()
    stamps = re.findall(r"^(\S+,\S+) \| INFO \| Train Epoch", text, re.MULTILINE)
    return rate([datetime.strptime(it, "%Y-%m-%d,%H:%M:%S").timestamp() for it in stamps], options)


def _bare(rank: int, workers: int, out: Path, shards: Path, options: Any) -> None:
    from trygon.data.ingest import Preparer, row_of
    from trygon.data.mixing import Samples, mixed_batches
    from trygon.data.plan import Plan
    from trygon.data.row_groups import list_row_groups
    from trygon.data.shards import list_shards
    from trygon.models.model import load_model
    from trygon.training.learner import Learner
    from trygon.training.reading import preparation_of
    from trygon.training.settings import TrainSettings

    torch.set_num_threads(threads(workers, options))
    if workers > 1:
        meet = f"file://{out}/meet-{workers}"
        dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=workers)
    settings = TrainSettings(
        initial=str(out / "model"),
        shards=(),
        taxa="",
        metrics="",
        objective="clip",
        batch_size=options.batch,
        warmup_steps=10,
        precision=options.precision,
    )
    model = load_model(out / "model", "cpu")
    plan = Plan.of(list_row_groups(list_shards(shards, "train")), 1, 4, options.batch, 0)
    prepare = Preparer(preparation_of(model, settings))
    visits = plan.visits(plan.leg(0), rank, workers)
    pieces = (prepare({name: np.asarray([value]) for name, value in row_of(visit).items()}) for visit in visits)
    batches = list(mixed_batches(Samples(pieces), 4, options.batch // workers, 512, random.Random(0)))
    learner, times = Learner(model, settings), []
    for step in range(options.steps):
        batch = {name: column for name, column in batches[step % 4].items() if name != "broken"}
        learner.step(batch, step, options.steps)
        times.append(time.time())
    if rank == 0:
        (out / "bare").write_text(str(rate(times, options)))
    if workers > 1:
        dist.destroy_process_group()


def run_bare(out: Path, shards: Path, workers: int, options: Any) -> float:
    from trygon.training.allocator import allocator

    (out / f"meet-{workers}").unlink(missing_ok=True)
    environment = allocator()
    os.environ.update(environment)  # as trygon's workers have it
    mp.spawn(_bare, (workers, out, shards, options), nprocs=workers)  # pyright: ignore[reportPrivateImportUsage]
    for name in environment:
        del os.environ[name]
    return float((out / "bare").read_text())


def matrix_gflops(precision: str) -> float:
    """What all cores do in a product such as that of a ViT-B's MLP: 16 pictures of 197 tokens, 768 to 3,072 wide."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.rand(16 * 197, 768, dtype=dtype), torch.rand(768, 3072, dtype=dtype)
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - started)
    return 2 * left.shape[0] * right.numel() / statistics.median(seconds) / 1e9


def resilience(out: Path, shards: Path, options: Any, images_per_s: float) -> tuple[float, float, float]:
    """Seconds that the steps wait for a checkpoint; that it costs in all, slower steps meanwhile included, beside a
    run without any; and from a start to the first step of a run that goes on. As many workers as
    in the last row of the table."""
    run = out / "resumed"
    shutil.rmtree(run, ignore_errors=True)
    command = train_command(out, shards, run, options.workers[-1], options, epochs=2 * options.epochs)
    command[command.index("--steps-per-leg") + 1] = "4"
    # Each checkpoint would have a validation of its own beside the steps, which is no part of its cost.
    command += ["--checkpoint-minutes", "0", "--validation-samples", "0"]
    process = subprocess.Popen(command)
    saved: set[str] = set()
    while len(lines_of(run)) < options.steps:
        saved |= {path.name for path in (run / "checkpoints/run").glob("leg-*")}
        time.sleep(0.2)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    for child in children:
        if child.is_running():
            child.kill()
    process.wait()
    lines = lines_of(run)
    pairs = list(zip(lines[options.skip :], lines[options.skip + 1 :], strict=False))
    # What a step does not account for itself lies between it and the one before: a checkpoint, where one is made.
    gaps = [after["time"] - before["time"] - after["data_s"] - after["step_s"] for before, after in pairs]
    share = (len(lines) - options.skip) / len(lines)
    wait = sum(gaps) / max(len(saved) * share, 1)
    slower = options.batch / rate([line["time"] for line in lines], options) - options.batch / images_per_s
    cost = slower * len(pairs) / max(len(saved) * share, 1)
    started = time.time()
    process = subprocess.Popen(command)
    while not (new := [line for line in lines_of(run) if line["time"] > started]):
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.wait()
    return wait, cost, new[0]["time"] - started


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=_MODELS, default="small")
    parser.add_argument("--precision", choices=_PRECISIONS, default="fp32")
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--skip", type=int, default=12)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0, help="of each process that trains; 0 for all cores")
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    shards = write_data(out, options.images)
    write_model(out / "model", options.model)
    samples = read_json(shards / "summary.json")["samples"]["train"]
    options.epochs = -(-options.steps * options.batch // samples)
    table = ["| workers | trygon | open_clip's trainer | × | bare step | share of it | waiting for data |"]
    table.append("|---|---|---|---|---|---|---|")
    ours = 0.0
    for workers in options.workers:
        rounds = []
        for _ in range(options.rounds):
            ours, waited = run_trygon(out, shards, workers, options)
            theirs, bare = run_open_clip(out, shards, workers, options), run_bare(out, shards, workers, options)
            rounds.append((ours, theirs, bare, waited))
            print(f"{workers} workers: {ours:.3g}, open_clip's {theirs:.3g}, bare {bare:.3g} images/s", flush=True)
        ours, theirs, bare, waited = (statistics.median(column) for column in zip(*rounds, strict=True))
        table.append(
            f"| {workers} | {ours:.3g} | {theirs:.3g} | {ours / theirs:.2f} "
            f"| {bare:.3g} | {ours / bare:.2f} | {waited:.1%} |"
        )
    print("\n".join(table), flush=True)
    lines = lines_of(out / "run")[options.skip : options.steps]
    done = statistics.median(1000 * line["tflops"] for line in lines)
    most = matrix_gflops(options.precision)
    print(f"\nSteps of the last row do {done:.0f} GFLOP a second, plain products of matrices {most:.0f}.")
    wait, cost, resumed = resilience(out, shards, options, ours)
    print(f"\nSteps wait {wait:.2f} s for a checkpoint; with what it takes from them meanwhile it costs {cost:.1f} s.")
    print(f"A run that goes on is at its first step after {resumed:.0f} s.")


if __name__ == "__main__":
    main()
