"""Camtrap DP 1.0.2: deployments, media and observations as CSV, and the datapackage that describes them.

Observations stand at both levels: a row for every detection and blank frame (media), and for every event one row a
taxon with the largest number seen in one frame (event), which sum up. What a person reviewed is a person's row.

What the standard requires and an archive does not hold is said, not invented: a camera without coordinates stands at
0, 0 with an uncertainty of half the Earth's circumference, and a frame without a date takes the start of its
deployment, whose `timestampIssues` is then true. Both carry a comment.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from trygon import __version__
from trygon.archive.exports import camtrap_schemas
from trygon.archive.exports.cameras import BY_DEPLOYMENT, span
from trygon.archive.exports.csv import write_rows
from trygon.archive.exports.options import ExportOptions
from trygon.archive.inputs.media import holds_others, media_type
from trygon.archive.run_folder.database import columns
from trygon.archive.run_folder.run import Run
from trygon.storage import write_json
from trygon.taxonomy.taxon import RANKS

_ANYWHERE_M = 20_037_508
"""Half the Earth's circumference in metres: a circle of this radius holds every place."""

_NO_DATE = datetime(1970, 1, 1)
_TABLES = {
    "deployments": camtrap_schemas.DEPLOYMENTS,
    "media": camtrap_schemas.MEDIA,
    "observations": camtrap_schemas.OBSERVATIONS,
}

_SIGHTINGS = """
SELECT sightings.*, events.start, events."end"
FROM sightings JOIN events USING (event_id) ORDER BY path, observation_id
"""
_TAXA = f"""
SELECT scientific, rank, {columns(RANKS)}, common FROM observations WHERE scientific IS NOT NULL
UNION
SELECT scientific, rank, {columns(RANKS)}, common FROM event_taxa WHERE scientific IS NOT NULL
ORDER BY ALL
"""
"""Pooled over an event, an animal may have a name that none of its boxes has alone."""


def write(run: Run, out: Path, options: ExportOptions) -> list[str]:
    """Write the package; `datapackage.json` comes last."""
    package = _Package(run, options)
    rows = {
        "deployments": package.deployments(),
        "media": package.media(),
        "observations": package.observations(),
    }
    for name, schema in _TABLES.items():
        write_rows(out / f"{name}.csv", [field["name"] for field in schema["fields"]], rows[name])
        if options.carry_schemas:
            write_json(out / camtrap_schemas.FOLDER / f"{name}-table-schema.json", schema)
    write_json(out / "datapackage.json", package.description())
    return package.notes()


@dataclass(frozen=True)
class _Package:
    run: Run
    options: ExportOptions

    @cached_property
    def cameras(self) -> dict[str, dict[str, Any]]:
        """Deployments by name: rows of BY_DEPLOYMENT."""
        return {row["deployment"]: row for row in self.run.rows(BY_DEPLOYMENT)}

    @cached_property
    def made(self) -> datetime:
        """When the run classified."""
        return datetime.fromisoformat(self.run.summary["finished"])

    def start(self, deployment: str) -> datetime:
        """What stands for the date of a frame without one."""
        start, _ = span(self.cameras[deployment], self.options)
        return start or _NO_DATE

    def deployments(self) -> Iterator[dict[str, Any]]:
        for name, camera in self.cameras.items():
            latitude, longitude = self.options.places.get(name, (0, 0))
            comments = []
            if name not in self.options.places:
                comments.append("coordinates unknown: 0, 0 stands for anywhere on Earth")
            if camera["dateless"]:
                comments.append("some files have no date: the start of the deployment stands in")
            if camera["is_wrong"]:
                comments.append("the clock was wrong for some files: their comments say how")
            _, end = span(camera, self.options)
            yield {
                "deploymentID": name,
                "locationName": name,
                "latitude": latitude,
                "longitude": longitude,
                "coordinateUncertainty": None if name in self.options.places else _ANYWHERE_M,
                "deploymentStart": self.options.iso(self.start(name)),
                "deploymentEnd": self.options.iso(end or _NO_DATE),
                "cameraID": camera["serial"],
                "cameraModel": "-".join(part for part in (camera["make"], camera["model"]) if part),
                "timestampIssues": "true" if camera["dateless"] or camera["is_wrong"] else "false",
                "deploymentComments": "; ".join(comments),
            }

    def media(self) -> Iterator[dict[str, Any]]:
        for row in self.run.rows("FROM media ORDER BY path"):
            if holds_others(row["path"]):
                continue
            exif = {tag: row[name] for tag, name in (("Make", "make"), ("Model", "model")) if row[name]}
            comments = [f"not read: {row['failure']}"] if row["failure"] else []
            if row["decoded_share"] is not None:
                comments.append(f"cut off: {row['decoded_share']:.0%} of it could be decoded")
            comments += [] if row["timestamp"] else ["no date in the file"]
            comments += [f"clock: {row['clock']}"] if row["clock"] else []
            path = PurePosixPath(row["path"])
            yield {
                "mediaID": row["media_id"],
                "deploymentID": row["deployment"],
                "timestamp": self.options.iso(row["timestamp"] or self.start(row["deployment"])),
                "filePath": _safe_path(row["path"]),
                "filePublic": "false",
                "fileName": path.name,
                "fileMediatype": media_type(row["path"]),
                "exifData": json.dumps(exif) if exif else "",
                "mediaComments": "; ".join(comments),
            }

    def observations(self) -> Iterator[dict[str, Any]]:
        for row in self.run.rows(_SIGHTINGS):
            yield self._observation(row) | {
                "observationID": row["observation_id"],
                "mediaID": row["media_id"],
                "observationLevel": "media",
                "count": None if row["type"] in ("blank", "unknown") else 1,
                "bboxX": row["x"],
                "bboxY": row["y"],
                "bboxWidth": row["width"],
                "bboxHeight": row["height"],
            }
        for row in self.run.rows("FROM event_taxa ORDER BY deployment, start, event_id, number"):
            yield self._observation(row) | {
                "observationID": f"{row['event_id']}-{row['number']}",
                "observationLevel": "event",
                "count": row["count"] or None,
            }

    def _observation(self, row: dict[str, Any]) -> dict[str, Any]:
        start = row["start"] or self.start(row["deployment"])
        return {
            "deploymentID": row["deployment"],
            "eventID": row["event_id"],
            "eventStart": self.options.iso(start),
            "eventEnd": self.options.iso(row["end"] or start),
            "observationType": row["type"],
            "scientificName": row["scientific"],
            "lifeStage": row["life_stage"],
            "sex": row["sex"],
            "classificationMethod": "human" if row["reviewed_by"] else "machine",
            "classifiedBy": row["reviewed_by"] or f"trygon {__version__}, {self.run.summary['model']}",
            "classificationTimestamp": (row["reviewed_at"] or self.made).strftime("%Y-%m-%dT%H:%M:%S+00:00"),
            "classificationProbability": row["probability"],
            "observationTags": f"rank:{row['rank']}" if row["rank"] else "",
        }

    def description(self) -> dict[str, Any]:
        schemas = camtrap_schemas.FOLDER if self.options.carry_schemas else camtrap_schemas.URL
        spans = [span(camera, self.options) for camera in self.cameras.values()]
        starts = [start for start, _ in spans if start] or [_NO_DATE]
        ends = [end for _, end in spans if end] or starts
        return {
            "name": "camera-trap-archive",
            "profile": f"{camtrap_schemas.URL}/camtrap-dp-profile.json",
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "title": self.options.title,
            "contributors": [{"title": "Unknown", "role": "rightsHolder"}],
            "project": {
                "title": self.options.title,
                "samplingDesign": "opportunistic",
                "captureMethod": ["activityDetection"],
                "individualAnimals": False,
                "observationLevel": ["media", "event"],
            },
            "spatial": self._spatial(),
            "temporal": {"start": f"{min(starts):%Y-%m-%d}", "end": f"{max(ends):%Y-%m-%d}"},
            "taxonomic": self._taxonomic(),
            "resources": [
                {
                    "name": name,
                    "path": f"{name}.csv",
                    "profile": "tabular-data-resource",
                    "format": "csv",
                    "mediatype": "text/csv",
                    "encoding": "utf-8",
                    "schema": f"{schemas}/{name}-table-schema.json",
                }
                for name in _TABLES
            ],
        }

    def _spatial(self) -> dict[str, Any]:
        """The rectangle of all cameras; the whole Earth where one of them has no place."""
        known = [self.options.places[name] for name in self.cameras if name in self.options.places]
        if not known or len(known) < len(self.cameras):
            known = [(-90.0, -180.0), (90.0, 180.0)]
        south, north = (pick(place[0] for place in known) for pick in (min, max))
        west, east = (pick(place[1] for place in known) for pick in (min, max))
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        return {"type": "Polygon", "bbox": [west, south, east, north], "coordinates": [ring]}

    def _taxonomic(self) -> list[dict[str, Any]]:
        taxa: dict[str, dict[str, Any]] = {}
        for row in self.run.rows(_TAXA):
            entry = {"scientificName": row["scientific"], "taxonRank": row["rank"]}
            entry |= {rank: row[rank] for rank in RANKS[:-1] if row[rank]}
            if row["common"]:
                entry["vernacularNames"] = {"eng": row["common"]}
            taxa.setdefault(row["scientific"], entry)
        return list(taxa.values())

    def notes(self) -> list[str]:
        placeless = [name for name in self.cameras if name not in self.options.places]
        notes = []
        if placeless:
            notes.append(
                f"{len(placeless)} of {len(self.cameras)} deployments have no coordinates: they stand at 0, 0 with an "
                "uncertainty that covers the Earth. Give --deployments CSV (deployment,latitude,longitude)"
            )
        unknown = sorted(set(self.options.places) - set(self.cameras))
        if unknown:
            notes.append(f"--deployments names {unknown[0]!r}, which the archive does not have")
        return notes


def _safe_path(path: str) -> str:
    """A path that the standard's pattern takes: a leading dot or tilde and two dots in a row are percent-encoded."""
    escaped = path.replace("..", "%2E%2E")
    return f"%{ord(escaped[0]):02X}{escaped[1:]}" if escaped[0] in ".~/" else escaped
