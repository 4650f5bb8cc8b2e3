"""`trygon label ARCHIVE`: what the command means, the listed archive, and the frames as the run's tables have them."""

import sys
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from trygon.archive.detection import megadetector
from trygon.archive.detection.detector import WHOLE_FRAMES, BoxSource, DetectorFile
from trygon.archive.detection.results import ResultFile
from trygon.archive.inputs.deployments import Deployments, read_deployments
from trygon.archive.inputs.listing import Archive, Listing, write_listing
from trygon.archive.media.clocks import check_clocks
from trygon.archive.media.reading import Reading
from trygon.archive.media.video import Sampling
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.presence import sort_media
from trygon.archive.run_folder.sessions import bind
from trygon.archive.work import Work
from trygon.cache import sample_folder
from trygon.disk import only_writer, writing_to
from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.choice import Choice, choose
from trygon.lease import Hold
from trygon.models.encoders import find_encoder
from trygon.models.folder import absolute_ref, describe, model_key
from trygon.storage import digest_texts, exists, is_remote, is_same, join, write_json
from trygon.tables import write_table
from trygon.wording import first_of
from trygon_jobs.label import LabelConfig
from trygon_jobs.label_examples import require_examples
from trygon_jobs.label_missing import label_missing
from trygon_jobs.label_summary import tell
from trygon_jobs.label_tables import write_tables

_MOST_OFFSETS = 3


def label(config: LabelConfig) -> None:
    """Label an archive; what stands in the run folder already is not done again."""
    work, choice = _prepare(config)
    given = read_deployments(config.deployments, config.time_zone)
    deployments = Deployments((*work.archive.deployments(config.time_zone), *given), config.deployment_pattern)
    with writing_to(config.out), only_writer(config.out) as hold:
        listing = _list(config, work, deployments, hold)
        last = label_missing(config, work, listing, hold)
        media, num_removed = _media(config.out, listing, deployments.table(), hold)
        about = {
            **{"num_ignored": listing.num_ignored, "num_moved": listing.num_moved, "num_removed": num_removed},
            "archive": config.archive,
            "model": config.model,
            "encoder": work.encoder.name,
            "detector": work.boxes.name,
        }
        done = write_tables(config, choice, media, state_of(listing, deployments, last, media), about, hold)
    tell(config.out, done)


def _prepare(config: LabelConfig) -> tuple[Work, Choice]:
    """All that can be wrong with the command, before anything is started or written."""
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
    work = Work(archive, encoder, boxes_of(config), reading)
    if config.use_gpu and not work.on_gpu:
        raise UserError("--use-gpu: this encoder runs on CPUs alone; give --encoder torch, or leave --use-gpu out")
    return work, choice


def boxes_of(config: LabelConfig) -> BoxSource:
    """Where the boxes come from. `UserError` where that is missing."""
    choice = config.detector
    if config.detections and choice not in (None, "none"):
        raise UserError("--detections has the boxes: leave --detector out")
    if config.detections and not exists(config.detections):
        raise UserError(f"--detections {config.detections}: no such file")
    if config.detections:
        return ResultFile(config.detections, config.thresholds())
    if choice == "none":
        return WHOLE_FRAMES
    if choice and is_remote(choice):
        raise UserError(
            f"--detector {choice}: a detector is a folder that all workers see: copy it, or mount the storage"
        )
    path = Path(choice).absolute() if choice else sample_folder() / "detector"
    # Weights are a pickle: only a file that was named is read, never one that lies in a folder.
    is_named = megadetector.is_weights(path) and path.is_file()
    file = megadetector.find(path) if is_named else DetectorFile.find(path)
    return file.with_thresholds(config.thresholds())


def _list(config: LabelConfig, work: Work, deployments: Deployments, hold: Hold) -> Listing:
    """Bind the run folder to what makes its vectors, and list the archive into it."""
    makers = {"model": model_key(work.encoder.tower), "encoder": work.encoder.identity}
    makers |= {"detector or box threshold": work.boxes.digest, "choice of frames": str(work.reading)}
    bind(config.out, makers, work.boxes.least)
    listing = write_listing(work.archive, config.out, hold, config.out, deployments, config.time_zone)
    if not listing.num_files:
        raise UserError(_emptiness(config, work, listing))
    for note in (*listing.notes, *_zone_notes(config, listing)):
        print(f"note: {note}", file=sys.stderr)
    write_json(join(config.out, "config.json"), config.kept().model_dump(mode="json"))
    return listing


def state_of(listing: Listing, deployments: Deployments, last: int | None, media: pa.Table) -> str:
    """Another one when the tables would say other things of the files than before.

    Files that were done again are listed as before: the `last` part tells of them. A clock that was ahead of this
    machine's is right when that one was set right.
    """
    clocks = digest_texts(media["clock"].fill_null("").to_pylist())
    return digest_texts([listing.digest, repr(deployments.known), str(last), clocks])


def _emptiness(config: LabelConfig, work: Work, listing: Listing) -> str:
    """What to say of an archive without a frame."""
    if Parts(config.out).numbers():
        return f"there is no frame in {config.archive} any more: bring its disk back, or give another --out"
    if work.archive.list_kind:
        return f"{config.archive} names no picture or video: give a list that has their names with their extensions"
    others = f"only {listing.num_ignored:,} other files" if listing.num_ignored else "nor any other file"
    return f"there is no picture or video in {config.archive}, {others}: give the folder that holds the cameras' files"


def _zone_notes(config: LabelConfig, listing: Listing) -> list[str]:
    """What to say where nobody named the zone into which times of a list were moved."""
    others = [it for it in listing.offsets if it != config.time_zone]
    if not others or "time_zone" in config.model_fields_set:
        return []
    return [
        f"times of the list have offsets ({first_of(others, _MOST_OFFSETS)}) and were moved to UTC, as no --time-zone "
        f"was given: give it, such as --time-zone {others[0]}, which reads no picture again"
    ]


def _media(out: str, listing: Listing, deployments: pa.Table, hold: Hold) -> tuple[pa.Table, int]:
    """MEDIA of the listed files, and how many the archive has lost; writes these, and what is known of deployments."""
    parts = Parts(out, hold)
    parts.drop_superseded()
    media, removed = sort_media(parts, listing)
    for name, table in (("removed", removed), ("deployments", deployments)):
        hold.check()
        write_table(join(out, f"{name}.parquet"), table)
    return check_clocks(media, deployments, datetime.now()), removed.num_rows
