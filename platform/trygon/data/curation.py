"""From a folder of labelled photos to samples: cleaning, splits, and which view of which photo is in which shard.

The whole plan is made of hashes before an image is rendered, so each shard is a task of its own, the same on every
machine and in every run. Knows nothing of Ray.
"""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trygon.data.composites import clean_view, open_organism, training_view
from trygon.data.images import BadImage, decode, encode_jpeg
from trygon.data.shards import shard_path, write_shard
from trygon.errors import UserError
from trygon.storage import require_folder, stable_id
from trygon.taxonomy.names import clean_lineage
from trygon.taxonomy.taxon import RANKS, Rank, Taxon

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
LABELS = "labels.csv"


@dataclass(frozen=True)
class Photo:
    """One labelled picture of a source folder."""

    path: str
    taxon: Taxon
    source: str
    license: str = ""
    rights_holder: str = ""

    @property
    def at_species(self) -> bool:
        """Whether it is labelled down to the species."""
        return self.taxon.rank is Rank.SPECIES


@dataclass(frozen=True)
class Reject:
    """A picture that does not become a sample, and why."""

    source: str
    source_id: str
    reason: str


def read_labels(folder: Path) -> tuple[list[Photo], list[Reject]]:
    """The photos that labels.csv names, cleaned; and what has no usable label or no file."""
    hint = f"It needs images and a {LABELS} with the columns path, {', '.join(RANKS)}."
    require_folder(folder, "the source", hint)
    if not (folder / LABELS).is_file():
        raise UserError(f"the source {folder} has no {LABELS}. {hint}")
    with (folder / LABELS).open(encoding="utf-8-sig", newline="") as file:  # Excel puts a mark before the first column
        reader = csv.DictReader(file)
        missing = [name for name in ("path", *RANKS) if name not in (reader.fieldnames or [])]
        if missing:
            raise UserError(f"{folder / LABELS} has no column {missing[0]!r}. {hint}")
        photos = [_photo(row, folder.name) for row in reader]
    known = {photo.path for photo in photos}
    files = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES
    }
    rejects = [Reject(folder.name, path, "unlabelled") for path in sorted(files - known)]
    rejects += [Reject(photo.source, photo.path, "no_name") for photo in photos if photo.taxon.rank is None]
    rejects += [Reject(photo.source, photo.path, "missing") for photo in photos if not (folder / photo.path).is_file()]
    bad = {reject.source_id for reject in rejects}
    return [photo for photo in photos if photo.path not in bad], rejects


def _photo(row: Mapping[str, str | None], source: str) -> Photo:
    taxon = Taxon(clean_lineage([row.get(rank) for rank in RANKS]), (row.get("common") or "").strip())
    credit = (row.get("license") or "", row.get("author") or "")
    return Photo((row["path"] or "").strip(), taxon, (row.get("package") or source).split(" ")[0], *credit)


def inspect_photo(folder: Path, photo: Photo) -> tuple[str, str]:
    """Decode a photo once: its digest and a blank, or a blank and the reason why it cannot be used."""
    try:
        image = decode((folder / photo.path).read_bytes())
    except BadImage as error:
        return "", error.reason
    except OSError:
        return "", "unreadable"
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest(), ""


def share_of(seed: int, *parts: str) -> float:
    """A number in 0..1 made of a seed and texts: what is held out stays so when other things come or go."""
    return stable_id(str(seed), *parts) / 2**63


def split_photos(photos: Sequence[Photo], holdout: float, seed: int) -> tuple[dict[str, list[Photo]], list[Reject]]:
    """Photos by split.

    A species is held out by its own hash, with all its photos. Of the other species with two photos or more, one photo
    is for validation. A photo labelled above species trains, unless it might show a species that is held out.
    """
    by_species: dict[tuple[str, ...], list[Photo]] = defaultdict(list)
    for photo in photos:
        if photo.at_species:
            by_species[photo.taxon.lineage].append(photo)
    held_out = {lineage for lineage in by_species if share_of(seed, "species", *lineage) < holdout}
    splits: dict[str, list[Photo]] = {"train": [], "val": [], "unseen": []}
    for lineage, group in by_species.items():
        ordered = sorted(group, key=lambda photo: share_of(seed, "photo", photo.source, photo.path))
        num_val = 1 if len(ordered) > 1 and lineage not in held_out else 0
        splits["unseen" if lineage in held_out else "train"] += ordered[num_val:]
        splits["val"] += ordered[:num_val]
    clades = {lineage[: rank + 1] for lineage in held_out for rank in Rank}
    rejects = []
    for photo in photos:
        if photo.at_species:
            continue
        rank = photo.taxon.rank
        assert rank is not None
        if photo.taxon.lineage[: rank + 1] in clades:
            rejects.append(Reject(photo.source, photo.path, "may_show_held_out_species"))
        else:
            splits["train"].append(photo)
    return splits, rejects


@dataclass(frozen=True)
class Recipe:
    """How samples are made of photos."""

    source: str
    backgrounds: str
    views: int
    side: int
    seed: int


@dataclass(frozen=True)
class View:
    """One sample to be made: a photo and the number of its view."""

    photo: Photo
    index: int

    @property
    def sample_id(self) -> int:
        """The same for the same photo and view, whatever else is curated."""
        return stable_id(self.photo.source, self.photo.path, str(self.index))


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be made."""

    path: str
    split: str
    views: tuple[View, ...]


def plan_shards(
    splits: Mapping[str, Sequence[Photo]], folder: Path, recipe: Recipe, shard_rows: int
) -> list[ShardPlan]:
    """All shards: training has `recipe.views` views a photo, the others one. Samples lie in the order of a hash."""
    plans = []
    for split, photos in splits.items():
        num_views = recipe.views if split == "train" else 1
        views = [View(photo, index) for photo in photos for index in range(num_views)]
        views.sort(key=lambda view: share_of(recipe.seed, "order", str(view.sample_id)))
        # Shards of one size: no straggler, and no worker left without one.
        num_shards = -(-len(views) // shard_rows)
        for index in range(num_shards):
            path = str(shard_path(folder, split, index))
            plans.append(ShardPlan(path, split, tuple(views[index::num_shards])))
    return plans


def make_shard(plan: ShardPlan, recipe: Recipe) -> int:
    """Render and write one shard, unless it is there; the number of samples in it."""
    path = Path(plan.path)
    if not path.is_file():
        order = {view: position for position, view in enumerate(plan.views)}
        samples: list[dict[str, Any] | None] = [None] * len(order)
        by_photo: dict[Photo, list[View]] = defaultdict(list)
        for view in plan.views:
            by_photo[view.photo].append(view)
        for photo, views in by_photo.items():
            organism = open_organism((Path(recipe.source) / photo.path).read_bytes())
            for view in views:
                samples[order[view]] = _sample(view, plan.split, organism, recipe)
        write_shard(path, [sample for sample in samples if sample])
    return len(plan.views)


def _sample(view: View, split: str, organism: Image.Image, recipe: Recipe) -> dict[str, Any]:
    if split == "train":
        rng = np.random.default_rng([recipe.seed, view.sample_id])
        image = training_view(organism, load_backgrounds(recipe.backgrounds), recipe.side, rng)
    else:
        image = clean_view(organism, recipe.side)
    photo = view.photo
    return {
        "sample_id": view.sample_id,
        "image": encode_jpeg(image),
        **dict(zip(RANKS, photo.taxon.lineage, strict=True)),
        "common": photo.taxon.common,
        "split": split,
        "source": photo.source,
        "source_id": photo.path,
        "license": photo.license,
        "rights_holder": photo.rights_holder,
    }


_BACKGROUND_SIDE = 768


@lru_cache(maxsize=2)
def load_backgrounds(folder: str) -> tuple[Image.Image, ...]:
    """The pictures of a folder tree, in the order of their names, reduced once a process; none for a blank name."""
    paths = sorted(Path(folder).rglob("*")) if folder else []
    images = [decode(path.read_bytes()) for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    for image in images:
        image.thumbnail((2 * _BACKGROUND_SIDE, _BACKGROUND_SIDE))
    return tuple(images)


def distinct_taxa(photos: Iterable[Photo]) -> list[Taxon]:
    """The taxa of photos, each lineage once."""
    return list({photo.taxon.lineage: photo.taxon for photo in photos}.values())
