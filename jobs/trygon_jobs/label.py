"""`trygon label`: a camera-trap archive to detections, names, events, exports and a page with pictures."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import Field, model_validator

from trygon_jobs.config import JobConfig, Place, Ref, TimeZone

_OF_PICTURES = (
    *("detector", "detections", "video_fps", "video_frames", "deployment_pattern", "part_size"),
    *("num_workers", "use_gpu", "file_timeout", "retry_failed", "label_truncated"),
)
"""Settings of how an archive's files are read: a run that is named anew has them from the first one."""
OF_THE_RUN = (
    *("archive", "images", "model", "labels", "detector", "encoder", "time_zone", "deployments", "deployment_pattern"),
    *("label_truncated", "people", "animal_threshold", "person_threshold", "vehicle_threshold"),
)
"""What a run that is named anew takes over, unless the command says otherwise."""


class LabelConfig(JobConfig):
    """One labelling run."""

    archive: Ref = ""
    """The cameras' files: a folder, a zip or tar, or a list of files (CSV, COCO Camera Traps JSON, Camtrap DP,
    Wildlife Insights); on disk or at an s3:// address. Not needed with --from."""
    model: Ref = ""
    """A model folder, on disk or at an s3:// address, or hf-hub:OWNER/NAME; not needed with --from."""
    labels: Place = ""
    """A LabelBank made with the same model (trygon build-labels). With --from, by default those of that run."""
    out: Place
    """The run folder. Given again, the run goes on; frames added to the archive since are done too."""
    from_run: Annotated[Place, Parameter(name=("--from", "--from-run"))] = ""
    """Name the stored vectors of this finished run anew, into --out: no picture is read and no model loaded."""
    detector: Ref | None = None
    """An ONNX detector with its detector.json, or MegaDetector's weights (.pt: a pickle, so name none that you do not
    trust); none takes whole frames. Without it, the one of trygon sample."""
    detections: Place | None = None
    """A result file of MegaDetector or SpeciesNet: its boxes are taken, and no detector runs."""
    animal_threshold: float | None = Field(None, ge=0, le=1)
    """The least confidence of a box of the category animal; without it, what the detector or the file names.
    With --from it can be raised, and not lowered: stored boxes below it are left out."""
    person_threshold: float | None = Field(None, ge=0, le=1)
    """The same for the category person."""
    vehicle_threshold: float | None = Field(None, ge=0, le=1)
    """The same for the category vehicle."""
    video_fps: float = Field(1, gt=0)
    """Frames that are looked at for each second of a video."""
    video_frames: int = Field(60, ge=1)
    """The most frames that are looked at of one video; in longer ones they lie further apart."""
    encoder: str = "torch"
    """What makes the vectors: torch, torch-bf16 (on GPUs), openvino, openvino-bf16, openvino-int8, onnx (on CPUs; see
    trygon export-model), or triton:HOST:PORT. A run keeps to the one that it was begun with."""
    clade: Annotated[tuple[str, ...], Parameter(negative="--empty-clade")] = ("Animalia",)
    """Name only taxa of these clades, of any rank, by name or path (Aves or Animalia/Aves; repeat it); --empty-clade
    for all."""
    names: Place | None = None
    """Name only these taxa: common or scientific names of any rank, one a line or in a CSV."""
    checklist: Place | None = None
    """The taxa that may be reported, as of a country: names one a line, a CSV, Parquet or a Darwin Core archive
    (.zip). Any other name moves up to what they allow."""
    examples: tuple[Place, ...] = ()
    """Animals whose names are known: a folder with a sub-folder of pictures a taxon, or a run that people reviewed
    (repeat it). Their taxa are labels, known by these and by their names."""
    examples_only: bool = False
    """Only taxa with examples are labels, known by these alone."""
    confidence_floor: float = Field(0.5, gt=0, le=1)
    """The least probability at which a rank is reported; below it the answer moves up the tree."""
    event_gap: float = Field(60, ge=0)
    """Seconds of pause that end an event."""
    top: int = Field(5, ge=1, le=100)
    """How many of the best taxa are kept for each animal."""
    repeats: int = Field(20, ge=0)
    """The same box in so many frames of a deployment, over several events, is set aside; 0 keeps all."""
    images: Place | None = None
    """Where the files of a list are: a folder, a zip or tar, or an s3:// prefix. Without it, beside the list."""
    time_zone: TimeZone = "+00:00"
    """Zone of the cameras' clocks, such as +03:00 or Africa/Nairobi."""
    deployments: Path | None = None
    """A CSV with a column deployment, and any of latitude, longitude, start, end, and path: the files below that
    folder of the archive, or of a pattern with *, belong to the deployment."""
    deployment_pattern: str = ""
    """A regular expression that is looked for in each path; what its group named deployment finds is the name."""
    part_size: int = Field(64, ge=1)
    """Frames that are committed together: at most that many, for each worker, are done again after a crash."""
    price_per_hour: float | None = Field(None, gt=0)
    """What the machine or the cluster costs an hour: the run then says what a million images cost."""
    num_workers: int = Field(0, ge=0)
    """Workers that hold the networks; 0 fits the machine or the cluster."""
    use_gpu: bool | None = None
    """Give each worker a GPU. By default where there are some when the run starts; on a cluster that starts GPU nodes
    when they are asked for, say so, and with --num-workers how many."""
    file_timeout: float = Field(300, gt=0)
    """Seconds that a file may take to be read and decoded; one that takes longer is a row with that reason."""
    retry_failed: bool = False
    """Try files again that could not be read for a reason that may have passed: unreadable, vanished, denied, s3_error
    or timeout. Without it they are left as they are."""
    label_truncated: bool = False
    """Label what can be seen of files that were cut off, too; their rows say how much that is."""
    people: Literal["show", "blur", "withhold"] = "blur"
    """What happens to people in pictures of the report and the review page; withhold leaves such pictures out."""

    @model_validator(mode="after")
    def _has_pictures_or_vectors(self) -> "LabelConfig":
        if self.from_run and self.archive:
            raise ValueError("--from names a run's stored vectors anew: leave the archive away, or leave out --from")
        unused = [name for name in _OF_PICTURES if self.from_run and name in self.model_fields_set]
        if unused:
            told = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
            raise ValueError(f"--from reads no picture of the archive: leave out {told}")
        if not self.from_run and not (self.archive and self.model and self.labels):
            raise ValueError("give an archive with --model and --labels, or --from RUN for the vectors of a run")
        return self

    @model_validator(mode="after")
    def _has_examples(self) -> "LabelConfig":
        if self.examples_only and not self.examples:
            raise ValueError("--examples-only needs --examples: a folder with a sub-folder of pictures a taxon")
        if self.examples_only and (self.names or self.checklist):
            raise ValueError("--examples-only makes the examples the list: leave --names and --checklist out")
        return self

    def clades(self) -> tuple[str, ...]:
        """The clades that labels are chosen from."""
        return () if self.examples_only else self.clade

    def kept(self) -> "LabelConfig":
        """The config as the run folder keeps it: its paths lead to the same files wherever it is read."""
        from trygon.models.folder import absolute_ref
        from trygon.storage import absolute

        places = ("archive", "images", "labels", "out", "detections", "names", "checklist", "from_run")
        kept: dict[str, Any] = {name: absolute(place) for name in places if (place := getattr(self, name))}
        kept |= {"model": absolute_ref(self.model), "examples": tuple(map(absolute, self.examples))}
        if self.detector not in (None, "none"):
            kept["detector"] = absolute(self.detector)
        if self.deployments:
            kept["deployments"] = self.deployments.absolute()
        return self.model_copy(update=kept | {"retry_failed": False})  # which is of one command, not of the run

    def thresholds(self) -> dict[str, float]:
        """The least confidences that are given, by category."""
        given = {it: getattr(self, f"{it}_threshold") for it in ("animal", "person", "vehicle")}
        return {category: least for category, least in given.items() if least is not None}


def main(config: Annotated[LabelConfig, Parameter(name="*")]) -> None:
    """Label a camera-trap archive: detections, names at the rank that can be trusted, events, exports, a page."""
    if config.from_run:
        from trygon_jobs.label_tables import relabel as label
    else:
        from trygon_jobs.label_run import label
    label(config)
