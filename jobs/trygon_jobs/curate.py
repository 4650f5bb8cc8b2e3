"""Photos to Parquet shards of samples, with species held out of training. Ray Data spreads images and shards."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import Field

from trygon.errors import UserError
from trygon.storage import digest_file, read_json, write_json
from trygon_jobs.config import JobConfig


class CurateConfig(JobConfig):
    """What is curated, and how."""

    out: Path
    """The folder for the shards."""

    source: Path | None = None
    """A folder of photos with a labels.csv (path, kingdom … species, and common, license, author where known);
    without it, the sample photos that `trygon sample` brings."""

    backgrounds: Path | None = None
    """A folder of pictures without organisms that cut-outs are pasted on; without it, the sample's."""

    views: int = Field(default=20, ge=1)
    """Training views of each photo."""

    side: int = Field(default=256, ge=32)
    """Pixels of a sample's shorter side."""

    holdout: float = Field(default=0.25, ge=0, lt=1)
    """The share of species that training never sees; each is chosen by a hash of its name and the seed."""

    shard_rows: int = Field(default=512, ge=1)
    """Most samples in one shard."""

    seed: int = 0
    """Of the splits, the views and the order."""


def main(config: Annotated[CurateConfig, Parameter(name="*")]) -> None:
    """Make Parquet shards of labelled photos; run again it continues or does nothing."""
    from trygon.data.curation import read_labels
    from trygon.disk import only_writer, writing_to

    folder, backgrounds = _inputs(config)
    photos, rejects = read_labels(folder)
    with writing_to(config.out), only_writer(config.out):
        counts = _curate(config, folder, backgrounds, photos, rejects)
    told = ", ".join(f"{number} {split}" for split, number in counts.items())
    print(f"shards: {config.out} " + (f"({told} samples)" if counts else "(were complete)"))


def _curate(
    config: CurateConfig, folder: Path, backgrounds: Path | None, photos: Sequence[Any], rejects: Sequence[Any]
) -> Counter[str]:
    """Make what is missing in the output folder; the samples by split, none where it was complete."""
    from trygon.data.curation import LABELS, plan_shards, split_photos

    if not _claim(config, digest_file(folder / LABELS)):
        return Counter()
    from trygon.cluster.local import start_ray
    from trygon.data.curation import Recipe

    start_ray()
    photos, bad = _inspect(folder, photos)
    splits, unclear = split_photos(photos, config.holdout, config.seed)
    if not splits["train"]:
        raise UserError(f"{folder}: no photo is left for training (see its labels.csv, or lower --holdout)")
    recipe = Recipe(str(folder), str(backgrounds or ""), config.views, config.side, config.seed)
    plans = plan_shards(splits, config.out.absolute(), recipe, config.shard_rows)
    counts = _make_shards(plans, recipe)
    _finish(config.out, splits, [*rejects, *bad, *unclear], counts)
    return counts


def _inputs(config: CurateConfig) -> tuple[Path, Path | None]:
    from trygon.data.cache import sample_folder
    from trygon.storage import require_folder

    if config.source is None:
        require_folder(
            sample_folder() / "photos", "the sample photos' folder", "Run `trygon sample`, or give --source."
        )
    folder = (config.source or sample_folder() / "photos").absolute()
    if config.backgrounds is None:
        found = sample_folder() / "backgrounds"
        return folder, found if found.is_dir() else None
    return folder, require_folder(config.backgrounds, "the backgrounds", "Give a folder of pictures.").absolute()


def _claim(config: CurateConfig, labels_digest: str) -> bool:
    """Take the output folder for this config; False where it is finished."""
    identity = config.model_dump(mode="json", exclude={"out"}) | {"labels_sha256": labels_digest}
    plan = config.out / "plan.json"
    if plan.is_file():
        previous = read_json(plan)
        changed = [key for key in identity if previous.get(key) != identity[key]]
        if changed:
            raise UserError(
                f"{config.out} holds shards of another curation ({changed[0]}: {previous.get(changed[0])}, "
                f"now {identity[changed[0]]}): give another folder, or remove it"
            )
    write_json(plan, identity)
    write_json(config.out / "config.json", config.model_dump(mode="json"))
    return not (config.out / "summary.json").is_file()


def _inspect(folder: Path, photos: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The photos that can be decoded, each picture once; and the others."""
    from trygon.data.curation import Reject, inspect_photo

    def inspect(row: dict[str, Any]) -> dict[str, Any]:
        digest, reason = inspect_photo(folder, photos[row["item"]])
        return {"item": row["item"], "digest": digest, "reason": reason}

    kept, rejects, seen = [], [], set()
    found = _run("inspect photos", range(len(photos)), inspect, tasks=16)
    for row in sorted(found, key=lambda row: row["item"]):
        photo, reason = photos[row["item"]], row["reason"] or ("duplicate" if row["digest"] in seen else "")
        seen.add(row["digest"])
        if reason:
            rejects.append(Reject(photo.source, photo.path, reason))
        else:
            kept.append(photo)
    return kept, rejects


def _make_shards(plans: Sequence[Any], recipe: Any) -> Counter[str]:
    from trygon.data.curation import make_shard

    def make(row: dict[str, Any]) -> dict[str, Any]:
        plan = plans[row["item"]]
        return {"split": plan.split, "samples": make_shard(plan, recipe)}

    counts: Counter[str] = Counter()
    for row in _run("render shards", range(len(plans)), make, tasks=len(plans)):
        counts[row["split"]] += row["samples"]
    return counts


def _run(
    title: str, items: Sequence[int], task: Callable[[dict[str, Any]], dict[str, Any]], tasks: int
) -> list[dict[str, Any]]:
    import ray
    from rich.console import Console
    from rich.progress import track

    dataset = ray.data.from_items(list(items), override_num_blocks=min(tasks, len(items))).map(task)
    return list(track(dataset.iter_rows(), title, total=len(items), console=Console(stderr=True)))


def _finish(out: Path, splits: dict[str, list[Any]], rejects: Sequence[Any], counts: Counter[str]) -> None:
    from dataclasses import asdict

    import pyarrow as pa

    from trygon.data.curation import distinct_taxa
    from trygon.data.shards import write_rows
    from trygon.schemas import REJECT
    from trygon.taxonomy.tree import TaxonTree

    TaxonTree.from_taxa(distinct_taxa(photo for photos in splits.values() for photo in photos)).save(
        out / "taxa.parquet"
    )
    write_rows(out / "rejects.parquet", pa.Table.from_pylist([asdict(reject) for reject in rejects], schema=REJECT))
    species = {
        name: sorted({photo.taxon.taxonomic for photo in splits[split] if photo.at_species})
        for name, split in (("seen", "train"), ("unseen", "unseen"))
    }
    assert not set(species["seen"]) & set(species["unseen"])
    summary = {
        "samples": dict(counts),
        "photos": {split: len(photos) for split, photos in splits.items()},
        "num_species": {name: len(names) for name, names in species.items()},
        "rejects": dict(Counter(reject.reason for reject in rejects)),
        "species": species,
    }
    write_json(out / "summary.json", summary)
