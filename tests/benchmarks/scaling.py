"""What training costs on many GPUs, on paper: cores that keep them fed, and GPU-hours. Prints Markdown.

    python tests/benchmarks/scaling.py [--core-rate 588] [--picture-bytes 28000] [--utilisation 0.4]

Nothing is measured here. What one core reads comes from docs/benchmarks.md (`reading.py`), what one GPU trains from
what others published; each has its source beside it. Utilisation is the share of a GPU's peak in half precision that
the operations of a forward pass and twice as many on the way back would take; what is computed a second time to save
memory does not count.
"""

import argparse
from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

TREE_OF_LIFE_10M = round(0.95 * 10_065_576)
"""Training samples: all pictures of the data set's card, less 5 % for validation."""
EPOCHS = 100
BATCH = 32_768
GPUS = (8, 32, 256)
PEAK_FLOPS = {"A100": 312e12, "H100": 989e12}
"""Dense half precision, by NVIDIA's data sheets."""


class Architecture(NamedTuple):
    """Operations of a forward pass, as the BioCLIP ecosystem's page on models has them."""

    name: str
    image_flops: float
    text_flops: float


B16 = Architecture("ViT-B/16", 34e9, 6e9)
L14 = Architecture("ViT-L/14", 155e9, 13e9)


class Rate(NamedTuple):
    """What one GPU trains."""

    architecture: Architecture
    gpu: str
    samples_per_s: float
    source: str


def samples_per_s(samples: float, epochs: float, num_gpus: int, hours: float) -> float:
    """Of one GPU, where so many took so long."""
    return samples * epochs / (num_gpus * hours * 3600)


def training_flops(architecture: Architecture) -> float:
    """Operations that one sample takes: a forward pass, and twice as many on the way back."""
    return 3 * (architecture.image_flops + architecture.text_flops)


def utilisation(rate: float, architecture: Architecture, gpu: str) -> float:
    """The share of a GPU's peak that a rate comes to."""
    return rate * training_flops(architecture) / PEAK_FLOPS[gpu]


def rate_at(share: float, architecture: Architecture, gpu: str) -> float:
    """Samples a second of one GPU that is used to a share of its peak."""
    return share * PEAK_FLOPS[gpu] / training_flops(architecture)


def cores_per_gpu(gpu_rate: float, core_rate: float) -> int:
    """Whole cores that prepare as much as one GPU trains."""
    return ceil(gpu_rate / core_rate)


def bytes_per_s(gpu_rate: float, num_gpus: int, picture_bytes: float) -> float:
    """What all GPUs together ask of storage."""
    return gpu_rate * num_gpus * picture_bytes


def gpu_hours(samples: float, epochs: float, gpu_rate: float) -> float:
    """GPUs times hours."""
    return samples * epochs / gpu_rate / 3600


def published() -> list[Rate]:
    """The rates that follow from what others said of their runs."""
    tol = TREE_OF_LIFE_10M
    return [
        Rate(B16, "A100", samples_per_s(tol, EPOCHS, 8, 96), "BioCLIP's model card: 4 days on 8"),
        Rate(B16, "H100", samples_per_s(tol, EPOCHS, 8, 38), "bioclip-2 PR 18: about 38 h on 8, if for 100 epochs"),
        Rate(B16, "H100", samples_per_s(tol, EPOCHS, 8, 30), "the same, compiled: 30 h"),
        Rate(
            L14, "not said", samples_per_s(213.9e6, 30, 32, 240),
            "BioCLIP 2's job: 30 epochs in at most 240 h on 32, replay not counted: at least that",
        ),
    ]  # fmt: skip


def projected(share: float) -> list[Rate]:
    """The rates that GPUs would have, used to a share of their peak."""
    source = f"if {share:.0%} of the peak were used"
    return [Rate(it, gpu, rate_at(share, it, gpu), source) for it in (B16, L14) for gpu in PEAK_FLOPS]


def lines(core_rate: float, picture_bytes: float, share: float) -> Iterator[str]:
    """The tables."""
    rates = [*published(), *projected(share)]
    yield "| model | GPU | samples/s a GPU | of its peak | cores a GPU | GPU-hours | source of the rate |"
    yield "|---|---|---|---|---|---|---|"
    for rate in rates:
        known = rate.gpu in PEAK_FLOPS
        used = f"{utilisation(rate.samples_per_s, rate.architecture, rate.gpu):.0%}" if known else ""
        yield (
            f"| {rate.architecture.name} | {rate.gpu} | {rate.samples_per_s:,.0f} | {used} "
            f"| {cores_per_gpu(rate.samples_per_s, core_rate)} "
            f"| {gpu_hours(TREE_OF_LIFE_10M, EPOCHS, rate.samples_per_s):,.0f} | {rate.source} |"
        )
    yield f"\n| model | GPU, samples/s |{'|'.join(f' {num} GPUs ' for num in GPUS)}|"
    yield f"|---|---|{'---|' * len(GPUS)}"
    for rate in rates:
        cells = [_at(rate, num_gpus, core_rate, picture_bytes) for num_gpus in GPUS]
        yield f"| {rate.architecture.name} | {rate.gpu}, {rate.samples_per_s:,.0f} | {' | '.join(cells)} |"
    yield from _check()


def _at(rate: Rate, num_gpus: int, core_rate: float, picture_bytes: float) -> str:
    cores = num_gpus * cores_per_gpu(rate.samples_per_s, core_rate)
    storage = bytes_per_s(rate.samples_per_s, num_gpus, picture_bytes) / 1e9
    hours = gpu_hours(TREE_OF_LIFE_10M, EPOCHS, rate.samples_per_s) / num_gpus
    return f"{cores:,} cores, {storage:.1f} GB/s, {hours:,.1f} h"


def _check() -> Iterator[str]:
    """BioCLIP's own run, from what other GPUs did years later."""
    yield "\n| BioCLIP's run, 8 A100 | GPU-hours | days |\n|---|---|---|"
    took, plain, compiled, _ = published()
    hours = gpu_hours(TREE_OF_LIFE_10M, EPOCHS, took.samples_per_s)
    yield f"| published | {hours:,.0f} | {hours / 8 / 24:.1f} |"
    for rate, how in ((plain, "not compiled"), (compiled, "compiled")):
        share = utilisation(rate.samples_per_s, B16, rate.gpu)
        hours = gpu_hours(TREE_OF_LIFE_10M, EPOCHS, rate_at(share, B16, "A100"))
        told = f"if A100s were used as the H100s of PR 18, {how} ({share:.0%})"
        yield f"| {told} | {hours:,.0f} | {hours / 8 / 24:.1f} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core-rate", type=float, default=588, help="samples/s that a core reads")
    parser.add_argument("--picture-bytes", type=float, default=28_000, help="of a picture in a shard")
    parser.add_argument("--utilisation", type=float, default=0.4, help="share of a GPU's peak to project with")
    options = parser.parse_args()
    print("\n".join(lines(options.core_rate, options.picture_bytes, options.utilisation)))
