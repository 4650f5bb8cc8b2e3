"""A picture's bytes from its world, its source and its serial number alone: whoever makes it, makes the same."""

import io

import numpy as np
from PIL import Image

from trygon.data.synthetic.organism import Setting, draw, encode
from trygon.data.synthetic.recipe import SourceKind
from trygon.data.synthetic.world import Dirt, World

_SIZES = ((400, 300), (300, 400), (360, 360), (480, 320), (320, 420), (500, 375))
_SPECIMEN_SIZES = ((256, 256), (256, 288), (320, 256), (256, 256))
_ERROR_PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>No such picture.</body></html>\n"
_KEPT_SHARE = 0.55  # of the bytes of a truncated picture


def picture_size(world: World, source: SourceKind, serial: int) -> tuple[int, int]:
    """Width and height in pixels, as the source's tables state them."""
    number = serial * 2_654_435_761 + world.recipe.seed >> 7
    if world.records[source].dirt[serial] == Dirt.TINY:
        return 16 + number % 25, 16 + number % 19
    sizes = _SPECIMEN_SIZES if source is SourceKind.BIOSCAN else _SIZES
    return sizes[number % len(sizes)]


def picture(world: World, source: SourceKind, serial: int) -> bytes:
    """The file: JPEG, unless the recipe's dirt has it otherwise."""
    records = world.records[source]
    dirt = Dirt(int(records.dirt[serial]))
    if dirt is Dirt.NOT_AN_IMAGE:
        return _ERROR_PAGE
    if records.copy_of[serial] >= 0:
        original = list(SourceKind)[int(records.copy_source[serial])]
        data = picture(world, original, int(records.copy_of[serial]))
        return _nearly(data, serial) if dirt is Dirt.NEAR_COPY else data
    image = _drawn(world, source, serial)
    if dirt is Dirt.TINY:
        image = image.resize(picture_size(world, source, serial))
    elif dirt is Dirt.GREY:
        image = image.convert("L")
    data = encode(image)
    return data[: int(len(data) * _KEPT_SHARE)] if dirt is Dirt.TRUNCATED else data


def _drawn(world: World, source: SourceKind, serial: int) -> Image.Image:
    species = int(world.records[source].species[serial])
    rng = np.random.default_rng([world.recipe.seed, 3, list(SourceKind).index(source), serial])
    specimen = source is SourceKind.BIOSCAN
    tiny = world.records[source].dirt[serial] == Dirt.TINY
    size = _SIZES[0] if tiny else picture_size(world, source, serial)
    setting = Setting.SPECIMEN if specimen else Setting.FIELD
    return draw(world.tree.lineage(species), world.tree.plan(species), world.recipe.seed, rng, size, setting)


def _nearly(data: bytes, serial: int) -> bytes:
    """The picture encoded anew; every other one is made smaller too."""
    image = Image.open(io.BytesIO(data))
    if serial % 2:
        image = image.resize((image.width * 4 // 5, image.height * 4 // 5), Image.Resampling.BICUBIC)
    return encode(image, quality=70)
