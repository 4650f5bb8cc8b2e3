"""How well the starter names species that it never saw, over several splits, beside a simpler model.

    python tests/benchmarks/starter_folds.py OUT [--splits 0 1 2]

For each split the photos are curated with that seed (a quarter of the species held out), the starter is trained with
its recipe, and both models name the photos of the held-out species among the held-out species. The simpler model is
the reference point: the same frozen image trunk and the same sentence model, one linear projection each, the CLIP
objective. Some 4 minutes a split on two cores; what is there is not made again.
"""

import argparse
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from trygon.cache import sample_folder
from trygon.data.images import preprocess
from trygon.evaluation.metrics import rank_metrics, wilson
from trygon.evaluation.ranking import rank_clades
from trygon.evaluation.zero_shot import Task, evaluate, tasks_of
from trygon.models.classifier_start import imagenet_names
from trygon.models.model import Model, load_model
from trygon.models.sentence_tower import load_sentence_model, sentence_vectors
from trygon.taxonomy.captions import TextType, caption
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.commands import command

TEXT_TYPES = (TextType.TAXON, TextType.SCI, TextType.COM, TextType.TAXON_COM)
RANKS = ("species", "family", "class")
STEPS, BATCH, WIDTH = 600, 256, 256


def trygon(*words: str | Path) -> None:
    subprocess.run(command(*words), check=True)


def make_split(out: Path, seed: int, initial: Path) -> Path:
    """Curate and train one split. The initial model knows nothing of splits: the first one's serves all."""
    folder = out / f"split-{seed}"
    shards, model = folder / "shards", folder / "model"
    start = ["--initial.model", initial] if initial.is_dir() and initial != model / "initial" else []
    trygon("curate", shards, "--config", "photos", "--seed", str(seed))
    trygon("train", "--config", "starter", *start, "--shards", shards, "--out", model)
    return folder


def unseen_tasks(shards: Path) -> list[Task]:
    """The photos of held-out species, and those of them that show no class of ImageNet, which the trunk has learned.
    Both choose among all held-out species."""
    (unseen,) = (task for task in tasks_of(shards) if task.name == "unseen")
    classes = {name.lower() for names in imagenet_names() for name in names}
    new = [
        (image, truth)
        for image, truth in zip(unseen.images, unseen.truths, strict=True)
        if not classes & {" ".join(truth.lineage[5:]).lower(), truth.common.lower()}
    ]
    images, truths = zip(*new, strict=True)
    return [unseen, replace(unseen, name="new", images=images, truths=truths)]


def train_features(folder: Path) -> tuple[Tensor, list[Taxon]]:
    """Features of the training views and their taxa, as the starter's own training computed them."""
    tables = [pq.read_table(path) for path in sorted((folder / "model/features").glob("*.parquet"))]
    feature_BF = np.concatenate([np.stack(table["feature"].to_numpy()) for table in tables])
    taxa = [Taxon.from_row(row) for table in tables for row in table.drop(["feature"]).to_pylist()]
    return torch.from_numpy(feature_BF), taxa


@torch.inference_mode()
def task_features(model: Model, task: Task) -> Tensor:
    images = torch.from_numpy(np.stack([preprocess(data, model.side, model.resize_mode) for data in task.images]))
    visual: Any = model.net.visual
    return torch.cat([visual.trunk(model.normalise(batch)) for batch in images.split(32)])


class Sentences:
    """Frozen vectors of the sentence model; a caption is encoded once."""

    def __init__(self) -> None:
        self.words, self.encoder = load_sentence_model(sample_folder() / "towers/minilm")
        self.known: dict[str, Tensor] = {}

    def __call__(self, texts: list[str]) -> Tensor:
        for text in dict.fromkeys(texts):
            if text not in self.known:
                self.known[text] = sentence_vectors(self.encoder, self.words, [text])[0].clone()
        return torch.stack([self.known[text] for text in texts])


def starter(model: Path, tasks: list[Task]) -> dict[str, float]:
    """`TASK/TEXT_TYPE/RANK/…` of a model folder."""
    figures, _ = evaluate(load_model(model), tasks)
    return {name.removeprefix("zero_shot/"): value for name, value in figures.items()}


def linear_reference(folder: Path, tasks: list[Task], sentences: Sentences) -> dict[str, float]:
    """The same of the simpler model, trained on this split."""
    torch.manual_seed(0)
    feature_BF, taxa = train_features(folder)
    mean_F, std_F = feature_BF.mean(0), feature_BF.std(0) + 1e-6
    image = torch.nn.Linear(feature_BF.shape[1], WIDTH)
    text = torch.nn.Linear(384, WIDTH)
    scale = torch.nn.Parameter(torch.tensor(2.66))
    parameters = [*image.parameters(), *text.parameters()]
    optimiser = torch.optim.AdamW([{"params": parameters, "weight_decay": 0.1}, {"params": [scale]}], 1e-3)
    for _ in range(STEPS):
        rows = torch.randint(len(taxa), (BATCH,)).tolist()
        kinds = [TEXT_TYPES[index] for index in torch.randint(len(TEXT_TYPES), (BATCH,)).tolist()]
        texts = [caption(taxa[row], kind) for row, kind in zip(rows, kinds, strict=True)]
        image_BD = normalize(image((feature_BF[rows] - mean_F) / std_F), dim=1)
        logits = scale.exp() * image_BD @ normalize(text(sentences(texts)), dim=1).T
        target = torch.arange(BATCH)
        loss = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    figures: dict[str, float] = {}
    trunk = load_model(folder / "model")
    with torch.inference_mode():
        for task in tasks:
            image_BD = normalize(image((task_features(trunk, task) - mean_F) / std_F), dim=1)
            candidates = TaxonTree.from_taxa(task.candidates)
            for kind in TEXT_TYPES:
                text_ND = normalize(text(sentences([caption(it, kind) for it in candidates.taxa])), dim=1)
                ranking = rank_clades(image_BD.numpy(), text_ND.numpy(), task.truths, candidates)
                measured = rank_metrics(task.truths, ranking, candidates)
                figures |= {f"{task.name}/{kind}/{name}": value for name, value in measured.items()}
    return figures


def pooled(figures: list[dict[str, float]], key: str) -> str:
    """A share over the photos of all splits, with its 95 % interval, in percent."""
    counts = [split[f"{key}/n"] for split in figures]
    share = sum(split[f"{key}/top1"] * n for split, n in zip(figures, counts, strict=True)) / sum(counts)
    low, high = wilson(share, int(sum(counts)))
    return f"{100 * share:.1f} ({100 * low:.0f} to {100 * high:.0f})"


def table(title: str, task: str, columns: list[list[dict[str, float]]]) -> None:
    """Print one Markdown table: a row a text type and rank, a column a model."""
    counts = ", ".join(str(int(split[f"{task}/taxon/species/n"])) for split in columns[0])
    print(f"\n{title} ({counts} photos in the splits); right at the first guess, percent, with the 95 % interval\n")
    print("| caption | rank | starter | before training | linear reference | guessing |\n|---|---|---|---|---|---|")
    for kind in TEXT_TYPES:
        for rank in RANKS:
            key = f"{task}/{kind}/{rank}"
            chance = np.mean([split[f"{key}/chance"] for split in columns[0]])
            cells = (kind, rank, *(pooled(column, key) for column in columns), f"{100 * chance:.1f}")
            print("| " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    out, splits = arguments.out, arguments.splits
    initial = out / f"split-{splits[0]}/model/initial"
    folders = [make_split(out, seed, initial) for seed in splits]
    tasks = [unseen_tasks(folder / "shards") for folder in folders]
    sentences = Sentences()
    columns = [
        [starter(folder / "model", each) for folder, each in zip(folders, tasks, strict=True)],
        [starter(initial, each) for each in tasks],
        [linear_reference(folder, each, sentences) for folder, each in zip(folders, tasks, strict=True)],
    ]
    table("Species held out of training", "unseen", columns)
    table("Those of them that are no class of ImageNet", "new", columns)


if __name__ == "__main__":
    main()
