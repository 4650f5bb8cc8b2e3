"""How well a model names species, seen in training and not: metrics.json and a page with pictures."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from pydantic import Field

from trygon.errors import UserError
from trygon.storage import digest_texts, exists, join, read_json, write_json, write_text
from trygon_jobs.config import JobConfig, Place, Ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trygon.evaluation.metrics import Prediction
    from trygon.evaluation.zero_shot import Task

_IDENTITY = "evaluation.json"
"""What was measured. It comes last: a folder that says so holds all of it."""


class EvaluateConfig(JobConfig):
    """What is measured, on what."""

    model: Ref
    """A model folder, on disk or at an s3:// address, or hf-hub:OWNER/NAME."""
    shards: Place
    """The folder that `trygon curate` wrote, with its held-out splits."""
    out: Place
    """Folder for metrics.json and index.html."""
    limit: int = Field(default=5000, ge=1)
    """Pictures of each split to measure on at most; of a larger one always the same are taken."""
    baseline: Ref = ""
    """Another model to stand beside it, such as the one that training started from."""


def main(config: Annotated[EvaluateConfig, Parameter(name="*")]) -> None:
    """Measure zero-shot accuracy per text type and rank, and few-shot accuracy; write metrics.json and a page."""
    from trygon.disk import only_writer, writing_to
    from trygon.evaluation.page import render
    from trygon.evaluation.zero_shot import tasks_of
    from trygon.mirror import made_here

    _check_out(config.out)
    models = [ref for ref in (config.model, config.baseline) if ref]
    tasks = tasks_of(config.shards, config.limit)
    if not tasks:
        raise UserError(_unmeasurable(config.shards))
    identity = config.model_dump(mode="json", exclude={"out"}) | {"digests": _digests(models, config.shards, tasks)}
    finished, page = join(config.out, _IDENTITY), join(config.out, "index.html")
    if exists(finished) and read_json(finished) == identity:
        print(f"evaluation: {page} (was complete)")
        return
    with writing_to(config.out), only_writer(config.out) as hold:
        metrics, shown = _measure(models, tasks)
        with made_here(config.out, _IDENTITY, hold) as folder:
            write_json(folder / "metrics.json", {name: round(value, 4) for name, value in metrics.items()})
            write_text(folder / "index.html", render(config.model, config.baseline, metrics, tasks, shown))
            write_json(folder / _IDENTITY, identity)
    print(f"evaluation: {page}")


def _unmeasurable(shards: str) -> str:
    """Why there is nothing to measure on."""
    from trygon.data.shards import list_shards

    if list_shards(shards, "val") or list_shards(shards, "unseen"):
        told = "is named to the species, and none of the val shards to a species that the train shards have"
        return f"--shards {shards}: no picture of the unseen shards {told}"
    return f"--shards {shards} has no val or unseen shards to measure on; see `trygon curate`"


def _check_out(out: str) -> None:
    """`UserError` for the folder of a model, or of a run of another job: an evaluation has one of its own."""
    from trygon.models.folder import CONFIG_NAME

    for name, what in ((CONFIG_NAME, "a model"), ("plan.json", "a training run or shards")):
        if exists(join(out, name)):
            raise UserError(f"--out {out} holds {what} ({name}): give the evaluation a folder of its own")


def _digests(models: "Sequence[str]", shards: str, tasks: "Sequence[Task]") -> dict[str, str]:
    """Of the models, the pictures, and the species to choose among, which those of the train shards are of too."""
    from trygon.data.shards import identify_shards
    from trygon.models.folder import describe

    digests = {ref: describe(ref).digest for ref in models}
    digests |= identify_shards(shards, "val") | identify_shards(shards, "unseen")
    for task in tasks:
        names = (name for taxon in task.candidates for name in (*taxon.lineage, taxon.common))
        digests[f"candidates of {task.name}"] = digest_texts(names)
    return digests


def _measure(
    models: "Sequence[str]", tasks: "Sequence[Task]"
) -> "tuple[dict[str, float], dict[str, list[Prediction]]]":
    """Metrics of the model, those of the baseline under `baseline/`, and the model's predictions."""
    from trygon.evaluation.few_shot import few_shot_metrics
    from trygon.evaluation.zero_shot import encode_tasks, name_by_captions
    from trygon.models.model import load_model
    from trygon_jobs.progress import counting

    metrics: dict[str, float] = {}
    shown: dict[str, list[Prediction]] = {}
    total = sum({task.images: len(task.images) for task in tasks}.values())
    for index, ref in enumerate(models):
        model = load_model(ref)
        with counting(f"name pictures with {ref}", total, unit="pictures") as advance:
            vectors = encode_tasks(model, tasks, advance)
        figures, predictions = name_by_captions(model, tasks, vectors)
        for task in tasks:
            if task.name in ("seen", "unseen"):  # the third has the pictures of the second
                few = few_shot_metrics(vectors[task.name], task.truths)
                figures |= {f"few_shot/{task.name}/{name}": value for name, value in few.items()}
        metrics |= {f"baseline/{name}" if index else name: value for name, value in figures.items()}
        shown = shown or predictions
    return metrics, shown
