"""What stands in for the photos and the backgrounds where Debian's packages can't be had: drawn ones, of a small
synthetic tree of life. Its species are made up. The same on every machine."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from trygon.data.packages import Package
from trygon.data.sample.photos import ATTRIBUTION_HEADER, credit_line, write_table
from trygon.data.synthetic.organism import Setting, draw, draw_cutout, encode
from trygon.data.synthetic.scenery import KINDS, background
from trygon.data.synthetic.tree import grow
from trygon.storage import stable_id, write_bytes, write_text
from trygon.taxonomy.taxon import RANKS

_SPECIES, _CUTOUTS, _SCENES = 100, 2, 4
_SEED = 429
"""Its tree has every body plan, and of beasts 19 species in four families: they pass the cameras of the archive."""

_MEADOW = "meadow"
RECIPE = (
    f"drawn 1: {_SPECIES} species of seed {_SEED}, {_CUTOUTS} cut-outs and a picture each, "
    f"{_SCENES} scenes of {len(KINDS) + 1} kinds"
)
"""What the drawn parts are made of. Raise its number when they are drawn in another way."""

_CUTOUT_SIDE = 600
_PICTURE_SIZE, _SCENE_SIZE = (400, 300), (600, 440)
_BEAST = "beast"
_SETTINGS = {"ground": "landscape", "sky": "landscape", "water": "water", _MEADOW: "landscape"}
_CREDIT = {"license": "CC0-1.0", "author": "drawn by trygon", "source_url": "", "package": ""}
_INTRODUCTION = """# Where these pictures come from

trygon drew them. They are no photos: the organisms and their names are made up. They stand in for the photos in
Debian's packages; `trygon sample` replaces them where it finds Debian 12's apt.

"""


def is_drawn(path: str) -> bool:
    """Whether a picture of the sample data, by its path in labels.csv, is a drawn one."""
    return path.startswith("drawn/")


def write_drawn_photos(folder: Path, _: Mapping[Package, Path]) -> None:
    """`folder`: cut-outs and pictures below drawn/, with labels.csv and ATTRIBUTION.md as the photos have them."""
    _write_labels(folder, list(_photos(folder)))


def write_drawn_backgrounds(folder: Path, _: Mapping[Package, Path]) -> None:
    """`folder`: scenes without organisms below drawn/, with labels.csv and ATTRIBUTION.md."""
    rows = []
    for kind in (*KINDS, _MEADOW):
        for number in range(_SCENES):
            path = f"drawn/{kind}-{number}.jpg"
            rng = np.random.default_rng([_SEED, stable_id(path)])
            write_bytes(folder / path, encode(background(_SCENE_SIZE, rng, kind)))
            rows.append({"path": path, "setting": _SETTINGS.get(kind, "close")} | _CREDIT)
    _write_labels(folder, rows)


def drawn_beasts(paths: Iterable[str]) -> list[str]:
    """The cut-outs of animals on four legs among the drawn photos, in a fixed order that mixes their genera."""
    found = [path for path in paths if path.startswith(f"drawn/{_BEAST}/") and path.endswith(".png")]
    return sorted(found, key=stable_id)


def drawn_grounds(backgrounds: Path) -> list[str]:
    """The drawn backgrounds for cameras: an animal can stand there, and no stone is taken for one."""
    return sorted(path.relative_to(backgrounds).as_posix() for path in backgrounds.glob(f"drawn/{_MEADOW}-*.jpg"))


def _photos(folder: Path) -> Iterator[dict[str, str]]:
    """Draw them; the rows of labels.csv."""
    tree = grow(_SPECIES, _SEED)
    for species in range(_SPECIES):
        lineage, plan = tree.lineage(species), tree.plan(species)
        named = dict(zip(RANKS, lineage, strict=True)) | {"common": tree.commons[species], "rank": "species"}
        for number in range(_CUTOUTS + 1):
            cutout = number < _CUTOUTS
            path = f"drawn/{plan}/{lineage[-2]}_{lineage[-1]}-{number}.{'png' if cutout else 'jpg'}"
            rng = np.random.default_rng([_SEED, stable_id(path)])
            if cutout:
                image = draw_cutout(lineage, plan, _SEED, rng, _CUTOUT_SIDE)
            else:
                image = draw(lineage, plan, _SEED, rng, _PICTURE_SIZE, Setting.FIELD)
            write_bytes(folder / path, encode(image))
            yield {"path": path} | named | {"kind": "cutout" if cutout else "picture", "named_by": "drawn"} | _CREDIT


def _write_labels(folder: Path, rows: list[dict[str, str]]) -> None:
    write_table(folder / "labels.csv", rows)
    write_text(folder / "ATTRIBUTION.md", _INTRODUCTION + ATTRIBUTION_HEADER + "".join(map(credit_line, rows)))
