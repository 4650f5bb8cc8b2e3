"""A run folder in other tools' formats. A new format is a module here and a line in `EXPORTS`."""

from collections.abc import Callable
from pathlib import Path

from trygon.archive.exports import camtrap_dp, coco, csv, megadetector, speciesnet, timelapse, wildlife_insights
from trygon.archive.exports.options import ExportOptions
from trygon.archive.run_folder.run import Run

EXPORTS: dict[str, Callable[[Run, Path, ExportOptions], list[str]]] = {
    "camtrap-dp": camtrap_dp.write,
    "csv": csv.write,
    "megadetector": megadetector.write,
    "timelapse": timelapse.write,
    "wildlife-insights": wildlife_insights.write,
    "coco": coco.write,
    "speciesnet": speciesnet.write,
}
"""Each writes into a folder of this machine and returns what a user should know of the result, a line each."""

__all__ = ["EXPORTS", "ExportOptions"]
