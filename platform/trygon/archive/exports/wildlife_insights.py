"""Wildlife Insights' batch upload: projects, cameras, deployments and images as CSV.

What Wildlife Insights asks and an archive does not hold is left blank, for a person to fill in. Its ids of taxa are
not known here but for those of blanks, people, vehicles and animals without a name: a taxon is given by its names.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trygon import __version__
from trygon.archive.exports import cameras
from trygon.archive.exports.csv import write_rows
from trygon.archive.exports.frames import Frame, frames, key_of
from trygon.archive.exports.options import ExportOptions
from trygon.archive.exports.speciesnet import LABELS
from trygon.archive.naming.counts import count_of
from trygon.archive.run_folder.run import Run
from trygon.taxonomy.taxon import RANKS

PROJECTS = (
    *("project_name", "project_id", "project_short_name", "project_objectives", "project_species"),
    *("project_species_individual", "project_sensor_layout", "project_sensor_layout_targeted_type"),
    *("project_bait_use", "project_bait_type", "project_stratification", "project_stratification_type"),
    *("project_sensor_method", "project_individual_animals", "project_blank_images", "project_sensor_cluster"),
    *("project_admin", "project_admin_email", "country_code", "embargo", "initiative_id", "metadata_license"),
    "image_license",
)
CAMERAS = ("project_id", "camera_id", "make", "model", "serial_number", "year_purchased")
DEPLOYMENTS = (
    *("project_id", "deployment_id", "subproject_name", "subproject_design", "placename", "longitude", "latitude"),
    *("start_date", "end_date", "event_name", "event_description", "event_type", "bait_type", "bait_description"),
    *("feature_type", "feature_type_methodology", "camera_id", "quiet_period", "camera_functioning", "sensor_height"),
    *("height_other", "sensor_orientation", "orientation_other", "recorded_by"),
)
IMAGES = (
    *("project_id", "deployment_id", "image_id", "location", "identified_by", "wi_taxon_id", "class", "order"),
    *("family", "genus", "species", "common_name", "number_of_objects", "uncertainty", "timestamp", "highlighted"),
    *("age", "sex", "animal_recognizable", "individual_id", "individual_animal_notes", "markings"),
)
_NAMED = {"blank": "Blank", "human": "Human", "vehicle": "Vehicle", "animal": "Animal", "unknown": "No CV Result"}


def write(run: Run, out: Path, options: ExportOptions) -> list[str]:
    """Write `projects.csv`, `cameras.csv`, `deployments.csv` and `images.csv`, a row an image and taxon in it."""
    project = {"project_id": options.title, "project_name": options.title, "project_blank_images": "Yes"}
    deployments = list(run.rows(cameras.BY_DEPLOYMENT))
    write_rows(out / "projects.csv", PROJECTS, [project])
    write_rows(out / "cameras.csv", CAMERAS, (_camera(row, options) for row in deployments))
    write_rows(out / "deployments.csv", DEPLOYMENTS, (_deployment(row, options) for row in deployments))
    write_rows(out / "images.csv", IMAGES, (row for frame in frames(run) for row in _images(run, frame, options)))
    notes = ["projects.csv and deployments.csv have blank fields that Wildlife Insights asks for: fill them in"]
    failed = run.row("SELECT count(*) AS num FROM failures")["num"]
    if failed:
        notes.append(f"{failed} files that could not be read are left out: Wildlife Insights cannot show them")
    return notes


def _camera(row: dict[str, Any], options: ExportOptions) -> dict[str, Any]:
    about = {"make": row["make"], "model": row["model"], "serial_number": row["serial"]}
    return {"project_id": options.title, "camera_id": row["deployment"], **about}


def _deployment(row: dict[str, Any], options: ExportOptions) -> dict[str, Any]:
    latitude, longitude = options.places.get(row["deployment"], (None, None))
    start, end = cameras.span(row, options)
    return {
        "project_id": options.title,
        "deployment_id": row["deployment"],
        "placename": row["deployment"],
        "longitude": longitude,
        "latitude": latitude,
        "start_date": _time(start),
        "end_date": _time(end),
        "camera_id": row["deployment"],
    }


def _images(run: Run, frame: Frame, options: ExportOptions) -> Iterator[dict[str, Any]]:
    if frame.failure:
        return
    groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in frame.sightings:
        groups[row["type"], key_of(row) if _has_columns(row) else None].append(row)
    about = {
        "project_id": options.title,
        "deployment_id": frame.media["deployment"],
        "image_id": frame.media["media_id"],
        "location": frame.media["path"],
        "timestamp": _time(frame.media["timestamp"]),
        "identified_by": f"trygon {__version__}, {run.summary['model']}",
    }
    for rows in groups.values():
        yield about | _identified(rows)
    if not groups:
        said = {"identified_by": frame.blank_by} if frame.blank_by else {}
        yield about | said | {"wi_taxon_id": LABELS["blank"].split(";")[0], "common_name": _NAMED["blank"]}


def _has_columns(row: dict[str, Any]) -> bool:
    """Whether the table can name it: it has no columns for kingdom and phylum."""
    return any(row[rank] for rank in RANKS[2:])


def _identified(rows: list[dict[str, Any]]) -> dict[str, Any]:
    first = next((row for row in rows if row["reviewed_by"]), rows[0])
    named = {"number_of_objects": count_of(rows)}
    named |= {"age": (first["life_stage"] or "").title(), "sex": (first["sex"] or "").title()}
    if first["reviewed_by"]:
        named["identified_by"] = first["reviewed_by"]
    if _has_columns(first):
        return named | {rank: first[rank] for rank in RANKS[2:]} | {"common_name": first["common"]}
    taxon_id, *names = LABELS[first["type"]].split(";")
    lineage = dict(zip(RANKS[2:], names, strict=False)) if first["type"] == "human" else {}
    return named | lineage | {"wi_taxon_id": taxon_id, "common_name": _NAMED[first["type"]]}


def _time(time: Any) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else ""
