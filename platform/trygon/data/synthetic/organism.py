"""One picture of one individual: its genes, its body plan, how it stands, what is behind it. Knows no files."""

import io
import math
from collections.abc import Callable
from enum import IntEnum

import numpy as np
from PIL import Image

from trygon.data.synthetic import animals, plants
from trygon.data.synthetic.coat import Coat
from trygon.data.synthetic.genes import Genome, individual
from trygon.data.synthetic.scenery import background, lit, pale_ground
from trygon.data.synthetic.strokes import Canvas, Pose
from trygon.taxonomy.taxon import Rank

Plan = Callable[[Canvas, Genome, Coat, np.random.Generator], None]

PLANS: dict[str, Plan] = {
    "insect": animals.insect,
    "arthropod": animals.arthropod,
    "fish": animals.fish,
    "star": animals.star,
    "bird": animals.bird,
    "snail": animals.snail,
    "beast": animals.beast,
    "worm": animals.worm,
    "flower": plants.flower,
    "frond": plants.frond,
    "rosette": plants.rosette,
    "mushroom": plants.mushroom,
    "shelf": plants.shelf,
    "coral": plants.coral,
}
"""The body plans. A phylum has one for all its descendants."""

_ANY_TURN = {"insect", "arthropod", "star", "bird", "worm", "rosette"}
"""Plans seen from above: they lie in all directions. The others stand on the ground."""

_ZOOM = {"fish": 1.2, "bird": 1.1, "beast": 1.15, "snail": 1.2, "arthropod": 1.15, "frond": 1.05}
"""How much larger a plan is drawn so that all fill their pictures alike."""


class Setting(IntEnum):
    """Where a picture is taken."""

    FIELD = 0
    SPECIMEN = 1


def draw(
    lineage: tuple[str, ...], plan: str, seed: int, rng: np.random.Generator, size: tuple[int, int], setting: Setting
) -> Image.Image:
    """A picture of an individual of the species that the seven names are: RGB, `size` is (width, height) in pixels."""
    assert len(lineage) == len(Rank)
    specimen = setting is Setting.SPECIMEN
    genome = individual(seed, lineage, rng)
    share = rng.uniform(0.9, 1.05) if specimen else rng.uniform(0.72, 1.15)
    side = int(min(size) * share)
    body = _body(genome, plan, rng, side)
    image = pale_ground(size, rng) if specimen else background(size, rng)
    room = np.array(size) - side
    left, top = (np.rint(room / 2 + rng.uniform(-0.4, 0.4, 2) * np.abs(room))).astype(int).tolist()
    image.paste(body, (left, top), body)
    return image if specimen else lit(image, rng)


_CUTOUT_ZOOM = 0.6
"""How much smaller a body is drawn for a cut-out: in a picture some limbs may end beyond the border, here none may."""


def draw_cutout(lineage: tuple[str, ...], plan: str, seed: int, rng: np.random.Generator, side: int) -> Image.Image:
    """An individual on nothing, whole: RGBA, a square of `side` pixels."""
    return _body(individual(seed, lineage, rng), plan, rng, side, _CUTOUT_ZOOM)


def _body(genome: Genome, plan: str, rng: np.random.Generator, side: int, zoom: float = 1.0) -> Image.Image:
    coat = Coat.of(genome)
    canvas = Canvas(side, _pose(plan, rng, zoom), coat.base)
    PLANS[plan](canvas, genome, coat, rng)
    return canvas.finished()


def _pose(plan: str, rng: np.random.Generator, zoom: float) -> Pose:
    turn = rng.uniform(0, 2 * math.pi) if plan in _ANY_TURN else rng.normal(0, 0.18)
    flip = 1 if plan in _ANY_TURN or rng.random() < 0.5 else -1
    squeeze = rng.uniform(0.82, 1.0)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    skew = np.array([[flip * 0.92, rng.uniform(-0.1, 0.1)], [0.0, squeeze * 0.92]])
    return Pose(rotation @ skew * _ZOOM.get(plan, 1.0) * zoom, rng.uniform(-0.12, 0.12, 2))


def encode(image: Image.Image, quality: int = 85) -> bytes:
    """The picture as JPEG; a cut-out as PNG."""
    buffer = io.BytesIO()
    if image.mode == "RGBA":
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
