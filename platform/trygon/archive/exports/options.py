"""What an export needs to know beside the run: the cameras' places and the zone of their clocks."""

from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from trygon.archive.inputs.deployments import Span, places_of, spans_of
from trygon.archive.inputs.zones import with_offset


@dataclass(frozen=True)
class ExportOptions:
    """`places` maps deployments to latitude and longitude in degrees; `time_zone` is that of the clocks, an
    offset or a place.

    `carry_schemas`: put the standard's schemas into the package and refer to these, not to their URLs.
    """

    places: dict[str, tuple[float, float]] = field(default_factory=dict)
    time_zone: str = "+00:00"
    title: str = "Camera-trap archive"
    carry_schemas: bool = False
    spans: dict[str, Span] = field(default_factory=dict)
    """When deployments began and ended, as far as it is known."""

    def iso(self, time: datetime | None) -> str:
        """A camera's local time with its offset, as ISO 8601; blank where there is none."""
        return with_offset(time, self.time_zone) if time else ""

    @classmethod
    def of(cls, deployments: pa.Table, time_zone: str, title: str, carry_schemas: bool = False) -> "ExportOptions":
        """With the places and times of a DEPLOYMENT table."""
        return cls(places_of(deployments), time_zone, title, carry_schemas, spans_of(deployments))
