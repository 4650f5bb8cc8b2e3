"""How fast pictures are labelled whole, beside the bare encoder and beside pybioclip; and what INT8 costs.

    python tests/benchmarks/labelling.py OUT [--pictures 384] [--encoders torch openvino openvino-bf16 openvino-int8]
                                             [--rounds 3]
    python tests/benchmarks/labelling.py OUT --starter MODEL --labels LABELS

A ViT-B/16 of random weights names JPEGs of 2048 × 1536 pixels among twenty species, on this machine alone. `trygon
label --detector none` reads, decodes, resizes, encodes, names and writes; its rate is the one that it tells, of the
time after its start. The bare encoder does nothing but encode ready pixels, over and over, in as many threads.
pybioclip's `CustomLabelsClassifier.predict` has the same model folder, pictures and species, and is not timed while it
starts and compiles. They take turns, and what is printed are medians of the rounds: cores of a rented machine are a
seventh faster or slower from minute to minute. With --starter, a trained model folder that `trygon export-model` has
exported both ways, the sample photos that it was not trained with are named with its fp32 and INT8 encoders. `trygon
sample` comes first.
"""

import argparse
import csv
import io
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from trygon.archive.pipeline import Workers
from trygon.archive.run_folder.run import Run
from trygon.cache import sample_folder
from trygon.data.frames import write_archive
from trygon.data.images import decode, square, to_array
from trygon.labelling.bank import LabelBank
from trygon.models.encoders import find_encoder, load_encoder
from trygon.models.folder import describe
from trygon.taxonomy.taxon import RANKS
from trygon.testing.commands import command

_SIZE = (2048, 1536)
_SPECIES = 20
_BATCH = 8


def trygon(*words: object) -> None:
    subprocess.run(command(*words), check=True)


def write_model(folder: Path) -> Path:
    """ViT-B/16 as open_clip has it, of random weights; the text tower is small, as it is no matter here."""
    import torch
    from open_clip import get_model_config
    from open_clip.model import CustomTextCLIP

    from trygon.models.model import save_model
    from trygon.testing.tiny import TINY_CONFIG

    if not (folder / "open_clip_config.json").exists():
        torch.manual_seed(0)
        vision = (get_model_config("ViT-B-16") or {})["vision_cfg"]
        model = {"embed_dim": 512, "vision_cfg": vision | {"image_size": 224}}
        model |= {"text_cfg": TINY_CONFIG["model_cfg"]["text_cfg"]}
        config = TINY_CONFIG | {"model_cfg": model}
        save_model(folder, CustomTextCLIP(**model), config, tokenizer=None)
    return folder


def write_pictures(folder: Path, num: int) -> list[Path]:
    """Frames of the sample's cameras, enlarged; each is another one."""
    paths = [folder / f"IMG_{number:04d}.JPG" for number in range(num)]
    if all(path.exists() for path in paths):
        return paths
    write_archive(sample_folder(), folder.with_name("frames"))
    frames = sorted(folder.with_name("frames").rglob("IMG_0*.JPG"))
    folder.mkdir(exist_ok=True)
    for number, path in enumerate(paths):
        with Image.open(frames[number % len(frames)]) as frame:
            moved = np.roll(np.asarray(frame.convert("RGB").resize(_SIZE)), 37 * number, axis=1)
            Image.fromarray(moved).save(path, quality=90)
    return paths


def write_species(place: Path) -> list[str]:
    """Scientific names of some mammals; a table of them for trygon build-labels."""
    taxa = pq.read_table(sample_folder() / "taxa" / "inat.parquet")
    mammals = taxa.filter(pa.compute.equal(taxa["class"], "Mammalia")).slice(0, _SPECIES)  # pyright: ignore
    rows = mammals.select(list(RANKS)).to_pylist()
    with place.open("w", newline="") as file:
        writer = csv.DictWriter(file, RANKS)
        writer.writeheader()
        writer.writerows(rows)
    return [f"{row['genus']} {row['species']}" for row in rows]


def bare_rate(model: Path, name: str, seconds: float) -> float:
    """Images a second of an encoder on pixels that lie in memory, in as many threads as a run has."""
    threads = min(Workers.fit({"CPU": os.cpu_count() or 1}).num_threads, os.cpu_count() or 1)
    encoder = load_encoder(find_encoder(name, describe(str(model))), threads)
    pixels = np.random.default_rng(0).integers(0, 255, (_BATCH, 3, 224, 224), np.uint8)

    def work(until: float) -> int:
        done = 0
        while time.monotonic() < until:
            encoder.encode_images(pixels)
            done += _BATCH
        return done

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, [time.monotonic() + seconds / 4] * threads))
        start = time.monotonic()
        done = sum(pool.map(work, [start + seconds] * threads))
    return done / (time.monotonic() - start)


def pybioclip_rates(model: Path, names: list[str], paths: list[Path]) -> Iterator[float]:
    """Images a second of pybioclip's predict, each time anew."""
    from bioclip import CustomLabelsClassifier

    classifier = CustomLabelsClassifier(names, model_str=f"local-dir:{model}")
    some = [str(path) for path in paths]
    classifier.predict(some[:10], k=5)
    while True:
        start = time.monotonic()
        classifier.predict(some, k=5)
        yield len(some) / (time.monotonic() - start)


def top1(model: Path, shards_labels: Path, name: str, photos: list[tuple[str, bytes]]) -> float:
    """The share of photos whose species comes first."""
    tower, bank = describe(str(model)), LabelBank.load(shards_labels)
    encoder = load_encoder(find_encoder(name, tower), 2)
    names = [taxon.scientific for taxon in bank.tree.taxa]
    right = 0
    for start in range(0, len(photos), _BATCH):
        some = photos[start : start + _BATCH]
        pixels = [to_array(square(decode(data), tower.side, tower.resize_mode)) for _, data in some]
        vectors_BD = encoder.encode_images(np.stack(pixels))
        best = (vectors_BD @ np.asarray(bank.vector_ND, np.float32).T).argmax(1)
        right += sum(names[at] == name for at, (name, _) in zip(best, some, strict=True))
    return right / len(photos)


def sample_photos() -> list[tuple[str, bytes]]:
    """Scientific name and content of the sample photos whose species is known."""
    root = sample_folder() / "photos"
    rows = csv.DictReader(io.StringIO((root / "labels.csv").read_text("utf-8")))
    known = [row for row in rows if row["species"]]
    return [(f"{row['genus']} {row['species']}", (root / row["path"]).read_bytes()) for row in known]


def label_rate(out: Path, name: str) -> float:
    """Images a second of `trygon label`."""
    run = out / f"run-{name}-{time.time():.0f}"
    words = ("--labels", out / "labels", "--detector", "none", "--encoder", name, "--out", run)
    trygon("label", out / "pictures", "--model", out / "model", *words)
    return Run.open(run).summary["images_per_s"]


def main() -> None:
    """Run all of it in turn, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encoders", nargs="+", default=["torch", "openvino", "openvino-bf16", "openvino-int8"])
    parser.add_argument("--starter", type=Path)
    parser.add_argument("--labels", type=Path, help="labels built with the starter for the species of the photos")
    parser.add_argument("--seconds", type=float, default=20, help="of the bare encoder")
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    if options.starter:
        photos = sample_photos()
        for name in ("openvino", "openvino-int8"):
            print(f"{name}: {100 * top1(options.starter, options.labels, name, photos):.1f} % of {len(photos)} photos")
        return
    model, paths = write_model(out / "model"), write_pictures(out / "pictures", options.pictures)
    names = write_species(out / "species.csv")
    trygon("build-labels", "--model", model, "--out", out / "labels", "--taxa", out / "species.csv")
    for name in {it.removesuffix("-bf16") for it in options.encoders} - {"torch"}:
        trygon("export-model", "--model", model, "--encoder", name, "--pictures", out / "pictures")
    peers = pybioclip_rates(model, names, paths[: options.pictures // 2])
    theirs, rates = [], []
    for _ in range(options.rounds):
        theirs.append(next(peers))
        rates.append([(label_rate(out, it), bare_rate(model, it, options.seconds)) for it in options.encoders])
    peer = median(theirs)
    print("| encoder | trygon label | bare encoder | share of it | pybioclip | × |\n|---|---|---|---|---|---|")
    for name, *pairs in zip(options.encoders, *rates, strict=True):
        rate, bare = (median(column) for column in zip(*pairs, strict=True))
        print(f"| `{name}` | {rate:.2f} | {bare:.2f} | {rate / bare:.2f} | {peer:.2f} | {rate / peer:.2f} |")


if __name__ == "__main__":
    main()
