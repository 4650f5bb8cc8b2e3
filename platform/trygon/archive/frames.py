"""One file of an archive to a frame: header, digest, pixels, and what the detector is fed; or a row with a reason."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from PIL import Image

from trygon.archive.detection import letterbox
from trygon.archive.exif import read_header
from trygon.archive.listing import Archive
from trygon.archive.reading import Reading, fault, read_file, within
from trygon.data.images import BadImage, decode
from trygon.data.truncated import salvage

_MIN_SIDE = 1080
"""Frames are decoded at the smallest JPEG scale whose shorter side is still this: crops keep their detail. Those of
other formats are scaled down by whole numbers."""

FRAME = pa.schema(
    [
        pa.field("frame", pa.large_binary()),  # (frame_height, frame_width, 3) uint8, upright
        pa.field("frame_width", pa.int32()),
        pa.field("frame_height", pa.int32()),
        pa.field("input", pa.large_binary()),  # the same, letterboxed for the detector
    ]
)
"""What a row of MEDIA has beside it on its way to the detector."""


def read_frame(archive: Archive, listed: Mapping[str, Any], input_side: int, reading: Reading) -> dict[str, Any]:
    """Columns of MEDIA and FRAME for one listed file. Raises `TrygonError` where the whole archive cannot be read."""
    row: dict[str, Any] = {}
    try:
        for columns in within(reading.timeout_s, _read(archive, listed, input_side, reading)):
            row |= columns
    except TimeoutError as error:
        reason = fault(archive, error)
        if not isinstance(reason, BadImage):
            raise reason from error
        row["failure"] = reason.reason
    return row


def _read(archive: Archive, listed: Mapping[str, Any], input_side: int, reading: Reading) -> Iterator[dict[str, Any]]:
    """What is known of the file, as it becomes known."""
    try:
        data = read_file(archive, listed["path"], listed.get("member"))
        yield {"digest": hashlib.sha256(data).hexdigest()} | asdict(read_header(data))
        image, share = _decode(data)
    except BadImage as error:
        yield {"failure": error.reason}
        return
    if share is not None:
        yield {"decoded_share": share}
        if not share or not reading.label_truncated:
            yield {"failure": "truncated"}
            return
    yield {"frame": image.tobytes(), "frame_width": image.width, "frame_height": image.height}
    if input_side:
        yield {"input": letterbox(image, input_side).tobytes()}


def _decode(data: bytes) -> tuple[Image.Image, float | None]:
    """The frame, and the share of it that was decoded where the file was cut off."""
    share = None
    try:
        image = decode(data, min_side=_MIN_SIDE)
    except BadImage as error:
        if error.reason != "truncated":
            raise
        image, share = salvage(data, min_side=_MIN_SIDE)
    factor = min(image.size) // _MIN_SIDE
    return image.reduce(factor) if factor > 1 else image, share
