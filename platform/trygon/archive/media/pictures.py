"""Frames as people get to see them: every picture that leaves a run goes through here, so that no person does.

Boxes are rows of DETECTION with the `type` of OBSERVATION that they were given, by a reviewer where there was one.
What nobody took for a person is shown.
"""

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from PIL import Image

from trygon import s3
from trygon.archive.inputs.listing import Archive
from trygon.archive.media.reading import open_file
from trygon.archive.media.video import Sampling, describe, open_video, sample
from trygon.data.images import BadImage, decode
from trygon.data.truncated import salvage

PERSON = "person"
_CELLS = 6
"""A person is this many blots of colour along the longer side: too few for a face, and nothing brings it back."""

_MARGIN = 0.1


class People(StrEnum):
    """What happens to people in pictures that a run gives out."""

    SHOW = "show"
    BLUR = "blur"
    WITHHOLD = "withhold"  # there is no picture where there is a person


def output_picture(
    archive: Archive,
    media: Mapping[str, Any],
    boxes: Iterable[Mapping[str, Any]],
    people: People,
    min_side: int = 0,
    frame_number: int | None = None,
) -> Image.Image | None:
    """The frame of a row of MEDIA, upright RGB, its shorter side at least `min_side` pixels where it has them.

    `boxes` are all of that file; those of other frames of a video are passed over, and one without a number is in all
    of them. A video shows the frame of that number, without one the first that was looked at. None where the archive
    does not give it any more, or a person is withheld. Raises `TrygonError` where S3 does not answer.
    """
    if media["kind"] == "video" and frame_number is None:
        frame_number = next(iter(media["frames"] or ()), 0)
    persons = [box for box in boxes if is_person(box) and box.get("frame_number") in (None, frame_number)]
    if persons and people is People.WITHHOLD:
        return None
    try:
        if frame_number is None:
            image = _decoded(archive.read(media["path"], media.get("member")), media, min_side)
        else:
            image = _from_video(archive, media, frame_number)
    except (OSError, BadImage, s3.DeniedError):
        return None
    if people is not People.SHOW:
        for box in persons:
            _blur(image, box)
    return image


def is_person(box: Mapping[str, Any]) -> bool:
    """Whether a box is taken for a person: by the detector, whatever it was called after, or as its type says."""
    return box["category"] == PERSON or box.get("type") == "human"


def _decoded(data: bytes, media: Mapping[str, Any], min_side: int) -> Image.Image:
    return decode(data, min_side) if media["decoded_share"] is None else salvage(data, min_side)[0]


def _from_video(archive: Archive, media: Mapping[str, Any], number: int) -> Image.Image:
    with open_file(archive, media["path"], media.get("member")) as file, open_video(file) as container:
        for _, image in sample(container, describe(container), Sampling(), [number]):
            return image
    raise BadImage("truncated", f"no frame {number}")


def _blur(image: Image.Image, box: Mapping[str, Any]) -> None:
    """Make blots of what is in a box, and of a margin around it, in place."""
    spans = []
    for start, length, limit in ((box["x"], box["width"], image.width), (box["y"], box["height"], image.height)):
        low = max(0, math.floor((start - _MARGIN * length) * limit))
        spans.append((low, max(low + 1, min(limit, math.ceil((start + (1 + _MARGIN) * length) * limit)))))
    (left, right), (top, bottom) = spans
    part = image.crop((left, top, right, bottom))
    cell = max(part.size) / _CELLS
    small = part.resize([max(1, round(side / cell)) for side in part.size], Image.Resampling.BOX)
    image.paste(small.resize(part.size, Image.Resampling.BILINEAR), (left, top))
