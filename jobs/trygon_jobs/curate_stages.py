"""The stages of a curation, one after the other: read what sources say, render pictures, choose among them, write."""

import os
from typing import Any

import pyarrow as pa

from trygon.cluster.local import start_ray
from trygon.data.curation import (
    Job,
    Output,
    cut_shards,
    list_parts,
    part_rows,
    plan_samples,
    read_renders,
    render_jobs,
    run_jobs,
    write_plan,
    write_shards,
)
from trygon.data.parts import Part
from trygon.data.render import Rendering
from trygon.data.selection import Selection, SelectionRule, join_records, select
from trygon.data.splits import SplitRule
from trygon.disk import only_writer, writing_to
from trygon.errors import UserError
from trygon.lease import Hold
from trygon.storage import absolute, join, remove_tree, remove_unfinished
from trygon.taxonomy.resolution import Backbone
from trygon.taxonomy.taxon import Rank
from trygon_jobs.curate import CurateConfig
from trygon_jobs.curate_inputs import Inputs, Records, check_clades, open_inputs, read_records
from trygon_jobs.curate_output import Stage, check_absence, claim, finish, stands
from trygon_jobs.progress import counting
from trygon_jobs.taxa import reasons

WORK = ".work"
"""Where pictures wait between the stages, in the output folder; gone when the shards are complete."""


def curate(config: CurateConfig) -> None:
    """Make what is missing in the output folder, and say what is in it."""
    config = config.model_copy(update={"out": absolute(config.out)})
    with writing_to(config.out), only_writer(config.out) as hold:
        inputs = open_inputs(config)
        remove_unfinished(config.out)
        summary = None if stands(config, inputs.listing) else _make(config, inputs, hold)
        hold.check()
        remove_tree(join(config.out, WORK))
    if summary is None:
        print(f"shards: {config.out} (were complete)")
        return
    told = ", ".join(f"{number} {split}" for split, number in summary["samples"].items())
    left_out = reasons(summary["rejects"])
    print(f"shards: {config.out} ({told} samples)" + (f"\nleft out: {left_out}" if left_out else ""))


def _make(config: CurateConfig, inputs: Inputs, hold: Hold) -> dict[str, Any] | None:
    """Run the stages; the summary, None where the folder was complete."""
    backbone = _backbone(inputs)
    records = read_records(inputs, backbone)
    jobs = _jobs(config, inputs, records)
    stage = claim(config, inputs, records, jobs)
    if stage is Stage.FINISHED:
        return None
    check_clades(config.holdout_clade, records)
    start_ray(os.cpu_count())  # decoding keeps a CPU busy: more workers than CPUs only cost memory
    # What could not be read is tried again while no shard has been made of what could.
    parts, renders = _render(jobs, records.num_rows, stage is Stage.RENDERING, hold)
    selection = _select(config, renders, inputs, records)
    samples = plan_samples(renders, selection, config.views, config.subset, config.seed)
    counts = {row["values"]: row["counts"] for row in samples["split"].value_counts().to_pylist()}
    if "train" not in counts:
        raise UserError(
            f"no picture is left for training: {_told(selection.rejects)}, {sum(counts.values())} held out "
            "(by --val, --holdout, --holdout-clade)"
        )
    shards = cut_shards(counts, config.shard_rows)
    plan = join(config.out, WORK, "plan.parquet")
    hold.check()
    write_plan(plan, samples, shards)
    output = Output(config.out, plan, tuple(parts), config.webdataset)
    with counting("write shards", samples.num_rows, unit="samples") as advance:
        for number in write_shards(output, shards):
            hold.check()
            advance(number)
    check_absence(output, shards, records.species)
    about: dict[str, Any] = {"bad_lines": records.bad_lines} | ({"backbone": backbone.told()} if backbone else {})
    return finish(output, config, samples, selection.rejects, about, hold)


def _backbone(inputs: Inputs) -> Backbone | None:
    if not inputs.backbone:
        return None
    backbone = Backbone.load(inputs.backbone)
    told = backbone.told()
    left_out = reasons(told["left_out"])
    line = f"backbone: {told['taxa']} taxa, {told['synonyms']} synonyms"
    print(f"{line}; rows left out: {left_out}" if left_out else line)
    return backbone


def _jobs(config: CurateConfig, inputs: Inputs, records: Records) -> list[Job]:
    rendering = Rendering(
        config.side, config.resize, config.quality, config.min_side, config.views, inputs.backgrounds, config.seed
    )
    return render_jobs(inputs.units, rendering, join(config.out, WORK, "parts"), part_rows(records.num_rows))


def _render(jobs: list[Job], total: int, retry: bool, hold: Hold) -> tuple[list[Part], pa.Table]:
    """Render all pictures; their parts, and what is in them, with the source's name beside it."""
    with counting("render pictures", total, unit="pictures") as advance:
        for number in run_jobs(jobs, retry):
            hold.check()
            advance(number)
    parts: list[Part] = []
    tables = []
    for name, own in list_parts(jobs).items():
        table = read_renders(own, len(parts))
        tables.append(table.append_column("source", pa.repeat(name, table.num_rows)))
        parts += own
    return parts, pa.concat_tables(tables)


def _select(config: CurateConfig, renders: pa.Table, inputs: Inputs, records: Records) -> Selection:
    benchmarks = {source.name for source in inputs.benchmarks}
    joined = [join_records(renders, table, name, name in benchmarks) for name, table in records.tables.items()]
    rank = Rank[config.holdout_rank.upper()]
    splits = SplitRule(config.seed, config.val, config.stratify, config.holdout, rank, config.holdout_clade)
    rule = SelectionRule(config.copy_bits, splits)
    found = select(pa.concat_tables([it for it, _ in joined]), records.species, rule)
    return Selection(found.pictures, found.split, pa.concat_tables([found.rejects, *(it for _, it in joined)]))


def _told(rejects: pa.Table) -> str:
    """How many pictures were left out, by reason."""
    counts = rejects["reason"].value_counts().to_pylist()
    return reasons({row["values"]: row["counts"] for row in counts}) or "none left out"
