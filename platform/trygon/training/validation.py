"""How a run does on pictures that it is not trained on, measured beside it: a Ray task for each checkpoint."""

import json
from pathlib import Path

import ray.train

from trygon.evaluation.zero_shot import evaluate, seen_task
from trygon.models.model import load_model
from trygon.storage import exists, read_bytes, remove_file, write_text
from trygon.taxonomy.captions import TextType
from trygon.training.checkpoint import put_weights

_MAX_CANDIDATES = 2000
"""Of hundreds of thousands of species, more would take longer than training to the next checkpoint."""
VALIDATION_S = 3600.0
"""Measuring that takes longer is given up."""
_SHOWN = ("species/top1", "species/top5", "genus/top1", "family/top1", "class/top1", "species/n")


def validate(
    checkpoint: ray.train.Checkpoint, initial: str, initial_share: float, shards: str, samples: int, place: str
) -> dict[str, float]:
    """Zero-shot accuracy of the model that a run would end with at this checkpoint, on new pictures of trained
    species, with all ranks as captions, among at most 2,000 species. A line of it goes to the file at `place`, which
    no two of these tasks write at once. However it ends, the next checkpoint may be measured then."""
    try:
        return _measured(checkpoint, initial, initial_share, shards, samples, place)
    finally:
        remove_file(pending_of(place))


def pending_of(place: str) -> str:
    """The file that is there while a checkpoint waits to be measured, or is; it holds the time when that was asked."""
    return f"{place}.pending"


def _measured(
    checkpoint: ray.train.Checkpoint, initial: str, initial_share: float, shards: str, samples: int, place: str
) -> dict[str, float]:
    task = seen_task(shards, samples, _MAX_CANDIDATES)
    if not task.images:
        return {}
    model = load_model(initial, "cpu")
    with checkpoint.as_directory() as folder:
        position = put_weights(model.net, Path(folder), initial_share)
    figures, _ = evaluate(model, [task], text_types=[TextType.TAXON])
    accuracy = {name: round(figures[f"zero_shot/seen/taxon/{name}"], 4) for name in _SHOWN}
    accuracy["candidates"] = len(task.candidates)
    before = read_bytes(place).decode().splitlines() if exists(place) else []
    earlier = [line for line in before if json.loads(line)["step"] < position.step]
    write_text(place, "".join(f"{line}\n" for line in [*earlier, json.dumps({"step": position.step} | accuracy)]))
    return accuracy
