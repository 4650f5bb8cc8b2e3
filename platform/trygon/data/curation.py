"""Sources to shards, in three stages that each go on where a killed run stopped. Ray Data spreads pictures and shards.

1. `render`: each unit of a source becomes parts of rendered, fingerprinted pictures; every picture is decoded once.
2. `select` (`data.selection`): fingerprints and names decide what is kept, in which split.
3. `write`: each shard gathers its samples from all parts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, groupby, islice
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trygon.cluster.tasks import spread
from trygon.data.card import pick_shown
from trygon.data.parts import RENDER, Part, read_part, read_pictures, write_part
from trygon.data.render import Rendering, render
from trygon.data.selection import LABELS, Selection
from trygon.data.shards import open_shard, shard_path, write_rows
from trygon.data.sources.source import Picture, Source, Unit
from trygon.data.splits import TRAIN, TRAIN_SMALL, subset
from trygon.data.webdataset import shard_name, write_sizes, write_webdataset
from trygon.schemas import SAMPLE
from trygon.storage import exists, join, list_files, read_json, write_bytes, write_json

T = TypeVar("T")

_LEAST_PART, _USUAL_PART = 16, 1024

_LOOKED_AT = 4096
"""Samples of which some are shown on the page."""


def part_rows(num_pictures: int) -> int:
    """Pictures a part: enough parts for all CPUs where there are few pictures, about a thousand where there are many,
    for each shard reads from every part."""
    return max(min(num_pictures // 64, _USUAL_PART), num_pictures // 1000, _LEAST_PART)


def regroup(units: Sequence[Unit], size: int) -> list[Unit]:
    """Units of single files in groups of `size`, so that each makes one part; archives as they are."""
    regrouped = []
    for (uri, single), group in groupby(units, key=lambda unit: (unit.uri, bool(unit.members))):
        if single:
            members = (member for unit in group for member in unit.members)
            regrouped += [Unit(uri, tuple(some)) for some in _batched(members, size)]
        else:
            regrouped += list(group)
    return regrouped


@dataclass(frozen=True)
class Job:
    """One unit to be rendered."""

    number: int
    source: Source
    unit: Unit
    folder: str
    rows: int
    rendering: Rendering

    @property
    def receipt(self) -> str:
        """Written when all parts of the unit are."""
        return join(self.folder, f"{self.number:06d}.json")


def render_jobs(
    sources: Iterable[tuple[Source, Sequence[Unit]]], rendering: Rendering, folder: str, rows: int
) -> list[Job]:
    """The jobs that render all units of all sources, in a stable order."""
    units = [(source, unit) for source, own in sources for unit in regroup(own, rows)]
    return [Job(number, source, unit, folder, rows, rendering) for number, (source, unit) in enumerate(units)]


_UNREAD = "unreadable"
"""What may pass where files lie in folders: a disk of a network did not answer. An archive that is repaired is another
archive, and one that is not gives the same again."""


def run_jobs(jobs: Sequence[Job], retry: bool) -> Iterator[int]:
    """Render what no earlier run has rendered and, with `retry`, the units of which it could not read all; yields the
    number of pictures of each job as it ends."""
    if not jobs:
        return
    there = set(list_files(jobs[0].folder, ".json"))
    receipts = {job.number: read_json(job.receipt) for job in jobs if job.receipt in there}
    done = {number: it["pictures"] for number, it in receipts.items() if not (retry and it.get("unread"))}
    yield sum(done.values())
    yield from spread(render_unit, [job for job in jobs if job.number not in done])


def render_unit(job: Job) -> int:
    """Render a unit to parts; the number of its pictures."""
    pictures, num_pictures, reasons = _once(job.source.read(job.unit)), 0, Counter[str]()
    is_retried = exists(job.receipt)
    for index in count():
        part = Part(job.folder, job.number, index)
        # Of an archive of many parts some may have been made before.
        is_there = not is_retried and exists(part.table)
        number, renders = 0, []
        for picture in islice(pictures, job.rows):
            number += 1
            renders += [] if is_there else render(picture, job.source.name, job.rendering)
        if not number:
            write_json(job.receipt, {"parts": index, "pictures": num_pictures, "unread": reasons[_UNREAD]})
            return num_pictures
        if not is_there:
            write_part(part, job.source.name, renders)
        if job.unit.members:
            reasons.update(read_part(part)["reason"].to_pylist())
        num_pictures += number
    raise AssertionError("unreachable")


def _once(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """The pictures; one whose id came before, as where an archive holds a name twice, without its content."""
    seen: set[str] = set()
    for picture in pictures:
        yield Picture(picture.source_id, b"", "repeated_id") if picture.source_id in seen else picture
        seen.add(picture.source_id)


def list_parts(jobs: Sequence[Job]) -> dict[str, list[Part]]:
    """The parts of each source, by its name."""
    parts: dict[str, list[Part]] = {job.source.name: [] for job in jobs}
    for job in jobs:
        count = read_json(job.receipt)["parts"]
        parts[job.source.name] += [Part(job.folder, job.number, index) for index in range(count)]
    return parts


def read_renders(parts: Sequence[Part], first: int) -> pa.Table:
    """What is in parts: RENDER and `part`, the part's number counted from `first`."""
    tables = [
        table.append_column("part", pa.array(np.full(table.num_rows, first + number, np.int32)))
        for number, table in enumerate(map(read_part, parts))
    ]
    empty = RENDER.append(pa.field("part", pa.int32())).empty_table()
    return pa.concat_tables([empty, *tables]).combine_chunks()


def plan_samples(renders: pa.Table, selection: Selection, num_views: int, subset_size: int, seed: int) -> pa.Table:
    """All samples to write: SAMPLE without the image, and `part`, `offset` and `bytes` that tell where it is.

    With several views, training pictures have views 1 and up, the others view 0: the picture itself.
    """
    pictures = selection.pictures.append_column("split", pa.array(selection.split, pa.string()))
    views = renders
    if num_views > 1:
        key, known = (_picture_keys(table) for table in (views, pictures))
        positions = pc.index_in(key, value_set=known.combine_chunks())
        of = pictures.select([*LABELS, "split"]).take(positions)
        wanted = pc.equal(pc.greater(views["view"], 0), pc.equal(of["split"], TRAIN))
        for name in of.column_names:
            views = views.append_column(name, of[name])
        pictures = views.filter(pc.fill_null(wanted, False))
    if subset_size:
        small = subset(pictures, np.asarray(pictures["split"].to_pylist()), subset_size, seed)
        repeated = pictures.filter(pa.array(small))
        column = pictures.column_names.index("split")
        repeated = repeated.set_column(column, "split", pa.repeat(TRAIN_SMALL, repeated.num_rows))
        pictures = pa.concat_tables([pictures, repeated])
    columns = [name for name in SAMPLE.names if name != "image"]
    return pictures.select([*columns, "part", "offset", "bytes"]).sort_by(
        [("split", "ascending"), ("sample_id", "ascending")]
    )


def _picture_keys(renders: pa.Table) -> pa.ChunkedArray:
    """A text that all views of a picture share, and no other picture."""
    return pc.binary_join_element_wise(
        renders["source"], renders["source_id"], renders["part"].cast(pa.string()), "\0"
    )


@dataclass(frozen=True)
class Shard:
    """One shard to be written: rows `start` to `stop` of the plan."""

    split: str
    index: int
    start: int
    stop: int


def cut_shards(num_samples: Mapping[str, int], rows: int) -> list[Shard]:
    """Shards of one size, at most `rows`, of samples that lie split after split: no straggler."""
    shards, start = [], 0
    for split, number in num_samples.items():
        count = -(-number // rows)
        cuts = [start + number * index // count for index in range(count + 1)]
        shards += [Shard(split, index, cuts[index], cuts[index + 1]) for index in range(count)]
        start += number
    return shards


def write_plan(place: str, samples: pa.Table, shards: Sequence[Shard]) -> None:
    """Write the plan as Parquet, a row group a shard, so that a task reads its own alone."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, samples.schema) as writer:
        for shard in shards:
            writer.write_table(samples.slice(shard.start, shard.stop - shard.start), row_group_size=shard.stop)
    write_bytes(place, memoryview(sink.getvalue()))


@dataclass(frozen=True)
class Output:
    """Where and in which forms shards are written."""

    folder: str
    plan: str
    parts: tuple[Part, ...]
    webdataset: bool

    def places(self, shard: Shard) -> dict[str, str]:
        """The files of a shard, by form."""
        forms = {"parquet": shard_path(self.folder, shard.split, shard.index)}
        if self.webdataset:
            forms["webdataset"] = join(self.folder, "webdataset", shard.split, shard_name(shard.index))
        return forms


def write_shards(output: Output, shards: Sequence[Shard]) -> Iterator[int]:
    """Write the shards that are not there yet; yields the number of samples of each as it ends."""
    there = set(list_files(output.folder, ".parquet")) | set(list_files(output.folder, ".tar"))
    tasks = [
        (index, shard) for index, shard in enumerate(shards) if not there.issuperset(output.places(shard).values())
    ]
    yield sum(shard.stop - shard.start for shard in shards) - sum(shard.stop - shard.start for _, shard in tasks)
    yield from spread(lambda task: write_shard(output, *task), tasks)
    if output.webdataset:
        for split in {shard.split for shard in shards}:
            sizes = {shard_name(it.index): it.stop - it.start for it in shards if it.split == split}
            write_sizes(join(output.folder, "webdataset", split), sizes)


def write_shard(output: Output, index: int, shard: Shard) -> int:
    """Gather and write one shard in all its forms; the number of its samples."""
    with open_shard(output.plan) as plans:
        plan = plans.read_row_group(index)
    where = (plan[name].to_numpy() for name in ("part", "offset", "bytes"))
    images = read_pictures(output.parts, *where)
    columns: Mapping[str, Any] = {name: plan[name] for name in SAMPLE.names if name != "image"}
    samples = pa.table({**columns, "image": pa.array(images, pa.binary())}).select(SAMPLE.names).cast(SAMPLE)
    places = output.places(shard)
    write_rows(places["parquet"], samples)
    if "webdataset" in places:
        write_webdataset(places["webdataset"], samples.to_pylist())
    return len(images)


def read_shown(output: Output, samples: pa.Table) -> list[dict[str, Any]]:
    """Some samples with their pictures, for the page: the first of the plan, of many families."""
    first = samples.slice(0, _LOOKED_AT).to_pylist()
    rows = pick_shown(first)
    where = (np.asarray([row[name] for row in rows]) for name in ("part", "offset", "bytes"))
    return [{**row, "image": image} for row, image in zip(rows, read_pictures(output.parts, *where), strict=True)]


def _batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Items in tuples of `size`; the last may be shorter."""
    iterator = iter(items)
    while batch := tuple(islice(iterator, size)):
        yield batch
