"""What Camtrap DP 1.0.2 asks of a package, without a network: of its description here, of its tables by the schemas.

The published profile and schemas are found by their addresses alone; what they ask is said anew here and in
`trygon.archive.exports.camtrap_schemas`.
"""

from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import frictionless
import jsonschema

from trygon.archive.exports import camtrap_schemas
from trygon.storage import read_json

_SCHEMAS = {
    it["name"]: it for it in (camtrap_schemas.DEPLOYMENTS, camtrap_schemas.MEDIA, camtrap_schemas.OBSERVATIONS)
}
_DAY = {"type": "string", "format": "date"}
_RESOURCE = {
    "name": {"enum": list(_SCHEMAS)},
    "profile": {"enum": ["tabular-data-resource"]},
    "schema": {"type": "string", "format": "uri", "pattern": camtrap_schemas.VERSION.replace(".", r"\.")},
}
_PROFILE = {
    "type": "object",
    "required": [
        *("resources", "profile", "created", "contributors", "project", "spatial", "temporal", "taxonomic"),
    ],
    "properties": {
        "resources": {
            "minItems": 3,
            "items": {"required": ["name", "path", "profile", "schema"], "properties": _RESOURCE},
        },
        "profile": {"enum": [f"{camtrap_schemas.URL}/camtrap-dp-profile.json"]},
        "created": {"type": "string", "format": "date-time"},
        "contributors": {"items": {"properties": {"role": {"enum": ["contact", "rightsHolder", "contributor"]}}}},
        "project": {
            "required": ["title", "samplingDesign", "captureMethod", "individualAnimals", "observationLevel"],
            "properties": {
                "samplingDesign": {"enum": ["simpleRandom", "systematicRandom", "targeted", "opportunistic"]},
                "captureMethod": {"items": {"enum": ["activityDetection", "timeLapse"]}, "minItems": 1},
                "observationLevel": {"items": {"enum": ["media", "event"]}},
            },
        },
        "spatial": {"type": "object", "required": ["type", "coordinates"]},
        "temporal": {"type": "object", "required": ["start", "end"], "additionalProperties": _DAY},
        "taxonomic": {"type": "array", "items": {"required": ["scientificName"]}},
    },
}
_FORMATS = jsonschema.FormatChecker(())


@_FORMATS.checks("uri")
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme)


@_FORMATS.checks("date", raises=ValueError)
def _is_date(value: object) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value))


@_FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def violations(package: Any) -> list[str]:
    """What is wrong in the content of a `datapackage.json`, formats of texts included."""
    validator = jsonschema.Draft202012Validator(_PROFILE, format_checker=_FORMATS)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(package)]


def validate(folder: Path) -> frictionless.Report:
    """Frictionless on the tables of a package, by the schemas that it refers to."""
    package = read_json(folder / "datapackage.json")
    del package["profile"]  # it would be fetched
    for resource in package["resources"]:
        if resource["schema"] == f"{camtrap_schemas.URL}/{resource['name']}-table-schema.json":
            resource["schema"] = _SCHEMAS[resource["name"]]
    return frictionless.Package(package, basepath=str(folder)).validate()
