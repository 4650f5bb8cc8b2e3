"""The table schemas of Camtrap DP 1.0.2, equal to the published ones: tables validate without a network."""

from typing import Any

VERSION = "1.0.2"
FOLDER = f"camtrap-dp/{VERSION}"
"""Where they stand within a package."""

URL = f"https://raw.githubusercontent.com/tdwg/{FOLDER}"
"""Where they are published, with the profile, out of whose address tools read the version of the standard."""

_FEATURES = [
    *("roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass", "roadOverpass", "roadBridge", "culvert"),
    *("burrow", "nestSite", "carcass", "waterSource", "fruitingTree"),
]
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"
# A relative path: nothing that climbs out of the package, no hidden or home folder; or a URL.
_PATH_PATTERN = r"^(?=^[^./~])(^((?!\.{2}).)*$).*$"


def _field(name: str, kind: str = "string", **constraints: Any) -> dict[str, Any]:
    described = {"name": name, "type": kind}
    if kind == "datetime":
        described["format"] = _TIME_FORMAT
    return described | {"constraints": {"required": False} | constraints}


def _schema(name: str, fields: list[dict[str, Any]], key: str, *references: tuple[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "fields": fields,
        "missingValues": ["", "NA", "NaN", "nan"],
        "primaryKey": key,
        "foreignKeys": [
            {"fields": column, "reference": {"resource": table, "fields": column}} for column, table in references
        ],
    }


DEPLOYMENTS = _schema(
    "deployments",
    [
        _field("deploymentID", required=True, unique=True),
        _field("locationID"),
        _field("locationName"),
        _field("latitude", "number", required=True, minimum=-90, maximum=90),
        _field("longitude", "number", required=True, minimum=-180, maximum=180),
        _field("coordinateUncertainty", "integer", minimum=1),
        _field("deploymentStart", "datetime", required=True),
        _field("deploymentEnd", "datetime", required=True),
        _field("setupBy"),
        _field("cameraID"),
        _field("cameraModel"),
        _field("cameraDelay", "integer", minimum=0),
        _field("cameraHeight", "number", minimum=0),
        _field("cameraDepth", "number", minimum=0),
        _field("cameraTilt", "integer", minimum=-90, maximum=90),
        _field("cameraHeading", "integer", minimum=0, maximum=360),
        _field("detectionDistance", "number", minimum=0),
        _field("timestampIssues", "boolean"),
        _field("baitUse", "boolean"),
        _field("featureType", enum=_FEATURES),
        _field("habitat"),
        _field("deploymentGroups"),
        _field("deploymentTags"),
        _field("deploymentComments"),
    ],
    "deploymentID",
)

MEDIA = _schema(
    "media",
    [
        _field("mediaID", required=True, unique=True),
        _field("deploymentID", required=True),
        _field("captureMethod", enum=["activityDetection", "timeLapse"]),
        _field("timestamp", "datetime", required=True),
        _field("filePath", required=True, pattern=_PATH_PATTERN),
        _field("filePublic", "boolean", required=True),
        _field("fileName"),
        _field("fileMediatype", required=True, pattern="^(image|video|audio)/.*$"),
        _field("exifData", "any"),
        _field("favorite", "boolean"),
        _field("mediaComments"),
    ],
    "mediaID",
    ("deploymentID", "deployments"),
)

OBSERVATIONS = _schema(
    "observations",
    [
        _field("observationID", required=True, unique=True),
        _field("deploymentID", required=True),
        _field("mediaID"),
        _field("eventID"),
        _field("eventStart", "datetime", required=True),
        _field("eventEnd", "datetime", required=True),
        _field("observationLevel", required=True, enum=["media", "event"]),
        _field(
            "observationType",
            required=True,
            enum=["animal", "human", "vehicle", "blank", "unknown", "unclassified"],
        ),
        _field("cameraSetupType", enum=["setup", "calibration"]),
        _field("scientificName"),
        _field("count", "integer", minimum=1),
        _field("lifeStage", enum=["adult", "subadult", "juvenile"]),
        _field("sex", enum=["female", "male"]),
        _field("behavior"),
        _field("individualID"),
        _field("individualPositionRadius", "number", minimum=0),
        _field("individualPositionAngle", "number", minimum=-90, maximum=90),
        _field("individualSpeed", "number", minimum=0),
        _field("bboxX", "number", minimum=0, maximum=1),
        _field("bboxY", "number", minimum=0, maximum=1),
        _field("bboxWidth", "number", minimum=1e-15, maximum=1),
        _field("bboxHeight", "number", minimum=1e-15, maximum=1),
        _field("classificationMethod", enum=["human", "machine"]),
        _field("classifiedBy"),
        _field("classificationTimestamp", "datetime"),
        _field("classificationProbability", "number", minimum=0, maximum=1),
        _field("observationTags"),
        _field("observationComments"),
    ],
    "observationID",
    ("deploymentID", "deployments"),
    ("mediaID", "media"),
)
