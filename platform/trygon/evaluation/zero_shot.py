"""Zero-shot naming: samples against the captions of candidate species, none of which the model was tuned on here.

Shapes: B samples, N candidates, D the width of the shared space.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trygon.data.images import BadImage, preprocess
from trygon.data.shards import distinct_taxa, sample_rows
from trygon.evaluation.metrics import Prediction, rank_metrics
from trygon.evaluation.ranking import rank_clades
from trygon.evaluation.species import distinct, joined, joint_lineages
from trygon.models.model import Model
from trygon.taxonomy.captions import MIXED, TextType, caption
from trygon.taxonomy.taxon import Lineage, Taxon
from trygon.taxonomy.tree import TaxonTree

Progress = Callable[[int], None]
"""Is told how many more pictures are encoded."""

_CHUNK = 64


@dataclass(frozen=True)
class Task:
    """Labelled pictures and the species to choose among."""

    name: str
    images: tuple[bytes, ...]
    credits: tuple[str, ...]
    """Author and licence of each picture, blank where the shards do not say."""
    truths: tuple[Taxon, ...]
    candidates: tuple[Taxon, ...]


def seen_task(shards: str | Path, limit: int, max_candidates: int) -> Task:
    """The task `seen`, with some of its candidates: the species of its pictures, and others evenly from all."""
    species, joint = _species(shards, "train", "val")
    task = _among(species["train"], task_of("seen", shards, "val", limit), joint)
    shown = {taxon.lineage for taxon in task.truths}
    others = [taxon for taxon in task.candidates if taxon.lineage not in shown]
    room = max(0, max_candidates - len(shown))
    picked = {taxon.lineage for taxon in others[:: max(1, -(-len(others) // room))]} if room else set()
    return replace(task, candidates=tuple(taxon for taxon in task.candidates if taxon.lineage in shown | picked))


def tasks_of(shards: str | Path, limit: int = 5000) -> list[Task]:
    """The tasks that shards hold: `seen` (new photos of trained species among all trained species), `unseen` (held-out
    species among themselves), `unseen_among_all` (held-out species among these and the trained ones); of `limit`
    pictures at most. A species that stands under several lineages is one."""
    species, joint = _species(shards, "train", "val", "unseen")
    seen = _among(species["train"], task_of("seen", shards, "val", limit), joint)
    unseen = _among(species["unseen"], task_of("unseen", shards, "unseen", limit), joint)
    every = distinct([*species["train"], *species["unseen"]])
    return [task for task in (seen, unseen, replace(unseen, name="unseen_among_all", candidates=every)) if task.images]


def _species(shards: str | Path, *splits: str) -> tuple[dict[str, tuple[Taxon, ...]], dict[Lineage, Lineage]]:
    """The species of splits under one lineage each, and what that is for every lineage they are written under."""
    rows = {split: distinct_taxa(shards, split).to_pylist() for split in splits}
    taxa = {split: [Taxon.from_row(row) for row in own if row["species"]] for split, own in rows.items()}
    joint = joint_lineages(taxon.lineage for own in taxa.values() for taxon in own)
    return {split: distinct(joined(own, joint)) for split, own in taxa.items()}, joint


def _among(candidates: tuple[Taxon, ...], task: Task, joint: Mapping[Lineage, Lineage]) -> Task:
    """The pictures of a task whose species are candidates, which is what they are named from."""
    truths, lineages = joined(task.truths, joint), {taxon.lineage for taxon in candidates}
    rows = [row for row, truth in enumerate(truths) if truth.lineage in lineages]
    return Task(
        task.name,
        tuple(task.images[row] for row in rows),
        tuple(task.credits[row] for row in rows),
        tuple(truths[row] for row in rows),
        candidates,
    )


def task_of(name: str, shards: str | Path, split: str, limit: int) -> Task:
    """The pictures of a split that are named to the species, `limit` at most, always the same ones. It has no
    candidates."""
    rows = sample_rows(shards, split, limit).to_pylist()
    credits = (", ".join(filter(None, (row["rights_holder"], row["license"]))) for row in rows)
    images = tuple(row["image"] for row in rows)
    return Task(name, images, tuple(credits), tuple(map(Taxon.from_row, rows)), ())


def evaluate(
    model: Model, tasks: Sequence[Task], text_types: Sequence[TextType] = MIXED
) -> tuple[dict[str, float], dict[str, list[Prediction]]]:
    """Encode the pictures of the tasks and name them by captions: see `name_by_captions`."""
    return name_by_captions(model, tasks, encode_tasks(model, tasks), text_types)


def encode_tasks(model: Model, tasks: Sequence[Task], progress: Progress = lambda num: None) -> dict[str, np.ndarray]:
    """Unit vectors (B, D) of the pictures of each task, by its name; the same pictures are encoded once."""
    vectors: dict[tuple[bytes, ...], np.ndarray] = {}
    for task in tasks:
        if task.images not in vectors:
            vectors[task.images] = encode(model, task.images, progress)
    return {task.name: vectors[task.images] for task in tasks}


def name_by_captions(
    model: Model, tasks: Sequence[Task], vectors: Mapping[str, np.ndarray], text_types: Sequence[TextType] = MIXED
) -> tuple[dict[str, float], dict[str, list[Prediction]]]:
    """Flat metrics `zero_shot/TASK/TEXT_TYPE/RANK/…`, and the predictions of each task with the first text type.

    Vectors of the captions of one text type are held at once, 4 N × D bytes (0.8 GB of 400,000 species at 512), and
    what `rank_clades` holds. What takes the time is to encode 5 N captions for each task.
    """
    metrics: dict[str, float] = {}
    shown: dict[str, list[Prediction]] = {}
    for task in tasks:
        candidates = TaxonTree.from_taxa(task.candidates)
        for text_type in text_types:
            text_ND = model.encode_texts([caption(taxon, text_type) for taxon in candidates.taxa])
            ranking = rank_clades(vectors[task.name], text_ND, task.truths, candidates)
            if task.name not in shown:
                answers = (candidates.taxa[position] for position in ranking.best_B)
                shown[task.name] = [Prediction(*pair) for pair in zip(task.truths, answers, strict=True)]
            figures = rank_metrics(task.truths, ranking, candidates)
            metrics |= {f"zero_shot/{task.name}/{text_type}/{name}": value for name, value in figures.items()}
    return metrics, shown


def encode(model: Model, images: Sequence[bytes], progress: Progress = lambda num: None) -> np.ndarray:
    """Encoded pictures to unit vectors (B, D). A broken picture is black: it counts, and what it is named is wrong."""
    parts = []
    for start in range(0, len(images), _CHUNK):
        some = images[start : start + _CHUNK]
        image_BCHW = np.zeros((len(some), 3, model.side, model.side), np.uint8)
        for row, data in enumerate(some):
            with suppress(BadImage):
                image_BCHW[row] = preprocess(data, model.side, model.resize_mode)
        parts.append(model.encode_images(image_BCHW))
        progress(len(some))
    return np.concatenate(parts)
