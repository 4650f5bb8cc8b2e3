"""Where examples of taxa come from: pictures in a folder a taxon, or what people named in a run. Both become rows of
EXAMPLE; a picture that was embedded before is not embedded again. Knows nothing of labels.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trygon.archive.inputs.media import IMAGE_TYPES, suffix_of
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.reviews import read_reviews, standing
from trygon.archive.run_folder.sessions import BOUND, makers
from trygon.archive.run_folder.tables import read_table
from trygon.data.images import BadImage, decode, square, to_array
from trygon.errors import TrygonError, UserError
from trygon.labelling.examples import lineage_of
from trygon.lease import Hold
from trygon.models.encoders import load_encoder
from trygon.models.encoders.choice import Encoder, EncoderChoice
from trygon.schemas import EXAMPLE
from trygon.storage import below, exists, is_remote, join, list_files, read_bytes, stable_id
from trygon.tables import write_table
from trygon.taxonomy.taxon import RANKS

FILE = "examples.parquet"
"""EXAMPLE rows of a run folder: what its names were learned from, and the vectors that need not be made again."""

_MOST = 50
"""Reviewed detections of a taxon, spread over its events: more would add little and take their time."""
_BATCH = 8
_SAMPLE = 64
"""Parts of a run that speak for all of its crops."""


@dataclass(frozen=True)
class Picture:
    """A picture and the name of its folder."""

    place: str
    name: str


def is_run(place: str) -> bool:
    """Whether examples are what people named in a run."""
    return exists(join(place, BOUND))


def find_pictures(place: str) -> list[Picture]:
    """The pictures below a folder that has a folder a taxon. `UserError` where there are none."""
    if not is_remote(place) and not Path(place).is_dir():
        raise UserError(f"--examples {place}: no such folder; give one with a sub-folder a taxon, or a reviewed run")
    found = [(path, below(place, path).split("/")) for path in list_files(place)]
    pictures = [Picture(path, parts[0]) for path, parts in found if len(parts) > 1 and suffix_of(path) in IMAGE_TYPES]
    if not pictures:
        raise UserError(
            f"--examples {place} has no pictures in sub-folders: put those of each taxon into a folder with its name"
        )
    return pictures


def gather(
    places: Sequence[str], out: str, hold: Hold, find_encoder: Callable[[], EncoderChoice], told: Callable[[int], None]
) -> pa.Table:
    """EXAMPLE rows of all places, kept in the run folder `out`.

    The encoder is asked for, and loaded, only where a picture is new; `told` then hears how many are.
    """
    reviewed = [_reviewed(place, out) for place in places if is_run(place)]
    pictures = [picture for place in places if not is_run(place) for picture in find_pictures(place)]
    known = read_table(join(out, FILE)) if exists(join(out, FILE)) else EXAMPLE.empty_table()
    rows = list(_pictured(pictures, known, find_encoder, told))
    table = pa.concat_tables([*reviewed, pa.Table.from_pylist(rows, EXAMPLE)])
    hold.check()
    write_table(join(out, FILE), table)
    return table


def _pictured(
    pictures: list[Picture], known: pa.Table, find_encoder: Callable[[], EncoderChoice], told: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    with ThreadPoolExecutor(16) as pool:
        digests = list(pool.map(_digest, pictures))
    kept = {row["digest"]: row for row in known.to_pylist() if row["digest"]}
    fresh = [picture for picture, digest in zip(pictures, digests, strict=True) if digest and digest not in kept]
    made: dict[str, dict[str, Any]] = {}
    if fresh:
        told(len(fresh))
        made = _embed(fresh, find_encoder())
    for picture, digest in zip(pictures, digests, strict=True):
        name, lineage = lineage_of(picture.name)
        row = dict(zip(RANKS, lineage, strict=True)) | {"name": name, "place": picture.place, "digest": digest}
        about = made.get(picture.place) or kept.get(digest or "") or {"failure": "unreadable", "vector": None}
        group = stable_id("example", digest or picture.place)  # the same picture twice is one
        yield row | {"group": group, "failure": about["failure"], "vector": about["vector"]}


def _digest(picture: Picture) -> str | None:
    try:
        return hashlib.sha256(read_bytes(picture.place)).hexdigest()
    except (OSError, TrygonError):
        return None


def _embed(pictures: Iterable[Picture], choice: EncoderChoice) -> dict[str, dict[str, Any]]:
    """Vector or failure of each picture, whole, by its place."""
    num_threads = os.cpu_count() or 1
    encoder, rest = load_encoder(choice, num_threads), iter(pictures)
    made: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(num_threads) as pool:
        batches = iter(lambda: list(islice(rest, _BATCH)), [])
        for found in pool.map(lambda batch: _embed_batch(batch, choice, encoder), batches):
            made |= found
    return made


def _embed_batch(batch: list[Picture], choice: EncoderChoice, encoder: Encoder) -> dict[str, dict[str, Any]]:
    tower, made, arrays = choice.tower, dict[str, dict[str, Any]](), list[np.ndarray]()
    for picture in batch:
        try:
            image = decode(read_bytes(picture.place), tower.side)
            arrays.append(to_array(square(image, tower.side, tower.resize_mode)))
            made[picture.place] = {"failure": None}
        except BadImage as error:
            made[picture.place] = {"failure": error.reason, "vector": None}
        except OSError:
            made[picture.place] = {"failure": "unreadable", "vector": None}
    vectors = iter(encoder.encode_images(np.stack(arrays)).astype(np.float16) if arrays else ())
    return {place: about if about["failure"] else about | {"vector": next(vectors)} for place, about in made.items()}


def _reviewed(place: str, out: str) -> pa.Table:
    """Animals that people named in a run, with the vectors that it has of them."""
    here, there = makers(out), makers(place)
    if any(here[what] != there[what] for what in ("model", "encoder")):
        raise UserError(
            f"--examples {place}: that run was made with another model or encoder; "
            f"write its pictures with `trygon review {place} --examples FOLDER`, and give that folder"
        )
    said = _choose(standing(read_reviews(place)))
    rows = []
    for table in Parts(place).detections(["detection_id", "vector"]):
        ids = table["detection_id"].to_numpy()
        for at in np.flatnonzero(np.isin(ids, list(said))).tolist():
            vector = table["vector"][at].values
            if vector is not None:
                rows.append(said[int(ids[at])] | {"place": place, "vector": vector.to_numpy()})
    return pa.Table.from_pylist(rows, EXAMPLE)


def _choose(reviews: pa.Table) -> dict[int, dict[str, Any]]:
    """What counts for each detection that was named, by its id; of each taxon some of every event."""
    named: dict[int, dict[str, Any]] = {}
    for row in reviews.to_pylist():
        for observation_id in row["observation_ids"]:
            named[observation_id] = row  # the last word counts
    animals = {one: row for one, row in named.items() if row["type"] == "animal" and row["scientific"]}
    chosen = spread(((taxon_of(row), row["event_id"] or 0, one) for one, row in animals.items()), _MOST)
    return {
        one: {"name": row["scientific"], "group": row["event_id"] or 0, **{rank: row[rank] or "" for rank in RANKS}}
        for one, row in animals.items()
        if one in chosen
    }


def taxon_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What tells a taxon apart: its scientific name and lineage, as names repeat."""
    return tuple(row[name] or "" for name in ("scientific", *RANKS))


def spread(named: Iterable[tuple[tuple[str, ...], int, int]], most: int) -> set[int]:
    """Of observations, each with its taxon and event, at most so many of a taxon: one of each event in turn."""
    turns, counts = Counter[Any](), Counter[tuple[str, ...]]()
    order = []
    for taxon, event_id, observation_id in named:
        turns[taxon, event_id] += 1
        order.append((turns[taxon, event_id], observation_id, taxon))
    chosen = set[int]()
    for _, observation_id, taxon in sorted(order):
        counts[taxon] += 1
        if counts[taxon] <= most:
            chosen.add(observation_id)
    return chosen


def mean_crop(parts: Parts, dim: int) -> np.ndarray:
    """The mean vector of a run's crops, of some parts where there are many: (D,) float32."""
    numbers = parts.numbers()
    some = [numbers[at] for at in np.unique(np.linspace(0, len(numbers) - 1, min(len(numbers), _SAMPLE)).astype(int))]
    total_D, num = np.zeros(dim, np.float32), 0
    for number in some:
        vectors = read_table(parts.vectors_place(number), columns=["vector"])["vector"].combine_chunks().drop_null()
        total_D += vectors.flatten().to_numpy().reshape(-1, dim).astype(np.float32).sum(0)
        num += len(vectors)
    return total_D / max(num, 1)
