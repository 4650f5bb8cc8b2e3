"""What follows from the parts of a run: its names, tables, exports and page; also for the parts of another run."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from trygon.archive.exports import EXPORTS, ExportOptions
from trygon.archive.inputs.deployments import Deployments, deployments_of, read_deployments
from trygon.archive.inputs.listing import Archive
from trygon.archive.media.clocks import check_clocks
from trygon.archive.report.pages import write_report
from trygon.archive.run_folder.labelling import Naming, finish
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.relabelling import (
    blaming_source,
    carry_over,
    require_all,
    require_labels,
    require_thresholds,
)
from trygon.archive.run_folder.reviews import FOLDER as REVIEWS
from trygon.archive.run_folder.run import SUMMARY, Run
from trygon.archive.run_folder.sessions import figures
from trygon.archive.run_folder.tables import read_table
from trygon.disk import only_writer, writing_to
from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.choice import Choice, choose
from trygon.labelling.classification import Classifier
from trygon.labelling.examples import digest
from trygon.labelling.lists import report
from trygon.lease import Hold
from trygon.mirror import made_here
from trygon.storage import (
    digest_texts,
    exists,
    is_same,
    join,
    list_folder,
    read_bytes,
    read_json,
    remove_file,
    settle,
    write_json,
    write_text,
)
from trygon.tables import write_table
from trygon.taxonomy.clade_names import namesake_notes
from trygon_jobs.label import OF_THE_RUN, LabelConfig
from trygon_jobs.label_examples import join_examples, read_examples, require_examples
from trygon_jobs.label_summary import tell


def relabel(config: LabelConfig) -> None:
    """Name the vectors of a finished run anew, with what the config takes over from there."""
    if is_same(config.out, config.from_run):
        raise UserError(f"--out {config.out} is the run itself: give the command that made it, or another --out")
    run = Run.open(config.from_run)
    taken = {name: run.config[name] for name in OF_THE_RUN if name not in config.model_fields_set}
    deployments, table = taken.get("deployments"), config.deployments
    taken |= {"deployments": Path(deployments)} if deployments else {}
    config = config.model_copy(update=taken)
    run.zone(config.time_zone)
    given = Deployments(read_deployments(table, config.time_zone))
    bank = LabelBank.load(config.labels, verify=True)
    require_labels(config.from_run, bank)
    require_thresholds(config.from_run, config.thresholds())
    choice = choose(bank, config.clades(), config.names, config.checklist)
    require_examples(config)
    blaming = blaming_source(config.from_run, config.out)
    with writing_to(config.out), only_writer(config.out) as hold, blaming:
        carry_over(config.from_run, config.out, hold)
        parts = Parts(config.out, hold)
        require_all(config.from_run, run.media["media_id"].to_numpy(), parts)
        parts.drop_superseded()
        write_json(join(config.out, "config.json"), config.kept().model_dump(mode="json"))
        known = deployments_of(config.from_run, given.known)  # that run has its own table in it
        write_table(join(config.out, "deployments.parquet"), known)
        media = _media(run, given, known) if given.known else run.media
        kept = ("num_ignored", "num_removed", "archive", "model", "encoder", "detector")
        about = {name: run.summary[name] for name in kept} | {"num_moved": run.summary.get("num_moved", 0)}
        # Files that were done again are the same ones: the stamp of that run tells of them.
        files = (str(value) for name in ("media_id", "deployment", "clock") for value in media[name].to_pylist())
        state = digest_texts([*files, str(known.to_pylist()), run.summary.get("stamp", "")])
        done = write_tables(config, choice, media, state, about, hold)
    tell(config.out, done)


def _media(run: Run, given: Deployments, known: pa.Table) -> pa.Table:
    """MEDIA of a run in the deployments of a table that is given now; `known` is all that is known of these."""
    media = given.moved(run.media)
    for note in given.notes():
        print(f"note: {note}", file=sys.stderr)
    return check_clocks(media, known, datetime.now())


def write_tables(
    config: LabelConfig, choice: Choice, media: pa.Table, state: str, about: dict[str, Any], hold: Hold
) -> bool:
    """Classify and write everything that follows from the parts; False where it stands already. `state` is another
    one when the files are."""
    prototypes = None
    for note in namesake_notes(choice.whole.tree, config.clades()):
        print(f"note: {note}", file=sys.stderr)
    for note in choice.notes:
        print(f"note: {note}; see names.csv and checklist.csv in {config.out}", file=sys.stderr)
    examples = read_examples(config, hold)
    stamp = _stamp(config, choice, digest(examples, config.examples_only), state)
    summary = join(config.out, SUMMARY)
    if exists(summary) and read_json(summary).get("stamp") == stamp and Run(config.out).is_whole():
        return False
    hold.check()
    remove_file(summary)
    for kind, matches in choice.matches.items():
        write_text(join(config.out, f"{kind}.csv"), report(matches))
    if examples is not None:
        choice, prototypes = join_examples(config, choice, examples, hold)
    classifier = Classifier(choice.bank, config.confidence_floor, config.top, choice.allowed_N, prototypes)
    about = about | {"num_label_taxa": len(choice.bank.tree), **figures(config.out, config.price_per_hour)}
    naming = Naming(classifier, config.event_gap, config.repeats, config.thresholds())
    run = finish(config.out, media, naming, about, hold)
    _export(config, run, hold)
    hold.check()
    settle(config.out)  # the summary says that all of it stands
    write_json(summary, run.summary | {"stamp": stamp}, durable=True)
    return True


def _stamp(config: LabelConfig, choice: Choice, learned: str, state: str) -> str:
    """Of all that the tables follow from: as long as it is the same, they stand."""
    bank = choice.bank
    return digest_texts(
        [
            config.kept().model_dump_json(exclude={"use_gpu"}),
            choice.digest,
            *(file.name + read_bytes(file.place).hex() for file in list_folder(join(config.out, REVIEWS))),
            *(bank.model, bank.model_digest, str(bank.text_type), repr(bank.logit_scale)),
            learned,
            state,
        ]
    )


def _export(config: LabelConfig, run: Run, hold: Hold) -> None:
    """What other tools and people read."""
    title = Path(config.archive.split("?")[0]).name or "Camera-trap archive"
    options = ExportOptions.of(read_table(join(config.out, "deployments.parquet")), config.time_zone, title)
    with made_here(config.out, "observations.csv", hold) as folder:
        EXPORTS["csv"](run, folder, options)
    with made_here(join(config.out, "export", "camtrap-dp"), "datapackage.json", hold) as folder:
        for note in EXPORTS["camtrap-dp"](run, folder, options):
            print(f"note: {note}", file=sys.stderr)
    with made_here(join(config.out, "report"), "index.html", hold) as folder:
        write_report(run, Archive.of(config.archive, config.images, config.out), folder, options.places, options.spans)
