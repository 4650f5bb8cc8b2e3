"""One file of an archive to frames: header, digest, pixels, and what the detector is fed; or a row with a reason."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
from PIL import Image

from trygon.archive.detection.detector import Box, letterbox
from trygon.archive.detection.results import FileBoxes, Results
from trygon.archive.inputs.listing import Archive
from trygon.archive.inputs.media import is_video
from trygon.archive.inputs.names import MAX_BYTES
from trygon.archive.media.exif import read_header
from trygon.archive.media.reading import Reading, fault, open_file, read_file
from trygon.archive.media.video import describe, kept_share, open_video, sample
from trygon.data.images import BadImage, decode, square
from trygon.data.truncated import salvage
from trygon.models.folder import ImageTower
from trygon.threads import ahead

_MIN_SIDE = 1080
"""Frames are decoded at the smallest JPEG scale whose shorter side is still this: crops keep their detail. Those of
other formats and of videos are scaled down by whole numbers."""

_BOX = [(name, pa.float32()) for name in ("x", "y", "width", "height", "confidence")]
_BOX += [("category", pa.string())]

FRAME = pa.schema(
    [
        pa.field("frame", pa.large_binary()),  # (frame_height, frame_width, 3) uint8, upright
        pa.field("frame_width", pa.int32()),
        pa.field("frame_height", pa.int32()),
        pa.field("input", pa.large_binary()),  # the same, letterboxed for the detector
        pa.field("frame_number", pa.int32()),  # of a video
        pa.field("boxes", pa.list_(pa.struct(_BOX))),  # of a result file; null where a detector runs
        pa.field("num_rows", pa.int32()),  # with the last row of a file: how many it has
    ]
)
"""What a row of MEDIA has beside it on its way to the detector."""


@dataclass(frozen=True)
class _Picture:
    """A frame of a file; its number in a video."""

    image: Image.Image
    number: int | None = None


@dataclass(frozen=True)
class Frames:
    """The frames of an archive's files, letterboxed for a detector with this side (0 where none runs), or with the
    boxes that `results` give. With a `tower` the pixels are what it is fed of the whole frame."""

    archive: Archive
    input_side: int = 0
    reading: Reading = field(default_factory=Reading)
    results: Results | None = None
    tower: ImageTower | None = None

    @property
    def _min_side(self) -> int:
        return self.tower.side if self.tower else _MIN_SIDE

    def rows(self, listed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Columns of MEDIA and FRAME for each frame of a listed file, beside what is listed.

        The last row says how many there are and has all that is known of the file; where it has a `failure`, those
        before it do not count. What the listing refuses is not looked at. Raises `TrygonError` where the whole archive
        cannot be read.
        """
        about: dict[str, Any] = {"kind": "video" if is_video(listed["path"]) else "image"}
        given = self.results.of(listed["path"]) if self.results else None
        held, num_rows = None, 1
        try:
            if listed.get("failure"):
                raise BadImage(listed["failure"])
            for piece in ahead(self._read(listed, given), self.reading.timeout_s):
                if isinstance(piece, _Picture):
                    if held:
                        yield {**listed, **held, "digest": about.get("digest")}
                        num_rows += 1
                    held = self._columns(piece, given)
                else:
                    about |= piece
        except BadImage as error:
            about["failure"] = error.reason
        except OSError as error:
            about["failure"] = self._reason(error)
        yield {**listed, **(held or {} if "failure" not in about else {}), **about, "num_rows": num_rows}

    def _reason(self, error: OSError) -> str:
        reason = fault(self.archive, error)
        if not isinstance(reason, BadImage):
            raise reason from error
        return reason.reason

    def _read(self, listed: Mapping[str, Any], given: FileBoxes | None) -> Iterator[dict[str, Any] | _Picture]:
        """What is known of the file, as it becomes known, and its frames."""
        moves, num_bytes = is_video(listed["path"]), listed.get("bytes") or 0
        if not moves and num_bytes > MAX_BYTES:
            raise BadImage("too_large", f"{num_bytes:,} bytes")  # a picture is read as a whole
        path, member = listed["path"], listed.get("member")
        for piece in self._read_video(path, member, given) if moves else self._read_image(path, member):
            yield piece
            if isinstance(piece, dict) and "digest" in piece and self.results and (given is None or given.failed):
                raise BadImage("failed_in_detections" if given else "not_in_detections")

    def _read_image(self, path: str, member: str | None) -> Iterator[dict[str, Any] | _Picture]:
        data = read_file(self.archive, path, member)
        yield {"digest": hashlib.sha256(data).hexdigest()} | asdict(read_header(data))
        share = None
        try:
            image = decode(data, min_side=self._min_side)
        except BadImage as error:
            if error.reason != "truncated":
                raise
            image, share = salvage(data, min_side=self._min_side)
        yield from self._truncated(share)
        yield _Picture(image)

    def _read_video(
        self, path: str, member: str | None, given: FileBoxes | None
    ) -> Iterator[dict[str, Any] | _Picture]:
        with open_file(self.archive, path, member) as file:
            yield {"digest": hashlib.file_digest(file, "sha256").hexdigest()}
            kept = kept_share(file)
            file.seek(0)
            with open_video(file) as container:
                video = describe(container)
                wanted = _wanted(given, self.reading.sampling.most) if given else None
                for number, image in sample(container, video, self.reading.sampling, wanted):
                    yield _Picture(image, number)
        about = asdict(video)
        share = about.pop("share")
        yield about | {"duration": about.pop("duration_s")}
        yield from self._truncated(share if kept is None else kept)

    def _truncated(self, share: float | None) -> Iterator[dict[str, Any]]:
        if share is not None:
            yield {"decoded_share": share}
            if not share or not self.reading.label_truncated:
                raise BadImage("truncated")

    def _columns(self, picture: _Picture, given: FileBoxes | None) -> dict[str, Any]:
        factor = min(picture.image.size) // self._min_side
        image = picture.image.reduce(factor) if factor > 1 else picture.image
        if self.tower:
            image = square(image, self.tower.side, self.tower.resize_mode)
        columns: dict[str, Any] = {"frame": image.tobytes(), "frame_number": picture.number}
        columns |= {"frame_width": image.width, "frame_height": image.height}
        if self.results:
            columns["boxes"] = [asdict(box) for box in _boxes(given, picture.number)]
        elif self.input_side:
            columns["input"] = letterbox(image, self.input_side).tobytes()
        return columns


def _boxes(given: FileBoxes | None, number: int | None) -> list[Box]:
    """The boxes of a frame; all of them in a still picture."""
    boxes = [box for frame, box in given.boxes if number is None or (frame or 0) == number] if given else []
    # Merged result files have boxes twice: they would be two animals of one id.
    surest = {box.key: box for box in sorted(boxes, key=lambda box: box.confidence)}
    return [box for box in boxes if surest[box.key] is box]


def _wanted(given: FileBoxes, most: int) -> list[int]:
    """The numbers of a video's frames that have boxes, those of the surest boxes where they are too many."""
    surest = sorted(given.boxes, key=lambda it: -it[1].confidence)
    return list(dict.fromkeys(frame or 0 for frame, _ in surest))[:most]
