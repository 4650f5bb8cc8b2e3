"""A video as the frames that are looked at, one after the other: its memory does not grow with its length.

Decoding is FFmpeg's, through PyAV. Times are those that the file gives its pictures.
"""

import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.video.stream import VideoStream
from PIL import Image

from trygon.archive.media.exif import as_text, parse_time
from trygon.data.images import MAX_PIXELS, BadImage

# What cameras write. Others could make FFmpeg read further files or addresses.
_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "avi", "matroska,webm", "asf", "mpeg", "flv", "mpegts"}
_HEAD = (b"RIFF", b"\x1aE\xdf\xa3", b"\x30\x26\xb2\x75", b"FLV", b"\0\0\x01\xba")
_WHOLE = 0.98
"""A video that has less than this share of the pictures, or the bytes, that its header promises was cut off."""
_TOLERANCE_S = 1e-3
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are looked at."""

    fps: float = 1.0
    """So many a second of the video."""
    most: int = 60
    """No more than that of one video: of longer ones they lie further apart."""


@dataclass
class Video:
    """What is known of a video; `frames`, `share` and, of one that lies on its side, width and height are right when
    its frames have come to their end."""

    width: int
    height: int
    frame_rate: float | None
    duration_s: float | None
    timestamp: datetime | None
    make: str | None
    model: str | None
    frames: list[int] = field(default_factory=list)
    """Numbers of the frames that were looked at, from 0."""
    share: float | None = None
    """Share of the promised pictures, where some are missing; `kept_share` knows more of a Matroska file."""


def open_video(file: io.BufferedIOBase) -> InputContainer:
    """A video in an open, seekable file. Raises `BadImage`: empty, truncated, not_an_image or unsupported."""
    start = file.read(12)
    file.seek(0)
    if not start:
        raise BadImage("empty")
    try:
        container = av.open(file, "r", metadata_errors="ignore")
    except (FFmpegError, ValueError) as error:
        cut = start.startswith(_HEAD) or start[4:8] in (b"ftyp", b"mdat", b"moov", b"wide", b"free")
        raise BadImage("truncated" if cut else "not_an_image", str(error)) from error
    if container.format.name not in _FORMATS or not container.streams.video:
        container.close()
        raise BadImage("unsupported", f"{container.format.name} without pictures")
    return container


def kept_share(file: io.BufferedIOBase) -> float | None:
    """Share of the bytes that a Matroska file (MKV, WebM) says it has, where some are missing: it does not say how
    many pictures. None for other files, and for one that was never ended, which says neither."""
    file.seek(0)
    if _ebml(file, with_marker=True) != _EBML:
        return None
    file.seek(_ebml(file) or 0, io.SEEK_CUR)
    size = _ebml(file) if _ebml(file, with_marker=True) == _SEGMENT else None
    start = file.tell()
    num_kept = file.seek(0, io.SEEK_END) - start
    return num_kept / size if size and num_kept < _WHOLE * size else None


def _ebml(file: io.BufferedIOBase, with_marker: bool = False) -> int | None:
    """A number as EBML (RFC 8794) writes it, the name of an element with the bit that marks its length; None for the
    one that stands for an unknown size, and where there is none."""
    first = file.read(1)
    if first in (b"", b"\0"):
        return None
    length = 9 - first[0].bit_length()
    number, most = int.from_bytes(first + file.read(length - 1)), (1 << 7 * length) - 1
    return number if with_marker else number & most if number & most != most else None


def describe(container: InputContainer) -> Video:
    """What its header says. Raises `BadImage` too_large."""
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_PIXELS:
        raise BadImage("too_large", f"{stream.width}x{stream.height}")
    texts = {name.lower(): text for name, text in {**container.metadata, **stream.metadata}.items()}
    rate = stream.average_rate or stream.guessed_rate
    return Video(
        stream.width,
        stream.height,
        float(rate) if rate else None,
        _duration(container, stream),
        next((time for time in map(parse_time, map(texts.get, ("creation_time", "date"))) if time), None),
        as_text(texts.get("make") or texts.get("com.apple.quicktime.make")),
        as_text(texts.get("model") or texts.get("com.apple.quicktime.model")),
    )


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def sample(
    container: InputContainer, video: Video, sampling: Sampling, wanted: Collection[int] | None = None
) -> Iterator[tuple[int, Image.Image]]:
    """Number and picture, upright RGB, of each frame that is looked at; where `wanted` numbers are given, of those.
    What comes after the last of them is counted and not decoded.

    Completes `video`. Raises `BadImage` truncated or undecodable where not one can be decoded.
    """
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    step = _step(video, sampling)
    last = max(wanted, default=0) if wanted is not None else None  # the first says how the pictures stand
    first, number, num_packets, is_done, problem = 0.0, 0, 0, False, None
    try:
        for packet in container.demux(stream):
            num_packets += packet.size > 0
            is_done = is_done or (len(video.frames) >= sampling.most if last is None else number > last)
            for frame in () if is_done else _decode(packet):
                time = frame.time if frame.time is not None else number / (video.frame_rate or 25.0)
                if number == 0:
                    first = time
                    if frame.rotation % 180:  # only its pictures say so
                        video.width, video.height = video.height, video.width
                due = first + len(video.frames) * step - _TOLERANCE_S
                taken = time >= due and len(video.frames) < sampling.most if wanted is None else number in wanted
                if taken:
                    video.frames.append(number)
                    yield number, _upright(frame)
                number += 1
    except FFmpegError as error:
        problem = error
    if not number:
        raise BadImage("truncated" if num_packets == 0 else "undecodable", str(problem))
    if stream.frames and num_packets < _WHOLE * stream.frames:
        video.share = num_packets / stream.frames
    elif problem:
        num_sound = num_packets if is_done else number
        video.share = min(1.0, num_sound / stream.frames) if stream.frames else 0.0


def _decode(packet: Any) -> list[Any]:
    """The frames of a packet; none where it is broken: those after it may not be."""
    try:
        return packet.decode()
    except InvalidDataError:
        return []


def _step(video: Video, sampling: Sampling) -> float:
    """Seconds between two frames that are looked at."""
    return max(1 / sampling.fps, (video.duration_s or 0.0) / sampling.most)


def _upright(frame: Any) -> Image.Image:
    image = frame.to_image()
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image
