"""Sources of labelled pictures to shards of samples: cleaned, without copies, split and mixed."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import Field, model_validator

from trygon.data.render import Rendering, Resize
from trygon.errors import TrygonError, UserError
from trygon.storage import absolute, join
from trygon.taxonomy.taxon import RANKS, Rank
from trygon_jobs.config import JobConfig, Place

if TYPE_CHECKING:
    import pyarrow as pa

    from trygon.data.curation import Job, Output, Shard
    from trygon.data.parts import Part
    from trygon.data.selection import Selection
    from trygon.data.sources.source import Source
    from trygon.lease import Hold
    from trygon.taxonomy.resolution import Backbone

WORK = ".work"
"""Where pictures wait between the stages, in the output folder; gone when the shards are complete."""


class CurateConfig(JobConfig):
    """What is curated, and how."""

    out: Place
    """The folder for the shards."""

    source: tuple[str, ...] = ()
    """Where pictures and their names come from, as KIND:PLACE (inat21, bioscan, eol, treeoflife, webdataset,
    rarespecies, list), or a folder of photos with a labels.csv; may be given several times. Of copies, the source that
    comes first keeps the picture. Without it, the sample photos that `trygon sample` brings."""

    exclude: tuple[str, ...] = ()
    """A benchmark to keep out, as a source or as a table of taxa: all its species, and copies of its pictures."""

    backbone: Place | None = None
    """A checklist that names are matched to: a Darwin Core archive, EOL's or iNaturalist's taxonomy, or a table.
    What is not found in it keeps its own name."""

    webdataset: bool = False
    """Write the shards in BioCLIP's WebDataset form too."""

    side: int = Field(default=256, ge=32)
    """Pixels of a sample's shorter side; of both with `squash`."""

    resize: Resize = Resize.KEEP
    """`keep` the aspect, smaller pictures as they are; or `squash` to a square, as BioCLIP's shards were made."""

    quality: int = Field(default=90, ge=1, le=95)
    """Of the samples' JPEGs."""

    min_side: int = Field(default=32, ge=1)
    """Pictures with a shorter side below this are left out."""

    copy_bits: int = Field(default=10, ge=-1, le=16)
    """Pictures whose perceptual fingerprints differ in at most this many of 256 bits are copies; -1: only exact."""

    val: float = Field(default=0.05, ge=0, lt=1)
    """Share of the pictures for validation."""

    stratify: bool = False
    """Take that share from each species, and at least one picture of every species that has two."""

    holdout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the clades that training never sees; each is chosen by a hash of its lineage and the seed."""

    holdout_rank: Literal[RANKS] = "species"  # pyright: ignore[reportInvalidTypeForm]
    """The rank of these clades."""

    holdout_clade: tuple[str, ...] = ()
    """A clade that training never sees, by its name; may be given several times."""

    subset: int = Field(default=0, ge=0)
    """Write this many of the training pictures once more, as the split `train_small`: 1,000,000 for TreeOfLife-1M."""

    views: int = Field(default=1, ge=1)
    """Above 1: so many random views of each training picture, for a few hundred photos. Cut-outs are pasted."""

    backgrounds: Place | None = None
    """A folder of pictures without organisms that cut-outs are pasted on; without it, the sample's."""

    shard_rows: int = Field(default=2048, ge=1)
    """Most samples in one shard."""

    seed: int = 0
    """Of the splits and the views."""

    @model_validator(mode="after")
    def _views_are_squares(self) -> "CurateConfig":
        if self.views > 1 and self.resize is not Resize.KEEP:
            raise ValueError("views above 1 are squares already: leave out resize")
        if self.views == 1 and self.backgrounds:
            raise ValueError("backgrounds are for cut-outs in many views: give views above 1")
        return self


def main(config: Annotated[CurateConfig, Parameter(name="*")]) -> None:
    """Make shards of labelled pictures; run again it continues or does nothing."""
    from trygon.disk import only_writer, writing_to

    sources, benchmarks, tables = _inputs(config)
    config = config.model_copy(update={"out": absolute(config.out)})
    with writing_to(config.out), only_writer(config.out) as hold:
        summary = _curate(config, sources, benchmarks, tables, hold)
    if summary is None:
        print(f"shards: {config.out} (were complete)")
        return
    told = ", ".join(f"{number} {split}" for split, number in summary["samples"].items())
    left_out = ", ".join(f"{number} {reason}" for reason, number in summary["rejects"].items())
    print(f"shards: {config.out} ({told} samples)" + (f"\nleft out: {left_out}" if left_out else ""))


def _inputs(config: CurateConfig) -> "tuple[list[Source], list[Source], list[pa.Table]]":
    """The sources, those of the benchmarks, and the tables of taxa to exclude."""
    from trygon.cache import sample_folder
    from trygon.data.sources.catalog import has_kind, open_sources
    from trygon.storage import require_folder
    from trygon.taxonomy.tables import read_taxa

    if not config.source:
        hint = "Run `trygon sample`, or give --source."
        require_folder(sample_folder() / "photos", "the sample photos' folder", hint)
    texts = config.source or (str(sample_folder() / "photos"),)
    tables = [text for text in config.exclude if text.endswith((".csv", ".tsv", ".parquet")) and not has_kind(text)]
    found = open_sources([*texts, *(text for text in config.exclude if text not in tables)])
    sources, benchmarks = found[: len(texts)], found[len(texts) :]
    return sources, benchmarks, [read_taxa(text) for text in tables]


def _curate(
    config: CurateConfig,
    sources: "list[Source]",
    benchmarks: "list[Source]",
    tables: "list[pa.Table]",
    hold: "Hold",
) -> dict[str, Any] | None:
    """Make what is missing in the output folder; the summary, None where it was complete."""
    from trygon.cluster.local import start_ray
    from trygon.data.curation import Output, cut_shards, plan_samples, write_plan, write_shards
    from trygon.storage import remove_tree
    from trygon.taxonomy.resolution import Backbone
    from trygon_jobs.progress import counting

    backbone = Backbone.load(config.backbone) if config.backbone else None
    own = {source.name: source.records() for source in (*benchmarks, *sources)}
    records = {name: _cleaned(table, backbone) for name, table in own.items()}
    species = _species_of([*tables, *(own[source.name] for source in benchmarks)], backbone)
    jobs = _jobs(config, [*benchmarks, *sources], sum(table.num_rows for table in own.values()))
    work = join(config.out, WORK)
    if not _claim(config, records, jobs, species):
        remove_tree(work)
        return None
    _check_clades(config, records)
    start_ray(os.cpu_count())  # decoding keeps a CPU busy: more workers than CPUs only cost memory
    parts, renders = _render(jobs, sum(table.num_rows for table in own.values()), hold)
    selection = _select(config, renders, records, {source.name for source in benchmarks}, species)
    samples = plan_samples(renders, selection, config.views, config.subset, config.seed)
    counts = {row["values"]: row["counts"] for row in samples["split"].value_counts().to_pylist()}
    if "train" not in counts:
        raise UserError(f"no picture is left for training: {_told(selection.rejects)} (or lower --holdout)")
    shards = cut_shards(counts, config.shard_rows)
    plan = join(work, "plan.parquet")
    hold.check()
    write_plan(plan, samples, shards)
    output = Output(config.out, plan, tuple(parts), config.webdataset)
    with counting("write shards", samples.num_rows, unit="samples") as advance:
        for number in write_shards(output, shards):
            hold.check()
            advance(number)
    _check_absence(output, shards, species)
    summary = _finish(output, config.model_dump(mode="json"), samples, selection.rejects, _bad_lines(own))
    hold.check()
    remove_tree(work)
    return summary


def _species_of(tables: "list[pa.Table]", backbone: "Backbone | None") -> set[tuple[str, str]]:
    """The (genus, epithet) of all species, by their own names and by the backbone's."""
    from trygon.data.selection import binomials

    taxonomies = [None, backbone] if backbone else [None]
    both = [_cleaned(table, taxonomy) for table in tables for taxonomy in taxonomies]
    return set().union(*map(binomials, both))


def _check_clades(config: CurateConfig, records: "dict[str, pa.Table]") -> None:
    """`UserError` for a clade to hold out that no source names, before hours are spent on pictures."""
    from trygon.data.splits import of_clade

    for name in config.holdout_clade:
        if not any(of_clade(table, name).any() for table in records.values()):
            raise UserError(f"--holdout-clade {name}: no source names such a clade; see its spelling")


def _bad_lines(records: "dict[str, pa.Table]") -> dict[str, int]:
    """Lines of each source's tables that say nothing: broken ones, and those of an id that was there before."""
    from trygon.data.sources.tables import num_bad_lines

    counts = {
        name: num_bad_lines(table) + table.num_rows - len(table["source_id"].unique())
        for name, table in records.items()
    }
    return {name: number for name, number in counts.items() if number}


def _cleaned(records: "pa.Table", backbone: "Backbone | None") -> "pa.Table":
    """Records or taxa with clean names, matched to the backbone where there is one."""
    import pyarrow as pa

    from trygon.taxonomy.names import clean_lineages

    records = clean_lineages(records)
    if backbone:
        return backbone.resolve(records)
    return records.append_column("resolution", pa.repeat("", records.num_rows))


def _jobs(config: CurateConfig, sources: "Sequence[Source]", total: int) -> "list[Job]":
    from trygon.data.curation import part_rows, render_jobs

    rendering = Rendering(
        config.side, config.resize, config.quality, config.min_side, config.views, _backgrounds(config), config.seed
    )
    return render_jobs(sources, rendering, join(config.out, WORK, "parts"), part_rows(total))


def _claim(
    config: CurateConfig, records: "dict[str, pa.Table]", jobs: "Sequence[Job]", species: set[tuple[str, str]]
) -> bool:
    """Take the output folder for this config, these records and these files; False where it is finished."""
    from trygon.storage import digest_texts, exists, list_files, read_json, write_json

    rendered = config.model_dump(mode="json", include={*Rendering.__dataclass_fields__, "source", "exclude"})
    rendered |= {
        "files": digest_texts(text for job in jobs for text in (job.unit.uri, *job.unit.members)),
        "part_rows": max((job.rows for job in jobs), default=0),
    }
    identity = (
        config.model_dump(mode="json", exclude={"out"})
        | rendered
        | {
            "records": {name: _digest(table) for name, table in records.items()},
            "benchmark_species": digest_texts(" ".join(pair) for pair in sorted(species)),
        }
    )
    plan = join(config.out, "plan.json")
    finished = exists(join(config.out, "summary.json"))
    if exists(plan):
        previous = read_json(plan)
        # Before there are shards, only what pictures are made of must be the same.
        begun = finished or list_files(config.out, ".parquet") or list_files(config.out, ".tar")
        changed = [key for key in (identity if begun else rendered) if previous.get(key) != identity[key]]
        if changed:
            what = (
                changed[0]
                if changed[0] in _DIGESTS
                else (f"{changed[0]}: {previous.get(changed[0])}, now {identity[changed[0]]}")
            )
            raise UserError(f"{config.out} holds another curation ({what}): give another folder, or remove it")
    write_json(plan, identity)
    write_json(join(config.out, "config.json"), config.model_dump(mode="json"))
    return not finished


_DIGESTS = {"files", "part_rows", "records", "benchmark_species"}
"""What no user wrote down: that it changed is all there is to say."""


def _digest(table: "pa.Table") -> str:
    """SHA-256 of a table's content."""
    import hashlib

    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _render(jobs: "Sequence[Job]", total: int, hold: "Hold") -> "tuple[list[Part], pa.Table]":
    """Render all pictures; their parts, and what is in them, with the source's name beside it."""
    import pyarrow as pa

    from trygon.data.curation import list_parts, read_renders, run_jobs
    from trygon_jobs.progress import counting

    with counting("render pictures", total, unit="pictures") as advance:
        for number in run_jobs(jobs):
            hold.check()
            advance(number)
    parts: list[Part] = []
    tables = []
    for name, own in list_parts(jobs).items():
        table = read_renders(own, len(parts))
        tables.append(table.append_column("source", pa.repeat(name, table.num_rows)))
        parts += own
    return parts, pa.concat_tables(tables)


def _backgrounds(config: CurateConfig) -> str:
    from trygon.cache import sample_folder

    if config.backgrounds is None:
        found = sample_folder() / "backgrounds"
        return str(found) if config.views > 1 and found.is_dir() else ""
    return absolute(config.backgrounds)


def _select(
    config: CurateConfig,
    renders: "pa.Table",
    records: "dict[str, pa.Table]",
    benchmarks: set[str],
    species: set[tuple[str, str]],
) -> "Selection":
    import pyarrow as pa

    from trygon.data.selection import Selection, SelectionRule, join_records, select
    from trygon.data.splits import SplitRule

    joined = [join_records(renders, table, name, name in benchmarks) for name, table in records.items()]
    rank = Rank[config.holdout_rank.upper()]
    splits = SplitRule(config.seed, config.val, config.stratify, config.holdout, rank, config.holdout_clade)
    found = select(pa.concat_tables([it for it, _ in joined]), species, SelectionRule(config.copy_bits, splits))
    return Selection(found.pictures, found.split, pa.concat_tables([found.rejects, *(it for _, it in joined)]))


def _check_absence(output: "Output", shards: "Sequence[Shard]", species: set[tuple[str, str]]) -> None:
    """Read back what was written: no sample shows a species of the benchmark."""
    from trygon.data.selection import shows_species
    from trygon.data.shards import open_shard

    for shard in shards if species else ():
        place = output.places(shard)["parquet"]
        with open_shard(place) as samples:
            shown = shows_species(samples.read(columns=["genus", "species"]), species)
        if shown.any():
            raise TrygonError(f"{place} holds {shown.sum()} samples of the benchmark's species: do not train on it")


def _finish(
    output: "Output", config: dict[str, Any], samples: "pa.Table", rejects: "pa.Table", bad_lines: dict[str, int]
) -> dict[str, Any]:
    """Write what describes the shards; `summary.json` last, for it makes them complete. Returns it."""
    from trygon.data.card import count_samples, summarise, write_card
    from trygon.data.curation import read_shown
    from trygon.data.shards import COUNTS, write_rows
    from trygon.storage import write_json
    from trygon.taxonomy.tree import TaxonTree

    counts = count_samples(samples)
    write_rows(join(output.folder, "rejects.parquet"), rejects)
    write_rows(join(output.folder, COUNTS), counts)
    TaxonTree.from_table(counts).save(join(output.folder, "taxa.parquet"))
    summary = summarise(samples, rejects) | {"bad_lines": bad_lines}
    write_card(output.folder, config, summary, counts, read_shown(output, samples))
    write_json(join(output.folder, "summary.json"), summary)
    return summary


def _told(rejects: "pa.Table") -> str:
    """How many pictures were left out, by reason."""
    counts = rejects["reason"].value_counts().to_pylist()
    return ", ".join(f"{row['counts']} {row['values']}" for row in counts) or "the sources hold none"
