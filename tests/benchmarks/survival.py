"""A training run that is killed twice on its way, beside one that nothing happened to, from and to object storage.

    python tests/benchmarks/survival.py OUT [--images 56000] [--epochs 2]

Pictures of a synthetic tree of life are curated to an S3 endpoint on loopback, at 64 pixels. Two workers train a small
model on them from there, and write to there. One run is left alone. The other is killed with SIGKILL, the program and
all that it had started, after a third of its steps and again after two thirds, and the command is given again each
time. Then both models name the validation pictures. Under an hour on two cores.
"""

import argparse
import json
import logging
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from trygon.storage import copy_file, exists, join, read_bytes, read_json
from trygon.testing.commands import command
from trygon.testing.processes import kill_family
from trygon.testing.s3 import s3_server, using

_ROOT = "s3://survival"
_RANKS = ("species", "genus", "family", "order", "class")
_VISION = {"image_size": 64, "patch_size": 8, "width": 128, "layers": 3, "head_width": 64}
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2}


def write_model(folder: Path) -> None:
    """The model that both runs start from."""
    import torch
    from open_clip import SimpleTokenizer
    from open_clip.model import CustomTextCLIP

    from trygon.models.model import save_model
    from trygon.testing.tiny import TINY_CONFIG

    torch.manual_seed(0)
    config = TINY_CONFIG | {"model_cfg": {"embed_dim": 128, "vision_cfg": _VISION, "text_cfg": _TEXT}}
    save_model(folder, CustomTextCLIP(**config["model_cfg"]), config, SimpleTokenizer())


def curate(out: Path, images: int) -> str:
    """Shards on S3."""
    made, shards = out / f"sources-{images}", join(_ROOT, "shards")
    subprocess.run(command("synthesize", made, "--images", images), check=True)
    sources = [word for kind in ("inat21", "bioscan", "eol") for word in ("--source", f"{kind}:{made / kind}")]
    subprocess.run(command("curate", shards, "--side", 64, "--resize", "squash", "--val", 0.05, *sources), check=True)
    return shards


def lines_of(out: str) -> list[dict[str, Any]]:
    place = join(out, "metrics.jsonl")
    return [json.loads(line) for line in read_bytes(place).splitlines()] if exists(place) else []


def words_of(shards: str, model: str, out: str, epochs: int) -> list[str]:
    words = ["--shards", shards, "--out", out, "--initial.model", model, "--workers", 2, "--batch-size", 512]
    words += ["--image-learning-rate", 5e-4, "--text-learning-rate", 5e-4, "--warmup-steps", 40, "--epochs", epochs]
    return command("train", *words, "--steps-per-leg", 20, "--checkpoint-minutes", 0.2, "--validation-samples", 0)


def train(words: list[str], out: str, kills: int) -> None:
    """Run to the end, killed this many times on the way, at even distances."""
    for kill in range(kills):
        process, line = subprocess.Popen(words), {"step": 0, "num_steps": 1}
        while process.poll() is None and line["step"] < line["num_steps"] * (kill + 1) / (kills + 1):
            time.sleep(1)
            line = (lines_of(out) or [line])[-1]
        assert process.poll() is None, "the run ended before it could be killed"
        kill_family(process)
        print(f"killed after step {line['step']} of {line['num_steps']}", flush=True)
    subprocess.run(words, check=True)


def main() -> None:
    """Run both, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=56_000)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    write_model(out / "survival-model")
    os.environ["OMP_NUM_THREADS"] = "1"
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with s3_server("survival") as server, using(server):
        shards, model = curate(out, options.images), join(_ROOT, "model")
        for path in (out / "survival-model").iterdir():
            copy_file(path, join(model, path.name))
        figures, lines = {}, {}
        for name, kills in (("killed twice", 2), ("undisturbed", 0)):
            place = join(_ROOT, name.replace(" ", "-"))
            train(words_of(shards, model, place, options.epochs), place, kills)
            lines[name] = lines_of(place)
            target = out / "survival-evaluation" / name.replace(" ", "-")
            words = ["--model", place, "--shards", shards, "--out", target, "--limit", 1000]
            subprocess.run(command("evaluate", *words), check=True)
            figures[name] = read_json(target / "metrics.json")
    assert [line["step"] for line in lines["killed twice"]] == [line["step"] for line in lines["undisturbed"]]
    print(f"\n| run | steps | loss at the end | {' | '.join(_RANKS)} |\n|{'---|' * (3 + len(_RANKS))}")
    for name, of_run in figures.items():
        shares = " | ".join(f"{100 * of_run[f'zero_shot/seen/taxon/{rank}/top1']:.1f}" for rank in _RANKS)
        print(f"| {name} | {len(lines[name])} | {lines[name][-1]['loss']:.4f} | {shares} |")
    pairs = zip(lines["killed twice"], lines["undisturbed"], strict=True)
    apart = max(abs(a["loss"] - b["loss"]) for a, b in pairs)
    print(f"\nThe losses of a step differ by {apart:.5f} at most.")
    assert apart < 1e-3, "both runs are the same, up to the order of sums"


if __name__ == "__main__":
    main()
