"""How a run does on pictures that it is not trained on, measured beside it: a Ray task for each checkpoint."""

from pathlib import Path

import ray.train

from trygon.cluster.tasks import apart
from trygon.errors import origin
from trygon.taxonomy.captions import TextType
from trygon.training.measurements import Measurements
from trygon.training.settings import TrainSettings

_MAX_CANDIDATES = 2000
"""Of hundreds of thousands of species, more would take longer than training to the next checkpoint."""
_PATIENCE_S = 3600.0
"""Measuring a checkpoint that takes longer is given up."""
_SHOWN = ("species/top1", "species/top5", "genus/top1", "family/top1", "class/top1", "species/n")


def validate(checkpoint: ray.train.Checkpoint, settings: TrainSettings, step: int) -> dict[str, float]:
    """Zero-shot accuracy of the model that a run would end with at this checkpoint, on new pictures of species that
    the shards train (not all, where a run takes a part of them), with all ranks as captions, among at most 2,000
    species. A line of it, or of why there is none, goes to the run's measurements. However it ends, training goes on,
    and the next checkpoint may be measured."""
    measurements = Measurements(settings.validation)
    accuracy: dict[str, float] = {}
    try:
        # Ray Train ends a run whose validation dies, as for want of memory.
        accuracy = apart(_accuracy, checkpoint, settings, timeout_s=_PATIENCE_S)
        if accuracy:
            measurements.add(step, accuracy)
    except Exception as error:
        cause = origin(error)
        measurements.add(step, {"problem": str(cause).partition("\n")[0] or type(cause).__name__})
    return accuracy


def _accuracy(checkpoint: ray.train.Checkpoint, settings: TrainSettings) -> dict[str, float]:
    """Empty where there is nothing to measure on. The imports take seconds, which the controller spares."""
    from trygon.evaluation.zero_shot import evaluate, seen_task
    from trygon.models.model import load_model
    from trygon.training.checkpoint import put_weights

    task = seen_task(settings.validation_shards, settings.validation_samples, _MAX_CANDIDATES)
    if not task.images:
        return {}
    model = load_model(settings.initial, "cpu")
    with checkpoint.as_directory() as folder:
        put_weights(model.net, Path(folder), settings.initial_share)
    figures, _ = evaluate(model, [task], text_types=[TextType.TAXON])
    accuracy = {name: round(figures[f"zero_shot/seen/taxon/{name}"], 4) for name in _SHOWN}
    return accuracy | {"candidates": len(task.candidates)}
