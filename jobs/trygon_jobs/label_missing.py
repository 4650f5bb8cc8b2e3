"""`trygon label ARCHIVE`: the frames that no part holds as they are now are detected and embedded."""

import itertools
import sys

from rich.filesize import decimal

from trygon.archive.detection.results import ResultFile, Results
from trygon.archive.inputs.listing import Archive, Listing
from trygon.archive.media.reading import digest_now, require_rights
from trygon.archive.run_folder.parts import Parts, PartWriter
from trygon.archive.run_folder.planning import Digest, Plan, plan_missing, some_files
from trygon.archive.run_folder.sessions import Session, cost_per_million, record
from trygon.archive.work import Work
from trygon.lease import Hold
from trygon.schemas import PASSING
from trygon.storage import absolute
from trygon_jobs.estimate import FirstParts, estimate
from trygon_jobs.label import LabelConfig
from trygon_jobs.progress import counting

_COMPARING = (
    "note: files were written to or copied since they were done: they are read to see whether they are still the same"
)

_TRIED = 64
"""Files that S3 is asked for before a run: the keys are the reason where it refuses most and gives none."""


def label_missing(config: LabelConfig, work: Work, listing: Listing, hold: Hold) -> int:
    """Detect and embed the frames that no committed part holds as they are now; the number of the last part."""
    parts = Parts(absolute(config.out), hold)
    if broken := parts.clean():
        print(f"note: {broken} parts of {config.out} are damaged: their files are done again", file=sys.stderr)
    again = PASSING if config.retry_failed else ()
    plan = plan_missing(parts, listing, config.part_size, _comparing(work.archive), again)
    if plan.sizes:
        if not plan.first:  # a run that has read something tells of each file
            require_rights(work.archive, some_files(plan, _TRIED))
        estimate(config.out, config.price_per_hour, listing.num_files, plan.num_files, plan.num_bytes)
        with record(config.out, hold) as session:
            _run_plan(config, work, _results(work, listing), parts, plan, listing.num_files, session)
            hold.check()
    return plan.first + len(plan.sizes)


def _comparing(archive: Archive) -> Digest:
    """Reads what is to be compared with what it was, and says once that this takes its time."""
    turn = itertools.count()

    def digest(path: str, member: str | None) -> str | None:
        if next(turn) == 0:  # one thread has it
            print(_COMPARING, file=sys.stderr)
        return digest_now(archive, path, member)

    return digest


def _results(work: Work, listing: Listing) -> Results | None:
    if not isinstance(work.boxes, ResultFile):
        return None
    paths = (path for batch in listing.batches() for path in batch["path"].to_pylist())
    return work.boxes.read(work.archive.root, paths)


def _run_plan(
    config: LabelConfig, work: Work, results: Results | None, parts: Parts, plan: Plan, total: int, session: Session
) -> None:
    # Not above: a run in which nothing is left to be done needs no Ray.
    import ray

    from trygon.cluster.local import start_ray

    def note(speed: float) -> str:
        cost = f", {cost_per_million(config.price_per_hour, speed):,.2f} a million" if config.price_per_hour else ""
        return f", {decimal(session.num_bytes)} read{cost}"

    writer = PartWriter(parts, plan.first, plan.sizes)
    first = FirstParts(session, plan.num_files, config.price_per_hour)
    with counting("label", total=total, done=total - plan.num_files, unit="images", note=note) as advance:
        is_ours = start_ray()
        # Only now: Ray Data reads the settings of its log when it is imported.
        from trygon.archive.pipeline import label_frames

        if config.use_gpu and (there := int(ray.cluster_resources().get("GPU", 0))) < config.num_workers:
            told = f"{there} of the {config.num_workers} GPUs that were asked for are there: the others are waited for"
            print(f"note: {told} (--no-use-gpu labels on CPUs)", file=sys.stderr)
        for number, row in label_frames(work, plan, config.num_workers, results, config.use_gpu):
            committed = writer.add(number, row)
            session.add(row["bytes"] or 0, writer.num_waiting)
            advance(1)
            if committed:
                first.add()
    assert not writer.num_open, "the pipeline returned every frame"
    if is_ours:
        ray.shutdown()  # its idle workers hold more memory than all that follows takes
