"""`trygon label`: a camera-trap archive to detections, names, events, exports and a page with pictures."""

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trygon_jobs.label_config import OF_THE_RUN, LabelConfig

if TYPE_CHECKING:
    from typing import Any

    import pyarrow as pa

    from trygon.archive.deployments import Deployments
    from trygon.archive.listing import Archive, Listing
    from trygon.archive.parts import Parts
    from trygon.archive.planning import Digest, Plan
    from trygon.archive.results import Results
    from trygon.archive.run import Run
    from trygon.archive.sessions import Session
    from trygon.archive.work import Work
    from trygon.labelling.choice import Choice
    from trygon.lease import Hold

_COMPARING = (
    "note: files were written to or copied since they were done: they are read to see whether they are still the same"
)

_TRIED = 64
"""Files that S3 is asked for before a run: the keys are the reason where it refuses most and gives none."""


def main(config: Annotated[LabelConfig, Parameter(name="*")]) -> None:
    """Label a camera-trap archive: detections, names at the rank that can be trusted, events, exports, a page."""
    from trygon.disk import only_writer, writing_to
    from trygon.storage import digest_texts

    if config.from_run:
        config, done = _relabel(config)
    else:
        work, choice = _prepare(config)
        deployments = _deployments(config, work)
        with writing_to(config.out), only_writer(config.out) as hold:
            listing = _list(config, work, deployments, hold)
            last = _label_missing(config, work, listing, hold)
            media, num_removed = _media(config.out, listing, deployments.table(), hold)
            about = {
                **{"num_ignored": listing.num_ignored, "num_moved": listing.num_moved, "num_removed": num_removed},
                "archive": config.archive,
                "model": config.model,
                "encoder": work.encoder.name,
                "detector": _detector_name(config, work),
            }
            # Files that were done again are listed as before: the last part tells of them.
            state = digest_texts([listing.digest, repr(deployments.known), str(last)])
            done = _finish(config, choice, media, state, about, hold)
    _tell(config.out, done)


def _relabel(config: LabelConfig) -> tuple[LabelConfig, bool]:
    """Name the vectors of a finished run; the config with what it takes over from there."""
    from trygon.archive.deployments import deployments_of
    from trygon.archive.parts import Parts, write_table
    from trygon.archive.relabelling import blaming_source, carry_over, require_all, require_labels, require_thresholds
    from trygon.archive.run import Run
    from trygon.disk import only_writer, writing_to
    from trygon.errors import UserError
    from trygon.labelling.bank import LabelBank
    from trygon.labelling.choice import choose
    from trygon.storage import digest_texts, is_same, join, write_json
    from trygon_jobs.label_examples import require_examples

    if is_same(config.out, config.from_run):
        raise UserError(f"--out {config.out} is the run itself: give the command that made it, or another --out")
    run = Run.open(config.from_run)
    taken = {name: run.config[name] for name in OF_THE_RUN if name not in config.model_fields_set}
    deployments, given = taken.get("deployments"), config.deployments
    taken |= {"deployments": Path(deployments)} if deployments else {}
    config = config.model_copy(update=taken)
    run.zone(config.time_zone)
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
        parts.settle()
        write_json(join(config.out, "config.json"), config.kept().model_dump(mode="json"))
        known = deployments_of(config.from_run, given, config.time_zone)  # that run has its own table in it
        write_table(join(config.out, "deployments.parquet"), known)
        kept = ("num_ignored", "num_removed", "archive", "model", "encoder", "detector")
        about = {name: run.summary[name] for name in kept} | {"num_moved": run.summary.get("num_moved", 0)}
        # Files that were done again are the same ones: the stamp of that run tells of them.
        ids = map(str, run.media["media_id"].to_pylist())
        state = digest_texts([*ids, str(known.to_pylist()), run.summary.get("stamp", "")])
        return config, _finish(config, choice, run.media, state, about, hold)


def _prepare(config: LabelConfig) -> "tuple[Work, Choice]":
    """All that can be wrong with the command, before anything is started or written."""
    from trygon.archive.listing import Archive
    from trygon.archive.reading import Reading
    from trygon.archive.video import Sampling
    from trygon.archive.work import Work
    from trygon.errors import UserError
    from trygon.labelling.bank import LabelBank
    from trygon.labelling.choice import choose
    from trygon.models.encoders import find_encoder
    from trygon.models.folder import absolute_ref, describe
    from trygon.storage import is_same
    from trygon_jobs.label_examples import require_examples

    archive = Archive.of(config.archive, config.images, config.out)
    archive.require()
    if is_same(config.out, archive.root):
        raise UserError(f"--out {config.out} is the archive itself: give a folder of its own for the run")
    bank = LabelBank.load(config.labels, verify=True)
    model = describe(absolute_ref(config.model))
    bank.require_model(model)
    encoder = find_encoder(config.encoder, model)
    reading = Reading(config.file_timeout, config.label_truncated, Sampling(config.video_fps, config.video_frames))
    choice = choose(bank, config.clades(), config.names, config.checklist)
    require_examples(config)
    return Work(archive, encoder, config.detector_file(), reading), choice


def _deployments(config: LabelConfig, work: "Work") -> "Deployments":
    """What a list and the table say of them, and how files get theirs."""
    from trygon.archive.deployments import Deployments, read_deployments

    given = read_deployments(config.deployments, config.time_zone) if config.deployments else ()
    return Deployments((*work.archive.deployments(config.time_zone), *given), config.deployment_pattern)


def _list(config: LabelConfig, work: "Work", deployments: "Deployments", hold: "Hold") -> "Listing":
    """Bind the run folder to what makes its vectors, and list the archive into it."""
    from trygon.archive.listing import write_listing
    from trygon.archive.parts import Parts
    from trygon.archive.sessions import bind
    from trygon.errors import UserError
    from trygon.storage import join, write_json

    model = work.encoder.tower
    makers = {"model": model.digest or model.ref, "encoder": work.encoder.identity}
    makers |= {"detector or box threshold": _digest(config, work), "choice of frames": str(work.reading)}
    bind(config.out, makers, lambda: _thresholds(config, work))
    listing = write_listing(work.archive, config.out, hold, config.out, deployments, config.time_zone)
    for note in listing.notes:
        print(f"note: {note}", file=sys.stderr)
    if not listing.num_files and Parts(config.out).numbers():
        raise UserError(f"there is no frame in {config.archive} any more: bring its disk back, or give another --out")
    write_json(join(config.out, "config.json"), config.kept().model_dump(mode="json"))
    return listing


def _label_missing(config: LabelConfig, work: "Work", listing: "Listing", hold: "Hold") -> int:
    """Detect and embed the frames that no committed part holds as they are now; the number of the last part."""
    from trygon.archive.parts import Parts
    from trygon.archive.planning import plan_missing, some_files
    from trygon.archive.reading import require_rights
    from trygon.archive.sessions import record
    from trygon.schemas import PASSING
    from trygon_jobs.estimate import estimate

    parts = Parts(config.out, hold)
    if broken := parts.clean():
        print(f"note: {broken} parts of {config.out} are damaged: their files are done again", file=sys.stderr)
    again = PASSING if config.retry_failed else ()
    plan = plan_missing(parts, listing, config.part_size, _comparing(work.archive), again)
    if plan.sizes:
        if not plan.first:  # a run that has read something tells of each file
            require_rights(work.archive, some_files(plan, _TRIED))
        estimate(config.out, config.price_per_hour, listing.num_files, plan.num_files, plan.num_bytes)
        with record(config.out, hold) as session:
            _run_plan(config, work, _results(config, work, listing), parts, plan, listing.num_files, session)
            hold.check()
    return plan.first + len(plan.sizes)


def _comparing(archive: "Archive") -> "Digest":
    """Reads what is to be compared with what it was, and says once that this takes its time."""
    from trygon.archive.reading import digest_now

    turn = itertools.count()

    def digest(path: str, member: str | None) -> str | None:
        if next(turn) == 0:  # one thread has it
            print(_COMPARING, file=sys.stderr)
        return digest_now(archive, path, member)

    return digest


def _detector_name(config: LabelConfig, work: "Work") -> str | None:
    from trygon.storage import name_of

    if config.detections:
        return name_of(config.detections)
    return work.detector.card.name if work.detector else None


def _digest(config: LabelConfig, work: "Work") -> str:
    from trygon.storage import digest_file

    if config.detections:
        return f"{digest_file(config.detections)}:{config.thresholds()}"
    return work.detector.digest if work.detector else "none"


def _thresholds(config: LabelConfig, work: "Work") -> dict[str, float]:
    """The least confidence of the boxes that are kept, by category."""
    from trygon.archive.results import read_thresholds

    if config.detections:
        return read_thresholds(config.detections, thresholds=config.thresholds())
    return work.detector.card.least() if work.detector else {}


def _results(config: LabelConfig, work: "Work", listing: "Listing") -> "Results | None":
    from trygon.archive.results import read_results

    if not config.detections:
        return None
    paths = (path for batch in listing.batches() for path in batch["path"].to_pylist())
    return read_results(config.detections, work.archive.root, paths, config.thresholds())


def _run_plan(
    config: LabelConfig,
    work: "Work",
    results: "Results | None",
    parts: "Parts",
    plan: "Plan",
    total: int,
    session: "Session",
) -> None:
    from trygon.archive.parts import PartWriter
    from trygon.archive.sessions import cost_per_million
    from trygon.cluster.local import start_ray
    from trygon_jobs.estimate import FirstParts
    from trygon_jobs.progress import counting

    def note(speed: float) -> str:
        cost = f", {cost_per_million(config.price_per_hour, speed):,.2f} a million" if config.price_per_hour else ""
        return f", {session.num_bytes / 1e9:.1f} GB read{cost}"

    writer = PartWriter(parts, plan.first, plan.sizes)
    first = FirstParts(session, plan.num_files, config.price_per_hour)
    with counting("label", total=total, done=total - plan.num_files, unit="images", note=note) as advance:
        is_ours = start_ray()
        # Only now: Ray Data reads the settings of its log when it is imported.
        import ray

        from trygon.archive.pipeline import label_frames

        for number, row in label_frames(work, plan, config.num_workers, results, config.use_gpu):
            committed = writer.add(number, row)
            session.add(row["bytes"] or 0, writer.num_waiting)
            advance(1)
            if committed:
                first.add()
    assert not writer.num_open, "the pipeline returned every frame"
    if is_ours:
        ray.shutdown()  # its idle workers hold more memory than all that follows takes


def _finish(
    config: LabelConfig, choice: "Choice", media: "pa.Table", state: str, about: "dict[str, Any]", hold: "Hold"
) -> bool:
    """Classify and write everything that follows from the parts; False where it stands already. `state` is another
    one when the files are."""
    from trygon.archive.labelling import Naming, finish
    from trygon.archive.run import SUMMARY, Run
    from trygon.archive.sessions import figures
    from trygon.labelling.classification import Classifier
    from trygon.labelling.examples import digest
    from trygon.labelling.lists import report
    from trygon.storage import exists, join, read_json, remove_file, settle, write_json, write_text
    from trygon_jobs.label_examples import join_examples, read_examples

    prototypes = None
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
    run = finish(
        config.out, media, Naming(classifier, config.event_gap, config.repeats, config.thresholds()), about, hold
    )
    _export(config, run, hold)
    hold.check()
    settle(config.out)  # the summary says that all of it stands
    write_json(summary, run.summary | {"stamp": stamp}, lasting=True)
    return True


def _stamp(config: LabelConfig, choice: "Choice", learned: str, state: str) -> str:
    """Of all that the tables follow from: as long as it is the same, they stand."""
    from trygon.archive.reviews import FOLDER as REVIEWS
    from trygon.storage import digest_texts, join, list_folder, read_bytes

    bank = choice.bank
    return digest_texts(
        [
            config.kept().model_dump_json(),
            choice.digest,
            *(file.name + read_bytes(file.place).hex() for file in list_folder(join(config.out, REVIEWS))),
            *(bank.model, bank.model_digest, str(bank.text_type), repr(bank.logit_scale)),
            learned,
            state,
        ]
    )


def _export(config: LabelConfig, run: "Run", hold: "Hold") -> None:
    """What other tools and people read."""
    from trygon.archive.exports import EXPORTS, ExportOptions
    from trygon.archive.listing import Archive
    from trygon.archive.parts import read_table
    from trygon.archive.report import write_report
    from trygon.mirror import made_here
    from trygon.storage import join

    title = Path(config.archive.split("?")[0]).name or "Camera-trap archive"
    options = ExportOptions.of(read_table(join(config.out, "deployments.parquet")), config.time_zone, title)
    with made_here(config.out, "observations.csv", hold) as folder:
        EXPORTS["csv"](run, folder, options)
    with made_here(join(config.out, "export", "camtrap-dp"), "datapackage.json", hold) as folder:
        for note in EXPORTS["camtrap-dp"](run, folder, options):
            print(f"note: {note}", file=sys.stderr)
    with made_here(join(config.out, "report"), "index.html", hold) as folder:
        write_report(run, Archive.of(config.archive, config.images, config.out), folder, options.places, options.spans)


def _media(out: str, listing: "Listing", deployments: "pa.Table", hold: "Hold") -> "tuple[pa.Table, int]":
    """MEDIA of the listed files, and how many the archive has lost; writes these, and what is known of deployments."""
    from datetime import datetime

    from trygon.archive.clocks import check_clocks
    from trygon.archive.parts import Parts, write_table
    from trygon.archive.presence import sort_media
    from trygon.storage import join

    parts = Parts(out, hold)
    parts.settle()
    media, removed = sort_media(parts, listing)
    for name, table in (("removed", removed), ("deployments", deployments)):
        hold.check()
        write_table(join(out, f"{name}.parquet"), table)
    return check_clocks(media, deployments, datetime.now()), removed.num_rows


def _tell(out: str, done: bool) -> None:
    """What is there now, read back from the files."""
    from trygon.archive.run import Run
    from trygon.schemas import PASSING
    from trygon.storage import join

    summary = Run.open(out).summary
    found = summary["num_observations"]
    print(
        f"{summary['num_files']} images of {summary['num_deployments']} cameras: {summary['num_with_animals']} with "
        f"animals, {summary['num_blank']} blank, {summary['num_failed']} could not be read"
        + (f"; {summary['num_removed']} are no longer there" if summary["num_removed"] else "")
        + (f"; {summary['num_wrong_clock']} from a clock that is wrong" if summary["num_wrong_clock"] else "")
        + ("" if done else " (all of it stood here already)")
    )
    print(
        f"{found.get('animal', 0)} animals of {summary['num_taxa']} taxa in {summary['num_events']} events"
        + (f"; {summary['images_per_s']:.1f} images/s" if summary.get("images_per_s") else "")
        + (f"; a million cost {summary['cost_per_million']:,.2f}" if "cost_per_million" in summary else "")
    )
    if summary.get("num_redone"):
        again = summary["num_redone"]
        share = 100 * again / max(1, summary["num_files"])
        print(f"{again} images were done twice, as a session ended before they were committed ({share:.1f} %)")
    if repeated := summary.get("num_set_aside", {}).get("repeated"):
        print(f"{repeated} boxes, the same in frame after frame, are set aside: repeats.csv, or `trygon review {out}`")
    passing = {reason: num for reason, num in summary["failures"].items() if reason in PASSING}
    if passing:
        reasons = ", ".join(f"{reason} {num}" for reason, num in passing.items())
        print(f"--retry-failed tries {sum(passing.values())} files again that could not be read ({reasons})")
    print(f"look at {join(out, 'report', 'index.html')}; Camtrap DP in {join(out, 'export', 'camtrap-dp')}")
