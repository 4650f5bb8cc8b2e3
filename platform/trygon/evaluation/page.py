"""The evaluation as a page for people: one HTML file that opens from disk."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from PIL import Image

from trygon.data.images import BadImage, decode, encode_jpeg
from trygon.evaluation.few_shot import FOLDS, SHOTS
from trygon.evaluation.metrics import Prediction
from trygon.evaluation.zero_shot import Task
from trygon.taxonomy.captions import MIXED
from trygon.taxonomy.taxon import RANKS, Rank

_TITLES = {
    "unseen": "Species held out of the training samples, among each other",
    "unseen_among_all": "Species held out of the training samples, among all species",
    "seen": "New photos of species seen in training, among all of these",
}
_SHOWN_PICTURES = 48
_THUMBNAIL_PIXELS = 176


def render(
    model: str,
    baseline: str,
    metrics: Mapping[str, float],
    tasks: Sequence[Task],
    shown: Mapping[str, Sequence[Prediction]],
) -> str:
    """The page's HTML, pictures included."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    ordered = sorted(tasks, key=lambda task: list(_TITLES).index(task.name))
    return environment.get_template("page.html.jinja").render(
        model=model,
        baseline=baseline,
        folds=FOLDS,
        sections=[_section(task, metrics, shown[task.name]) for task in ordered],
    )


def _section(task: Task, metrics: Mapping[str, float], predictions: Sequence[Prediction]) -> dict[str, Any]:
    return {
        "title": _TITLES[task.name],
        "num_candidates": len(task.candidates),
        "num_images": len(task.images),
        "ranks": [_bars(metrics, f"zero_shot/{task.name}/taxon/{rank}", rank) for rank in reversed(RANKS)],
        "text_types": [_bars(metrics, f"zero_shot/{task.name}/{kind}/species", kind) for kind in MIXED],
        "few_shot": [
            _shots(metrics, f"few_shot/{task.name}/{shots}", shots)
            for shots in SHOTS
            if f"few_shot/{task.name}/{shots}/top1" in metrics
        ],
        "pictures": [
            _picture(*row) for row in list(zip(task.images, task.credits, predictions, strict=True))[:_SHOWN_PICTURES]
        ],
    }


def _bars(metrics: Mapping[str, float], prefix: str, name: str) -> dict[str, Any]:
    """One row of a table: accuracies in percent."""
    row: dict[str, Any] = {"name": str(name), "n": int(metrics[f"{prefix}/n"])}
    for key in ("top1", "top1_low", "top1_high", "top5", "chance", "chance_top5"):
        row[key] = 100 * metrics[f"{prefix}/{key}"]
    before = metrics.get(f"baseline/{prefix}/top1")
    return row | {"baseline": None if before is None else 100 * before}


def _shots(metrics: Mapping[str, float], prefix: str, shots: int) -> dict[str, Any]:
    """One row of the few-shot table: accuracies in percent."""
    row: dict[str, Any] = {"shots": shots}
    row |= {key: int(metrics[f"{prefix}/{key}"]) for key in ("n", "classes", "left_out")}
    row |= {key: 100 * metrics[f"{prefix}/{key}"] for key in ("top1", "top1_std", "chance")}
    before = metrics.get(f"baseline/{prefix}/top1")
    return row | {"baseline": None if before is None else 100 * before}


def _picture(image: bytes, credit: str, prediction: Prediction) -> dict[str, Any]:
    thumbnail = _thumbnail(image)
    truth, answer = prediction.truth, prediction.answer
    agreed = [rank for rank in Rank if truth.lineage[: rank + 1] == answer.lineage[: rank + 1]]
    return {
        "credit": credit,
        "data": base64.b64encode(encode_jpeg(thumbnail, 80)).decode(),
        "truth": truth.label,
        "answer": answer.label,
        "right": truth.lineage == answer.lineage,
        "agreed": str(agreed[-1]) if agreed else "nothing",
        "agreed_share": round(100 * len(agreed) / len(RANKS)),
    }


def _thumbnail(data: bytes) -> Image.Image:
    """A small picture; a grey one for a picture that is broken, which is a black one to the model."""
    try:
        image = decode(data, min_side=_THUMBNAIL_PIXELS)
    except BadImage:
        return Image.new("RGB", (_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS), "grey")
    image.thumbnail((2 * _THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
    return image
