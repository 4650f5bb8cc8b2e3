"""`trygon label`: a camera-trap archive to detections, names, events, exports and a page with pictures."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from pydantic import Field, model_validator

from trygon_jobs.config import JobConfig, Place

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    import pyarrow as pa

    from trygon.archive.detection import DetectorFile
    from trygon.archive.listing import MediaFile
    from trygon.archive.parts import Part, Parts
    from trygon.archive.results import Results
    from trygon.archive.run import Run
    from trygon.archive.sessions import Session
    from trygon.archive.work import Work
    from trygon.labelling.choice import Choice
    from trygon.lease import Hold


class LabelConfig(JobConfig):
    """One labelling run."""

    archive: str = ""
    """The folder with the cameras' files, or an s3:// prefix; not needed with --from-run."""
    model: str = ""
    """A model folder, on disk or at an s3:// address, or hf-hub:OWNER/NAME; not needed with --from-run."""
    labels: Place = ""
    """A LabelBank made with the same model (trygon build-labels). With --from-run, by default those of that run."""
    out: Place
    """The run folder. Given again, the run goes on; frames added to the archive since are done too."""
    from_run: Annotated[Place, Parameter(name=("--from", "--from-run"))] = ""
    """Name the stored vectors of this finished run anew, into --out: no picture is read and no model loaded."""
    detector: str | None = None
    """An ONNX detector with its detector.json; none takes whole frames. Without it, the one of trygon sample."""
    detections: Place | None = None
    """A result file of MegaDetector or SpeciesNet: its boxes are taken, and no detector runs."""
    animal_threshold: float | None = Field(None, ge=0, le=1)
    """The least confidence of a box of the category animal; without it, what the detector or the file names."""
    person_threshold: float | None = Field(None, ge=0, le=1)
    """The same for the category person."""
    vehicle_threshold: float | None = Field(None, ge=0, le=1)
    """The same for the category vehicle."""
    video_fps: float = Field(1, gt=0)
    """Frames that are looked at for each second of a video."""
    video_frames: int = Field(60, ge=1)
    """The most frames that are looked at of one video; in longer ones they lie further apart."""
    encoder: str = "torch"
    """What makes the vectors: torch, torch-bf16 (on GPUs), openvino, openvino-int8 (on CPUs; see trygon export-model),
    or triton:HOST:PORT. A run keeps to the one that it was begun with."""
    clade: tuple[str, ...] = ("Animalia",)
    """Name only taxa of these clades, of any rank (repeat it)."""
    names: Place | None = None
    """Name only these taxa: common or scientific names of any rank, one a line or in a CSV."""
    checklist: Place | None = None
    """A CSV of the taxa that may be reported, as of a country: any other name moves up to what they allow."""
    confidence_floor: float = Field(0.5, gt=0, le=1)
    """The least probability at which a rank is reported; below it the answer moves up the tree."""
    event_gap: float = Field(60, ge=0)
    """Seconds of pause that end an event."""
    top: int = Field(5, ge=1, le=100)
    """How many of the best taxa are kept for each animal."""
    repeats: int = Field(20, ge=0)
    """The same box in so many frames of a deployment, over several events, is set aside; 0 keeps all."""
    time_zone: str = Field("+00:00", pattern=r"^[+-](0\d|1[0-4]):[0-5]\d$")
    """Offset of the cameras' clocks from UTC, for the exports."""
    deployments: Path | None = None
    """A CSV with deployment,latitude,longitude, for the exports."""
    part_size: int = Field(64, ge=1)
    """Frames that are committed together: at most that many, for each worker, are done again after a crash."""
    price_per_hour: float | None = Field(None, gt=0)
    """What the machine or the cluster costs an hour: the run then says what a million images cost."""
    num_workers: int = Field(0, ge=0)
    """Workers that hold the networks; 0 fits the machine or the cluster."""
    file_timeout: float = Field(300, gt=0)
    """Seconds that a file may take to be read and decoded; one that takes longer is a row with that reason."""
    label_truncated: bool = False
    """Label what can be seen of files that were cut off, too; their rows say how much that is."""
    people: Literal["show", "blur", "withhold"] = "blur"
    """What happens to people in pictures of the report and the review page; withhold leaves such pictures out."""

    @model_validator(mode="after")
    def _has_pictures_or_vectors(self) -> "LabelConfig":
        if self.from_run and self.archive:
            raise ValueError("--from names a run's stored vectors anew: leave the archive away, or leave out --from")
        if not self.from_run and not (self.archive and self.model and self.labels):
            raise ValueError("give an archive with --model and --labels, or --from RUN for the vectors of a run")
        return self


def main(config: Annotated[LabelConfig, Parameter(name="*")]) -> None:
    """Label a camera-trap archive: detections, names at the rank that can be trusted, events, exports, a page."""
    from trygon.archive.exports.options import read_places
    from trygon.archive.parts import Parts
    from trygon.disk import only_writer, writing_to

    read_places(config.deployments) if config.deployments else None
    if config.from_run:
        config, done = _relabel(config)
    else:
        work, choice = _prepare(config)
        with writing_to(config.out), only_writer(config.out) as hold:
            files, num_ignored = work.archive.list(skip=config.out)
            hold.check()
            _label_missing(config, work, files, hold)
            media = Parts(config.out).media({file.media_id for file in files})
            assert media.num_rows == len(files), "every listed file is in exactly one part"
            detector = work.detector.card.name if work.detector else None
            about = {
                "num_ignored": num_ignored,
                "archive": config.archive,
                "model": config.model,
                "encoder": work.encoder.name,
                "detector": detector,
            }
            done = _finish(config, choice, media, about, hold)
    _tell(config.out, done)


def _relabel(config: LabelConfig) -> tuple[LabelConfig, bool]:
    """Name the vectors of a finished run; the config with what it takes over from there."""
    from trygon.archive.relabelling import carry_over, require_labels
    from trygon.archive.run import Run
    from trygon.disk import only_writer, writing_to
    from trygon.errors import UserError
    from trygon.labelling.bank import LabelBank
    from trygon.labelling.choice import choose
    from trygon.storage import is_same, join, write_json

    if is_same(config.out, config.from_run):
        raise UserError(f"--out {config.out} is the run itself: give the command that made it, or another --out")
    run = Run.open(config.from_run)
    taken = {name: run.config[name] for name in _OF_THE_RUN if name not in config.model_fields_set}
    deployments = taken.get("deployments")
    taken |= {"deployments": Path(deployments)} if deployments else {}
    config = config.model_copy(update=taken)
    bank = LabelBank.load(config.labels)
    require_labels(config.from_run, bank)
    choice = choose(bank, config.clade, config.names, config.checklist)
    with writing_to(config.out), only_writer(config.out) as hold:
        carry_over(config.from_run, config.out, hold)
        write_json(join(config.out, "config.json"), _kept(config).model_dump(mode="json"))
        about = {name: run.summary[name] for name in ("num_ignored", "archive", "model", "encoder", "detector")}
        return config, _finish(config, choice, run.media, about, hold)


_OF_THE_RUN = (
    "archive",
    "model",
    "labels",
    "detector",
    "encoder",
    "time_zone",
    "deployments",
    "label_truncated",
    "people",
)
"""What a run that is named anew takes over, unless the command says otherwise."""


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
    from trygon.storage import absolute

    archive = Archive(absolute(config.archive))
    if archive.local and not archive.local.is_dir():
        raise UserError(f"the archive {config.archive} is not a folder; give the folder that holds the cameras' files")
    bank = LabelBank.load(config.labels)
    model = describe(absolute_ref(config.model))
    bank.require_model(model)
    encoder = find_encoder(config.encoder, model)
    reading = Reading(config.file_timeout, config.label_truncated, Sampling(config.video_fps, config.video_frames))
    choice = choose(bank, config.clade, config.names, config.checklist)
    return Work(archive, encoder, _detector(config), reading), choice


def _kept(config: LabelConfig) -> LabelConfig:
    """The config as the run folder keeps it: its paths lead to the same files wherever it is read."""
    from trygon.models.folder import absolute_ref
    from trygon.storage import absolute

    detector, deployments = config.detector, config.deployments
    paths = {
        "archive": absolute(config.archive),
        "model": absolute_ref(config.model),
        "labels": absolute(config.labels),
        "out": absolute(config.out),
        "detections": absolute(config.detections) if config.detections else None,
        "detector": detector if detector in (None, "none") else absolute(detector),
        "deployments": deployments.absolute() if deployments else None,
        **{name: absolute(place) for name in ("names", "checklist", "from_run") if (place := getattr(config, name))},
    }
    return config.model_copy(update=paths)


def _thresholds(config: LabelConfig) -> dict[str, float]:
    given = {
        "animal": config.animal_threshold,
        "person": config.person_threshold,
        "vehicle": config.vehicle_threshold,
    }
    return {category: least for category, least in given.items() if least is not None}


def _detector(config: LabelConfig) -> "DetectorFile | None":
    from trygon.archive.detection import DetectorFile
    from trygon.data.cache import sample_folder
    from trygon.errors import UserError
    from trygon.storage import exists, is_remote

    choice = config.detector
    if config.detections and choice not in (None, "none"):
        raise UserError("--detections has the boxes: leave --detector out")
    if config.detections and not exists(config.detections):
        raise UserError(f"--detections {config.detections}: no such file")
    if choice == "none" or config.detections:
        return None
    if choice and is_remote(choice):
        raise UserError(
            f"--detector {choice}: a detector is a folder that all workers see: copy it, or mount the storage"
        )
    file = DetectorFile.find(Path(choice).absolute() if choice else sample_folder() / "detector")
    return file.with_thresholds(_thresholds(config))


def _label_missing(config: LabelConfig, work: "Work", files: "list[MediaFile]", hold: "Hold") -> None:
    """Detect and embed the frames that no committed part holds."""
    from trygon.archive.parts import Parts
    from trygon.archive.sessions import bind, record
    from trygon.storage import join, write_json
    from trygon_jobs.estimate import estimate

    model = work.encoder.tower
    makers = {"model": model.digest or model.ref, "encoder": work.encoder.identity}
    bind(config.out, makers | {"detector": _digest(config, work), "choice of frames": str(work.reading)})
    write_json(join(config.out, "config.json"), _kept(config).model_dump(mode="json"))
    parts = Parts(config.out, hold)
    parts.clean()
    plan = parts.plan(files, config.part_size)
    if plan:
        todo = [file for part in plan for file in part.files]
        estimate(config.out, config.price_per_hour, len(files), len(todo), sum(file.bytes for file in todo))
        with record(config.out, hold) as session:
            results = _results(config, (file.path for file in files))
            _run_plan(config, work, results, parts, plan, len(files), session)
            hold.check()


def _digest(config: LabelConfig, work: "Work") -> str:
    from trygon.storage import digest_file

    if config.detections:
        return f"{digest_file(config.detections)}:{_thresholds(config)}"
    return work.detector.digest if work.detector else "none"


def _results(config: LabelConfig, paths: "Iterable[str]") -> "Results | None":
    from trygon.archive.results import read_results

    return read_results(config.detections, paths, _thresholds(config)) if config.detections else None


def _run_plan(
    config: LabelConfig,
    work: "Work",
    results: "Results | None",
    parts: "Parts",
    plan: "list[Part]",
    total: int,
    session: "Session",
) -> None:
    from trygon.archive.parts import PartWriter
    from trygon.archive.sessions import cost_per_million
    from trygon.cluster.local import start_ray
    from trygon_jobs.progress import counting

    def note(speed: float) -> str:
        cost = f", {cost_per_million(config.price_per_hour, speed):,.2f} a million" if config.price_per_hour else ""
        return f", {session.num_bytes / 1e9:.1f} GB read{cost}"

    writer = PartWriter(parts, plan)
    todo = sum(len(part.files) for part in plan)
    with counting("label", total=total, done=total - todo, unit="images", note=note) as advance:
        start_ray()
        # Only now: Ray Data reads the settings of its log when it is imported.
        from trygon.archive.pipeline import label_frames

        for number, row in label_frames(work, plan, config.num_workers, results):
            writer.add(number, row)
            session.add(row["bytes"] or 0, writer.num_waiting)
            advance(1)
    assert not writer.num_open, "the pipeline returned every frame"


def _finish(config: LabelConfig, choice: "Choice", media: "pa.Table", about: "dict[str, Any]", hold: "Hold") -> bool:
    """Classify and write everything that follows from the parts; False where it stands already."""
    from trygon.archive.labelling import Naming, finish
    from trygon.archive.run import SUMMARY
    from trygon.archive.sessions import figures
    from trygon.labelling.classification import Classifier
    from trygon.labelling.lists import report
    from trygon.storage import digest_file, digest_texts, exists, join, read_json, remove_file, write_json, write_text

    bank = choice.bank
    for note in choice.notes:
        print(f"note: {note}; see names.csv and checklist.csv in {config.out}", file=sys.stderr)
    stamp = digest_texts(
        [
            _kept(config).model_dump_json(),
            # The table is edited where it lies: its path says nothing of what is in it.
            digest_file(config.deployments) if config.deployments else "",
            choice.digest,
            *(bank.model, bank.model_digest, str(bank.text_type), repr(bank.logit_scale)),
            digest_texts(map(str, media["media_id"].to_pylist())),
        ]
    )
    known = join(config.out, SUMMARY)
    if exists(known) and read_json(known).get("stamp") == stamp:
        return False
    hold.check()
    remove_file(known)
    for kind, matches in choice.matches.items():
        write_text(join(config.out, f"{kind}.csv"), report(matches))
    classifier = Classifier(bank, config.confidence_floor, config.top, choice.allowed_N)
    about = about | {"num_label_taxa": len(bank.tree), **figures(config.out, config.price_per_hour)}
    run = finish(config.out, media, Naming(classifier, config.event_gap, config.repeats), about, hold)
    _export(config, run, hold)
    hold.check()
    write_json(known, run.summary | {"stamp": stamp})
    return True


def _export(config: LabelConfig, run: "Run", hold: "Hold") -> None:
    """What other tools and people read."""
    from trygon.archive.exports import EXPORTS, ExportOptions
    from trygon.archive.exports.options import read_places
    from trygon.archive.listing import Archive
    from trygon.archive.report import write_report
    from trygon.mirror import made_here
    from trygon.storage import absolute, join

    places = read_places(config.deployments) if config.deployments else {}
    options = ExportOptions(places, config.time_zone, Path(config.archive.split("?")[0]).name or "Camera-trap archive")
    with made_here(config.out, "observations.csv", hold) as folder:
        EXPORTS["csv"](run, folder, options)
    with made_here(join(config.out, "export", "camtrap-dp"), "datapackage.json", hold) as folder:
        for note in EXPORTS["camtrap-dp"](run, folder, options):
            print(f"note: {note}", file=sys.stderr)
    with made_here(join(config.out, "report"), "index.html", hold) as folder:
        write_report(run, Archive(absolute(config.archive)), folder, places)


def _tell(out: str, done: bool) -> None:
    """What is there now, read back from the files."""
    from trygon.archive.run import Run
    from trygon.storage import join

    summary = Run.open(out).summary
    found = summary["num_observations"]
    print(
        f"{summary['num_files']} images of {summary['num_deployments']} cameras: {summary['num_with_animals']} with "
        f"animals, {summary['num_blank']} blank, {summary['num_failed']} could not be read"
        + ("" if done else " (all of it stood here already)")
    )
    print(
        f"{found.get('animal', 0)} animals of {summary['num_taxa']} taxa in {summary['num_events']} events"
        + (f"; {summary['images_per_s']:.1f} images/s" if summary.get("images_per_s") else "")
        + (f"; a million cost {summary['cost_per_million']:,.2f}" if "cost_per_million" in summary else "")
    )
    if summary.get("num_redone"):
        again, share = summary["num_redone"], 100 * summary["share_redone"]
        print(f"{again} images were done twice, as a session ended before they were committed ({share:.1f} %)")
    print(f"look at {join(out, 'report', 'index.html')}; Camtrap DP in {join(out, 'export', 'camtrap-dp')}")
