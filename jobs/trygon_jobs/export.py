"""`trygon export`: a labelled archive in another tool's format."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from trygon_jobs.config import JobConfig, Place, TimeZone


class ExportConfig(JobConfig):
    """One export."""

    run: Place
    """A run folder that trygon label made."""
    out: Place
    """Folder to write to."""
    format: Literal["camtrap-dp", "csv", "megadetector", "timelapse", "wildlife-insights", "coco", "speciesnet"] = (
        "camtrap-dp"
    )
    """Camtrap DP 1.0.2; CSV tables of observations, events and failures; MegaDetector's JSON 1.6; the same with a CSV
    for Timelapse; Wildlife Insights' batch upload; COCO Camera Traps; SpeciesNet's predictions."""
    time_zone: TimeZone | None = None
    """Zone of the cameras' clocks, such as +03:00 or Africa/Nairobi; without it, the one that the run was given."""
    deployments: Path | None = None
    """A CSV with a column deployment, and any of latitude, longitude, start and end; it goes before what the run
    knows of them."""
    title: str | None = None
    """Title of the project; without it, the archive's name."""
    carry_schemas: bool = False
    """Put Camtrap DP's table schemas into the package, for validators without a network; its profile asks for URLs."""


def main(config: Annotated[ExportConfig, Parameter(name="*")]) -> None:
    """Export a labelled archive in another tool's format."""
    from trygon.archive.exports import EXPORTS, ExportOptions
    from trygon.archive.inputs.deployments import deployments_of
    from trygon.archive.run_folder.run import Run
    from trygon.disk import only_writer, writing_to
    from trygon.errors import UserError
    from trygon.mirror import made_here
    from trygon.storage import is_same, write_json

    if is_same(config.out, config.run):
        raise UserError(f"--out {config.out} is the run itself, whose files it would replace: give another --out")
    _require_own(config)
    run = Run.open(config.run)
    zone = run.zone(config.time_zone)
    options = ExportOptions.of(
        deployments_of(config.run, config.deployments, zone),
        zone,
        config.title or Path(run.config["archive"].split("?")[0]).name,
        config.carry_schemas,
    )
    with (
        writing_to(config.out),
        only_writer(config.out) as hold,
        made_here(config.out, "config.json", hold) as folder,
    ):
        notes = EXPORTS[config.format](run, folder, options)
        write_json(folder / "config.json", config.model_dump(mode="json"))
    for note in notes:
        print(f"note: {note}")
    print(f"{config.format} of {run.summary['num_files']} images: {config.out}")


def _require_own(config: ExportConfig) -> None:
    """`UserError` where the folder holds something else, whose files this would replace or stand among."""
    from trygon.errors import UserError
    from trygon.storage import exists, join, read_json

    place = join(config.out, "config.json")
    known = read_json(place) if exists(place) else {"format": config.format}
    held = known.get("format") if isinstance(known, dict) else None
    if held != config.format:
        what = f"an export as {held}" if held else "what another command wrote"
        raise UserError(f"--out {config.out} holds {what}: give another --out, or remove it")
