"""`trygon export`: a labelled archive in another tool's format."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from trygon_jobs.config import JobConfig, Place, TimeZone

if TYPE_CHECKING:
    from trygon.archive.run_folder.run import Run


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
    from trygon.archive.inputs.deployments import deployments_of, read_deployments
    from trygon.archive.run_folder.run import Run
    from trygon.disk import only_writer, writing_to
    from trygon.mirror import made_here
    from trygon.storage import join, remove_file, write_json, write_text

    with writing_to(config.out):
        _require_own(config)
    run = Run.open(config.run)
    _require_other(config, run)
    zone = run.zone(config.time_zone)
    options = ExportOptions.of(
        deployments_of(config.run, read_deployments(config.deployments, zone)),
        zone,
        config.title or Path(run.config["archive"].split("?")[0]).name,
        config.carry_schemas,
    )
    with writing_to(config.out), only_writer(config.out) as hold:
        write_text(join(config.out, _BEGUN), config.format)
        with made_here(config.out, "config.json", hold) as folder:
            notes = EXPORTS[config.format](run, folder, options)
            write_json(folder / "config.json", config.model_dump(mode="json"))
        remove_file(join(config.out, _BEGUN))
    for note in notes:
        print(f"note: {note}")
    print(f"{config.format} of {run.summary['num_files']} images: {config.out}")


_BEGUN = ".export"
"""Says in a folder of which format the export is that was begun there, until its config.json does."""


def _require_own(config: ExportConfig) -> None:
    """`UserError` where the folder holds something else, whose files this would replace or stand among."""
    from trygon.errors import UserError
    from trygon.storage import exists, is_same, join, list_files, read_bytes, read_json

    if is_same(config.out, config.run):
        raise UserError(f"--out {config.out} is the run itself, whose files it would replace: give another --out")
    place, begun = join(config.out, "config.json"), join(config.out, _BEGUN)
    if exists(place):
        known = read_json(place)
        held = known.get("format") if isinstance(known, dict) else None
    elif exists(begun):
        held = read_bytes(begun).decode(errors="replace")
    else:
        held = None if list_files(config.out) else config.format
    if held != config.format:
        what = f"an export as {held}" if held else "files that no export wrote"
        raise UserError(f"--out {config.out} holds {what}: give another --out, or remove it")


def _require_other(config: ExportConfig, run: "Run") -> None:
    """`UserError` where the folder is the archive, which may be an export of another run."""
    from trygon.archive.inputs.listing import Archive
    from trygon.archive.inputs.lists import folder_of
    from trygon.errors import UserError
    from trygon.storage import is_same

    archive = Archive.of(run.config["archive"], run.config.get("images"), config.run)
    places = [archive.uri, folder_of(archive.uri), *filter(None, [archive.images])]
    if any(is_same(config.out, place) for place in places):
        raise UserError(f"--out {config.out} is the archive, whose files it would replace: give another --out")
