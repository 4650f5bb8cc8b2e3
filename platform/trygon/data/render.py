"""Source pictures to what shards hold: decoded once, brought to size, encoded once, and fingerprinted.

Knows nothing of names: what a picture shows, and which split it falls in, is decided later, on fingerprints and names
alone, so that another choice of names or splits needs no pixel again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

import numpy as np
from PIL import Image

from trygon.data.composites import clean_view, open_organism, training_view
from trygon.data.fingerprints import exact, perceptual
from trygon.data.images import BadImage, decode, encode_jpeg
from trygon.data.sources.source import Picture, is_picture
from trygon.errors import UserError
from trygon.storage import list_files, read_bytes, stable_id

MAX_ASPECT = 16
"""A picture longer than so many times its shorter side is a scale bar or a banner; a model would see nothing of it."""


class Resize(StrEnum):
    """What becomes of a picture's shape."""

    KEEP = "keep"
    """The shorter side to the given length, the aspect kept; a smaller picture stays as it is."""
    SQUASH = "squash"
    """Both sides to the given length, as BioCLIP's shards were made."""


@dataclass(frozen=True)
class Rendering:
    """How samples are made of pictures. `views` above 1 asks for that many random views, for photo sets of a few
    hundred; cut-outs among them are pasted on `backgrounds`."""

    side: int = 256
    resize: Resize = Resize.KEEP
    quality: int = 90
    min_side: int = 32
    views: int = 1
    backgrounds: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Render:
    """One picture as it may stand in a shard, or why it may not. View 0 is the picture itself."""

    source_id: str
    view: int = 0
    image: bytes = field(default=b"", repr=False)
    digest: bytes | None = None
    fingerprint: bytes | None = None
    reason: str = ""


def sample_id(source: str, source_id: str, view: int) -> int:
    """The same for the same picture and view, whatever else is curated. Spread evenly over 0..2^63."""
    return stable_id(source, source_id, str(view))


def render(picture: Picture, source: str, rendering: Rendering) -> Iterator[Render]:
    """All views of a picture; one row with a reason where it cannot be used."""
    if picture.reason:
        yield Render(picture.source_id, reason=picture.reason)
        return
    try:
        image = _open(picture.data, rendering)
    except BadImage as error:
        yield Render(picture.source_id, reason=error.reason)
        return
    if min(image.size) < rendering.min_side:
        yield Render(picture.source_id, reason="too_small")
        return
    if max(image.size) > MAX_ASPECT * min(image.size):
        yield Render(picture.source_id, reason="too_narrow")
        return
    clean = _clean(image, rendering)
    data = encode_jpeg(clean, rendering.quality)
    # Fingerprints are of what would be stored: two files that give the same sample are one.
    yield Render(picture.source_id, 0, data, exact(data), perceptual(clean))
    for view in range(1, rendering.views + 1) if rendering.views > 1 else ():
        rng = np.random.default_rng([rendering.seed, sample_id(source, picture.source_id, view)])
        shown = training_view(image, load_backgrounds(rendering.backgrounds), rendering.side, rng)
        yield Render(picture.source_id, view, encode_jpeg(shown, rendering.quality))


def _open(data: bytes, rendering: Rendering) -> Image.Image:
    """The decoded picture, at a reduced scale where that is enough; of photo sets with cut-outs, as RGBA."""
    if rendering.views == 1:
        return decode(data, min_side=max(rendering.side, rendering.min_side))
    decode(data)  # says what is wrong with it
    return open_organism(data)


def _clean(image: Image.Image, rendering: Rendering) -> Image.Image:
    side = rendering.side
    if image.mode == "RGBA":
        return clean_view(image, side)
    if rendering.resize is Resize.SQUASH:
        return _resized(image, side, side)
    scale = side / min(image.size)
    if scale >= 1:
        return image
    return _resized(image, *(max(side, round(length * scale)) for length in image.size))


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """Bicubic with antialiasing as Pillow has it, to one grey level; torch takes half the time for it."""
    import torch

    torch.set_num_threads(1)  # each worker has one CPU
    planes_1CHW = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    small_1CHW = torch.nn.functional.interpolate(planes_1CHW, (height, width), mode="bicubic", antialias=True)
    return Image.fromarray(small_1CHW[0].permute(1, 2, 0).contiguous().numpy())


_BACKGROUND_SIDE = 768


@lru_cache(maxsize=2)
def load_backgrounds(folder: str) -> tuple[Image.Image, ...]:
    """The pictures of a folder tree, in the order of their names, reduced once a process; none for a blank name.
    `UserError` for one that is broken."""
    paths = [path for path in list_files(folder) if is_picture(path)] if folder else []
    return tuple(_background(path) for path in paths)


def _background(path: str) -> Image.Image:
    try:
        image = decode(read_bytes(path))
    except BadImage as error:
        hint = "remove it, or bring it here again"
        raise UserError(f"the background {path} cannot be used ({error}): {hint}") from error
    image.thumbnail((2 * _BACKGROUND_SIDE, _BACKGROUND_SIDE))
    return image
