"""The output folder of a curation: which curation it holds, how far it has come, and what describes it at the end."""

import hashlib
from collections.abc import Sequence
from enum import Enum
from typing import Any

import pyarrow as pa

from trygon.data.card import count_samples, summarise, write_card
from trygon.data.curation import Job, Output, Shard, read_shown
from trygon.data.render import Rendering
from trygon.data.selection import shows_species
from trygon.data.shards import COUNTS, open_shard, write_rows
from trygon.errors import TrygonError, UserError
from trygon.lease import Hold
from trygon.storage import digest_texts, exists, join, list_files, read_json, write_json
from trygon.taxonomy.tree import TaxonTree
from trygon_jobs.curate import CurateConfig
from trygon_jobs.curate_inputs import Inputs, Records

_PLAN, _SUMMARY = "plan.json", "summary.json"
_LISTING = "listing"
_DIGESTS = {"files", "part_rows", "records", "benchmark_species"}
"""What no user wrote down: that it changed is all there is to say."""


class Stage(Enum):
    """How far a folder has come."""

    RENDERING = "pictures are read"
    WRITING = "there are shards"
    FINISHED = "all is written"


def stands(config: CurateConfig, listing: str) -> bool:
    """Whether the folder holds this curation, finished, and what it was made of is as it was. Reads no source."""
    plan = join(config.out, _PLAN)
    if not exists(join(config.out, _SUMMARY)) or not exists(plan):
        return False
    previous = read_json(plan)
    settings = config.model_dump(mode="json", exclude={"out"}) | {_LISTING: listing}
    return all(previous.get(name) == value for name, value in settings.items())


def claim(config: CurateConfig, inputs: Inputs, records: Records, jobs: Sequence[Job]) -> Stage:
    """Take the folder for this config, these records and these files; how far it had come. `UserError` where it holds
    another curation."""
    rendered = config.model_dump(mode="json", include={*Rendering.__dataclass_fields__, "source", "exclude"})
    rendered |= {"files": inputs.files, "part_rows": max((job.rows for job in jobs), default=0)}
    identity = (
        config.model_dump(mode="json", exclude={"out"})
        | rendered
        | {
            "records": {name: _digest(table) for name, table in records.tables.items()},
            "benchmark_species": digest_texts(" ".join(pair) for pair in sorted(records.species)),
        }
    )
    plan, stage = join(config.out, _PLAN), _stage(config.out)
    if exists(plan):
        previous = read_json(plan)
        # Before there are shards, only what pictures are made of must be the same.
        compared = rendered if stage is Stage.RENDERING else identity
        changed = next((key for key in compared if previous.get(key) != identity[key]), None)
        if changed:
            what = changed if changed in _DIGESTS else f"{changed}: {previous.get(changed)}, now {identity[changed]}"
            raise UserError(f"{config.out} holds another curation ({what}): give another folder, or remove it")
    write_json(plan, identity | {_LISTING: inputs.listing})
    write_json(join(config.out, "config.json"), config.model_dump(mode="json"))
    return stage


def _stage(out: str) -> Stage:
    if exists(join(out, _SUMMARY)):
        return Stage.FINISHED
    return Stage.WRITING if list_files(out, ".parquet") or list_files(out, ".tar") else Stage.RENDERING


def _digest(table: pa.Table) -> str:
    """SHA-256 of a table's content."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def check_absence(output: Output, shards: Sequence[Shard], species: set[tuple[str, str]]) -> None:
    """Read back what was written: no sample shows a species of the benchmark."""
    for shard in shards if species else ():
        place = output.places(shard)["parquet"]
        with open_shard(place) as samples:
            shown = shows_species(samples.read(columns=["genus", "species"]), species)
        if shown.any():
            raise TrygonError(f"{place} holds {shown.sum()} samples of the benchmark's species: do not train on it")


def finish(
    output: Output, config: CurateConfig, samples: pa.Table, rejects: pa.Table, told: dict[str, Any], hold: Hold
) -> dict[str, Any]:
    """Write what describes the shards; `summary.json` last, for it makes them complete. Returns it: what was made and
    left out, and what is `told` beside that."""
    counts = count_samples(samples)
    hold.check()
    write_rows(join(output.folder, "rejects.parquet"), rejects)
    write_rows(join(output.folder, COUNTS), counts)
    TaxonTree.from_table(counts).save(join(output.folder, "taxa.parquet"))
    summary = summarise(samples, rejects) | told
    write_card(output.folder, config.model_dump(mode="json"), summary, counts, read_shown(output, samples))
    hold.check()
    write_json(join(output.folder, _SUMMARY), summary)
    return summary
