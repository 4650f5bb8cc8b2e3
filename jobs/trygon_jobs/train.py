"""Shards to a model folder: the initial model, Ray Train's workers, and what they learned."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import Field, model_validator

from trygon.disk import only_writer, writing_to
from trygon.errors import UserError
from trygon.models.folder import WEIGHTS_NAME, absolute_ref, folder_of, read_config
from trygon.storage import (
    absolute,
    digest_file,
    digest_texts,
    exists,
    join,
    list_folder,
    read_json,
    write_json,
    write_text,
)
from trygon.training.settings import MachineSettings, RunSettings
from trygon.training.trackers import Tracker, check_installed
from trygon_jobs.config import JobConfig, Place
from trygon_jobs.initial import InitialConfig, initial_digests, initial_model
from trygon_jobs.progress import bars, left, once_a_minute, stage, stderr_console

if TYPE_CHECKING:
    from ray.train import Checkpoint

    from trygon.lease import Hold
    from trygon.models.card import Seen
    from trygon.storage import File
    from trygon.training.settings import TrainSettings

CARD = "provenance.json"
"""What the model was made of. It comes last: a folder that has it is finished."""


OF_THE_MACHINE = MachineSettings.model_fields.keys() | {
    *("shards", "replay", "out"),  # what the shards hold is compared, not where they lie
    *("use_gpu", "workers", "min_workers", "trackers"),
}
"""Settings that change how a model is made and not what it is made of: a run can go on with others. With another
number of workers samples come in other steps of their leg, and models differ as those of two seeds do."""


class _Places(JobConfig):
    """What a run reads and writes: what a user names first."""

    shards: Place
    """The folder that `trygon curate` wrote."""
    out: Place
    """The model folder to write. Run again, training goes on from the last checkpoint in it."""
    initial: InitialConfig = InitialConfig()
    """What training starts from."""
    split: Literal["train", "train_small"] = "train"
    """The shards to train on: all, or the subset that `trygon curate --subset` drew of them."""


class TrainConfig(RunSettings, _Places):
    """A training run."""

    workers: int = Field(default=2, ge=1)
    """Ray Train workers."""
    min_workers: int | None = Field(default=None, ge=1)
    """Go on with as few workers as this when nodes leave, and with more again when they come back."""
    use_gpu: bool | None = None
    """Give each worker a GPU. By default where there are enough when training starts; on a cluster that starts GPU
    nodes when they are asked for, say so."""
    replay: Place | None = None
    """A folder of Parquet files of general pictures, each with a text, as img2dataset writes them (`key`, `jpg`,
    `caption`). Some of them in each step keep the model from forgetting the rest of the world, as in BioCLIP 2."""
    trackers: Annotated[tuple[Tracker, ...], Parameter(negative="--empty-trackers")] = ("tensorboard",)
    """Where the figures of each step go beside `metrics.jsonl`: `tensorboard`, `mlflow`, `wandb`; --empty-trackers for
    none."""

    @model_validator(mode="after")
    def _for_each_worker(self) -> "TrainConfig":
        least = self.min_workers or self.workers
        if least > self.workers:
            raise ValueError(f"min_workers ({least}) is above workers ({self.workers})")
        for name, size in (("batch_size", self.batch_size), ("replay_batch_size", self.replay_batch_size)):
            if 0 < size < self.workers:
                raise ValueError(
                    f"{name}: must be at least the number of workers ({self.workers}): each takes a part of a step"
                )
        return self

    @model_validator(mode="after")
    def _dropout_has_features(self) -> "TrainConfig":
        if self.feature_dropout and not self.freeze_image_trunk:
            raise ValueError("feature_dropout goes with freeze_image_trunk: there are no features of the trunk else")
        return self

    @model_validator(mode="after")
    def _replay_fits(self) -> "TrainConfig":
        if self.replay and not self.replay_batch_size:
            raise ValueError("replay needs a replay_batch_size: give how many of its pictures each step takes")
        if self.replay and not (self.objective.startswith("clip") and not self.freeze_image_trunk):
            raise ValueError(
                "replay goes with the objectives clip, clip_taxa and clip_tree and an image tower that learns"
            )
        return self


def main(config: Annotated[TrainConfig, Parameter(name="*")]) -> None:
    """Train on shards; run again it continues or does nothing."""
    console = stderr_console()
    identity = _identity(config)
    card = join(config.out, CARD)
    if exists(card) and _by_content(with_defaults(read_json(card)["identity"])) == _by_content(identity):
        print(f"model: {config.out} (was complete)")
        return
    check_installed(config.trackers)  # not after hours of features
    with writing_to(config.out), only_writer(config.out) as hold:
        _claim(config, identity)
        initial = initial_model(config, hold, console)
        _check_learns(config, initial)
        use_gpu = _start_ray(config, console)
        settings = _settings(config, initial, _training_shards(config, initial, use_gpu, console))
        state = _fit(config, settings, use_gpu, hold, console)
        _write_model(config, settings, state, identity, hold)
    print(f"model: {config.out}")


def _identity(config: TrainConfig) -> dict[str, Any]:
    """What a finished or half-finished run must agree in to be this one."""
    from trygon.data.shards import identify_shards

    shards = identify_shards(config.shards, config.split)
    if not shards:
        raise UserError(f"--shards {config.shards} holds no {config.split} shards; make them with `trygon curate`")
    values = recorded(config.model_dump(mode="json", exclude=OF_THE_MACHINE))
    replay = {file.name: file.bytes for file in _replay_files(config)}
    return values | {"shards": shards, "replay": replay, "initial_digests": initial_digests(config)}


def _by_content(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity without the places of what is told from others by its digest: it may lie elsewhere by now."""
    digests = identity.get("initial_digests", {})
    return identity | {"initial": {name: it for name, it in identity["initial"].items() if name not in digests}}


def recorded(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as a run keeps them: the model that it starts from by a name that holds in every folder."""
    model = settings["initial"]["model"]
    return settings | {"initial": settings["initial"] | {"model": absolute_ref(model) if model else ""}}


def with_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run, with those that an earlier version of trygon did not have yet as they are by default."""
    defaults = TrainConfig.model_construct().model_dump(mode="json", exclude=OF_THE_MACHINE)
    return defaults | values | {"initial": defaults["initial"] | values["initial"]}


def _replay_files(config: TrainConfig) -> "list[File]":
    """The files to replay. `UserError` where they are not such files, or the recipe wants some and there are none."""
    from trygon.data.ingest import PAIR
    from trygon.data.shards import open_shard

    if not config.replay:
        if config.replay_batch_size:
            raise UserError(
                "this recipe replays general pictures: give --replay FOLDER, or --replay-batch-size 0 to go without"
            )
        return []
    files = list_folder(config.replay, "", ".parquet")
    if not files:
        raise UserError(
            f"--replay {config.replay} holds no Parquet files; img2dataset writes them with --output_format parquet"
        )
    with open_shard(files[0].place) as first:
        if missing := sorted(PAIR.keys() - set(first.schema_arrow.names)):
            raise UserError(f"--replay: {files[0].place} has no column {missing[0]!r}; it takes {', '.join(PAIR)}")
    return files


def _claim(config: TrainConfig, identity: dict[str, Any]) -> None:
    """Take the output folder for this run. `UserError` where it holds work of another one."""
    plan = join(config.out, "plan.json")
    begun = any(exists(join(config.out, name)) for name in ("initial", "features", "checkpoints", CARD))
    before = _by_content(with_defaults(read_json(plan))) if begun and exists(plan) else None
    if before is not None and before != (now := _by_content(identity)):
        changed = min(name for name in now.keys() | before.keys() if before.get(name) != now.get(name))
        raise UserError(f"{config.out} holds a run with another {changed}: give another --out, or remove it")
    write_json(plan, identity)
    write_json(join(config.out, "config.json"), recorded(config.model_dump(mode="json")))


def _check_learns(config: TrainConfig, initial: str) -> None:
    """`UserError` where nothing of the model would learn: before its features are computed, which may take hours."""
    if config.freeze_image_trunk:
        from trygon.models.model import load_model
        from trygon.training.optimiser import freeze

        freeze(load_model(initial, "cpu").net, config)


def _start_ray(config: TrainConfig, console: Any) -> bool:
    """Start or join Ray; whether workers get GPUs."""
    import os

    import ray

    from trygon.cluster.local import inside_cluster, start_ray
    from trygon.data.ingest import READER_CPUS

    # Beside the workers and their readers, Ray Train's controller takes a slot, and validation another.
    start_ray(max(os.cpu_count() or 1, math.ceil((1 + READER_CPUS * config.readers) * config.workers) + 2))
    if config.use_gpu and inside_cluster():  # it may grow
        return True
    return gets_gpus(config, int(ray.cluster_resources().get("GPU", 0)), console)


def gets_gpus(config: TrainConfig, num_gpus: int, console: Any) -> bool:
    """Whether workers get GPUs. `UserError` where they shall and there are too few. A run in half precision is meant
    for GPUs: on the CPUs beside them it would take years."""
    least = config.min_workers or config.workers
    if num_gpus >= least:
        return config.use_gpu is not False
    if config.use_gpu or (num_gpus and config.use_gpu is None and config.precision != "fp32"):
        fewer = f"--{'min-' if config.min_workers else ''}workers {num_gpus}, or " if num_gpus else ""
        raise UserError(
            f"{least} workers need as many GPUs, and there are {num_gpus}: give {fewer}--no-use-gpu to train on CPUs"
            + ("" if config.use_gpu else ", or --use-gpu on a cluster that starts more")
        )
    if num_gpus and config.use_gpu is None:
        console.print(
            f"training on CPUs: there are {num_gpus} GPUs for {least} workers; see --workers", soft_wrap=True
        )
    return False


def _training_shards(config: TrainConfig, initial: str, use_gpu: bool, console: Any) -> list[str]:
    from trygon.cluster.local import inside_cluster
    from trygon.cluster.room import Room
    from trygon.data.row_groups import list_row_groups
    from trygon.data.shards import list_shards
    from trygon.training.features import shape_of_worker, write_features

    shards = list_shards(absolute(config.shards), config.split)
    if not config.freeze_image_trunk:
        return shards
    # Ray would wait for a machine with GPUs without a word. On this machine alone nothing grows.
    shape = shape_of_worker(config.readers, use_gpu)
    Room(shape, 1, config.wait_for_room_s if inside_cluster() else 0).wait(console.print)
    with bars(console) as progress:
        advance = stage(progress, "image features", sum(group.num_rows for group in list_row_groups(shards)))
        out = join(absolute(config.out), "features")
        return write_features(shards, initial, out, config.workers, config.readers, use_gpu, config.precision, advance)


def _settings(config: TrainConfig, initial: str, shards: list[str]) -> "TrainSettings":
    from trygon.data.shards import list_shards
    from trygon.training.objective import CLASSIFIED
    from trygon.training.settings import TrainSettings

    folder = folder_of(initial)
    # A classifier's text tower learns nothing: captions would measure what the run started from.
    measured = list_shards(config.shards, "val") and config.objective not in CLASSIFIED
    held_out = config.validation_samples if measured else 0
    given: dict[str, Any] = config.model_dump(include=set(RunSettings.model_fields))
    given["validation_samples"] = held_out
    return TrainSettings(
        initial=initial,
        initial_digest=digest_file(folder / WEIGHTS_NAME) if folder else "",
        shards=tuple(shards),
        # Below the checkpoints, which only a run of the same shards goes on with.
        row_groups=join(absolute(config.out), "checkpoints", "row_groups.parquet"),
        replay=tuple(absolute(file.place) for file in _replay_files(config)),
        replay_row_groups=join(absolute(config.out), "checkpoints", "replay_row_groups.parquet"),
        taxa=join(absolute(config.shards), "taxa.parquet"),
        metrics=join(absolute(config.out), "metrics.jsonl"),
        validation_shards=absolute(config.shards),
        validation=join(absolute(config.out), "validation.jsonl"),
        most_workers=config.workers,
        **given,
    )


def _fit(config: TrainConfig, settings: "TrainSettings", use_gpu: bool, hold: "Hold", console: Any) -> "Checkpoint":
    from trygon.training.reports import Gauges
    from trygon.training.run import Team, Watcher, fit
    from trygon.training.trackers import tracked

    gauges = Gauges()
    flat = config.model_dump(mode="json")
    with bars(console) as progress, tracked(config.trackers, config.out, flat) as track:
        task, num_broken, is_due = progress.add_task("train", total=None), 0, once_a_minute(console)

        def show(line: dict[str, Any], is_first: bool) -> None:
            nonlocal num_broken
            if is_first:  # a step that comes again after a failure is on the curves already
                track(line, "train")
                num_broken += line["broken"]
            if progress.tasks[task].total is None:  # steps of an earlier run say nothing of the time left
                progress.reset(task, completed=line["step"], total=line["num_steps"])
            told = _told(line, num_broken)
            progress.update(task, completed=line["step"], description=told)
            if is_due():
                tell(f"step {line['step']:,} of {line['num_steps']:,}{left(progress.tasks[task])}: {told}")

        def show_measured(line: dict[str, Any]) -> None:
            track(line, "val")
            gauges.show_measured(line)

        def tell(news: str) -> None:
            console.print(news, markup=False, soft_wrap=True)

        team = Team(config.min_workers or config.workers, config.workers, use_gpu)
        return fit(settings, absolute(config.out), team, Watcher(show, show_measured, tell), hold)


def _told(line: dict[str, Any], num_broken: int) -> str:
    """A step in a few words, and how many broken pictures there were so far."""
    waited = line["data_s"] / max(line["data_s"] + line["step_s"], 1e-9)
    mfu = f"  MFU {line['mfu']:.0%}" if "mfu" in line else ""
    broken = f"  {num_broken} broken" if num_broken else ""
    return (
        f"train  loss {line['loss']:.3f}  scale {line['logit_scale']:.1f}  "
        f"gradient {line.get('gradient_norm', 0):.2f}  "
        f"{line['images_per_s'] / line['workers']:.0f} samples/s a worker  data {waited:.0%}{mfu}{broken}"
    )


def _write_model(
    config: TrainConfig, settings: "TrainSettings", state: "Checkpoint", identity: dict[str, Any], hold: "Hold"
) -> None:
    from trygon.mirror import made_here
    from trygon.models.card import model_card
    from trygon.models.model import load_model, save_model
    from trygon.training.checkpoint import put_weights
    from trygon.training.curves import count_stand_ins, draw_curves
    from trygon.training.measurements import Measurements

    model = load_model(settings.initial, "cpu")
    with state.as_directory() as checkpoint:
        position = put_weights(model.net, Path(checkpoint), config.initial_share)
    summary = join(config.shards, "summary.json")
    data = read_json(summary) if exists(summary) else {}
    seen = _seen(config, settings, identity["shards"], data)
    with made_here(config.out, CARD, hold) as folder:
        save_model(folder, model.net, read_config(settings.initial), model.tokenizer)
        draw_curves(settings.metrics, folder / "curves.png")
        recipe = config.model_dump(mode="json")
        counts, measured = count_stand_ins(settings.metrics), Measurements(settings.validation).last()
        card = model_card(recipe, seen, position.step, counts, measured)
        write_text(folder / "README.md", card)
        write_json(folder / CARD, {"identity": identity, "steps": position.step, "data": data})


def _seen(config: TrainConfig, settings: "TrainSettings", shards: dict[str, str], data: dict[str, Any]) -> "Seen":
    """What the run was trained on, which may be a part of the shards alone; `data` is their summary."""
    from trygon.data.shards import count_species
    from trygon.models.card import Seen
    from trygon.training.reading import plan_of

    return Seen(
        digest_texts(f"{name} {value}" for name, value in sorted(shards.items())),
        plan_of(settings).num_rows,
        count_species(config.shards, config.split, config.sources),
        data.get("num_species", {}).get("unseen"),
    )
