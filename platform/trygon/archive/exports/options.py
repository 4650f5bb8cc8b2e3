"""What an export needs to know beside the run: the cameras' places and the zone of their clocks."""

import csv
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from trygon.errors import UserError


@dataclass(frozen=True)
class ExportOptions:
    """`places` maps deployments to latitude and longitude in degrees; `time_zone` is the offset of the clocks.

    `by_url`: refer to the standard's schemas by their URLs instead of carrying them along.
    """

    places: dict[str, tuple[float, float]] = field(default_factory=dict)
    time_zone: str = "+00:00"
    title: str = "Camera-trap archive"
    by_url: bool = False

    def iso(self, time: datetime | None) -> str:
        """A camera's local time with its offset, as ISO 8601; blank where there is none."""
        return f"{time:%Y-%m-%dT%H:%M:%S}{self.time_zone}" if time else ""


def read_places(path: Path) -> dict[str, tuple[float, float]]:
    """A CSV with the columns deployment, latitude, longitude. `UserError` names the line that is wrong."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"deployment", "latitude", "longitude"} - set(reader.fieldnames or ())
            if missing:
                raise UserError(f"--deployments {path} has no column {sorted(missing)[0]!r}")
            return {row["deployment"]: _place(row, f"--deployments {path}, line {reader.line_num}") for row in reader}
    except OSError as error:
        raise UserError(f"--deployments {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--deployments {path} is not a CSV file in UTF-8: {error}") from error


def _place(row: dict[str, str], where: str) -> tuple[float, float]:
    try:
        latitude, longitude = float(row["latitude"]), float(row["longitude"])
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: latitude and longitude must be decimal degrees") from error
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise UserError(f"{where}: {latitude}, {longitude} is no place on Earth")
    return latitude, longitude
