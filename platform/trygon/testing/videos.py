"""Small real videos as cameras write them: a bright animal that walks over a dark ground."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np

_RATE = 10
SIZE = (160, 120)
_KINDS = {"mp4": ("mp4", "mpeg4"), "mkv": ("matroska", "mpeg4"), "webm": ("webm", "libvpx")}
_AVI = ("avi", "mjpeg")


def write_video(kind: str = "mp4", seconds: float = 3.0, **metadata: str) -> bytes:
    """A video of ten pictures a second: an `mp4` or `mkv` (MPEG-4), a `webm` (VP8) or an `avi` (MJPEG). In `bushnell`
    AVIs the first picture has other colour planes than those that follow."""
    buffer = io.BytesIO()
    form, codec = _KINDS.get(kind, _AVI)
    with av.open(buffer, "w", format=form) as container:
        container.metadata.update(metadata)
        stream: Any = container.add_stream(codec, rate=_RATE)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(round(seconds * _RATE)):
            frame = av.VideoFrame.from_ndarray(_pixels(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _RATE)
            if kind == "bushnell" and number == 0:
                container.mux(_other_planes(frame, stream))
                continue
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _pixels(number: int) -> np.ndarray:
    pixels_HWC, left = np.full((SIZE[1], SIZE[0], 3), 16, np.uint8), 10 + 3 * number % 100
    pixels_HWC[40:80, left : left + 40] = 240
    return pixels_HWC


def _other_planes(frame: av.VideoFrame, stream: Any) -> list[Any]:
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = *SIZE, "yuvj422p"
    encoder.time_base = Fraction(1, _RATE)
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    for packet in packets:
        packet.stream = stream
    return packets
