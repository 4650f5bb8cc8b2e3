"""What the frames of a deployment say of it: first and last date, and the camera."""

from typing import Any

from trygon.archive.exports.options import ExportOptions
from trygon.archive.inputs.deployments import Span

BY_DEPLOYMENT = """
SELECT
    deployment, bool_or(timestamp IS NULL AND failure IS NULL) OR count(timestamp) = 0 AS dateless,
    bool_or(clock IS NOT NULL) AS is_wrong,
    coalesce(min(timestamp) FILTER (clock IS NULL), min(timestamp)) AS first,
    coalesce(max(timestamp) FILTER (clock IS NULL), max(timestamp)) AS last,
    mode(make) AS make, mode(model) AS model, CASE count(DISTINCT serial) WHEN 1 THEN min(serial) END AS serial
FROM media GROUP BY deployment ORDER BY deployment
"""
"""A row a deployment: dates that can be right, where any can; whether frames without a date or with a wrong one are
among them (one that was not read counts where no other has a date); make, model, and the serial number of a camera
that stood there alone."""


def span(camera: dict[str, Any], options: ExportOptions) -> Span:
    """Start and end of a deployment, as they were given, else by its frames; None where nothing is known."""
    start, end = options.spans.get(camera["deployment"], (None, None))
    first, last = camera["first"], camera["last"]
    # Clocks that were all wrong may say times that contradict what was given.
    if start is None:
        start = min(first, end) if first and end else first or end
    if end is None:
        end = max(last, start) if last and start else last or start
    return start, end
