"""Pictures out of Debian packages, each with its licence, author and source. Knows no taxonomy."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from trygon.data.packages import GCOMPRIS, MATE_BACKGROUNDS, PLASMA_WALLPAPERS, TUXPAINT, Package, read_deb
from trygon.data.qtbundle import read_bundle

# Pictures are named by collection, for the paths in the packages are long: collection → bundle, folder in the bundle.
_GCOMPRIS_COLLECTIONS = {
    "erase": ("erase", "erase/resource"),
    "explore_world_animals": ("explore_world_animals", "explore_world_animals/resource/animals"),
    "explore_farm_animals": ("explore_farm_animals", "explore_farm_animals/resource/animals"),
    "explore_monuments": ("explore_monuments", "explore_monuments/resource"),
    "fishes": ("categorization", "categorization/resource/images/fishes"),
    "clickgame": ("clickgame", "clickgame/resource"),
}
_PLAIN_PACKAGES = {
    "tuxpaint": (TUXPAINT, "usr/share/tuxpaint/stamps/{}"),
    "mate": (MATE_BACKGROUNDS, "usr/share/backgrounds/mate/nature/{}"),
    "plasma": (PLASMA_WALLPAPERS, "usr/share/wallpapers/{stem}/contents/images/2560x1600.jpg"),
}


@dataclass(frozen=True)
class Credit:
    """Whose picture it is."""

    license: str = ""
    author: str = ""
    source_url: str = ""


TUXPAINT_CREDIT = Credit("GPL-2", "Bill Kendrick and the Tux Paint contributors", "https://tuxpaint.org/stamps/")


@dataclass(frozen=True)
class Picture:
    """An image file, named `package/…`, as it stood in its package."""

    path: str
    package: Package
    data: bytes
    credit: Credit


def packages_of(paths: Iterable[str]) -> list[Package]:
    """The packages that hold these pictures."""
    names = {path.split("/", 1)[0] for path in paths}
    return [GCOMPRIS if name == "gcompris" else _PLAIN_PACKAGES[name][0] for name in sorted(names)]


def read_pictures(paths: Iterable[str], files: Mapping[Package, Path]) -> Iterator[Picture]:
    """The pictures, package by package; `files` says where each package's file lies."""
    by_package: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        package, inside = path.split("/", 1)
        by_package[package].append(inside)
    for name, inside in by_package.items():
        if name == "gcompris":
            yield from _read_gcompris(files[GCOMPRIS], inside)
        else:
            package, pattern = _PLAIN_PACKAGES[name]
            members = {pattern.format(path, stem=PurePosixPath(path).stem): path for path in inside}
            credit = TUXPAINT_CREDIT if package is TUXPAINT else Credit()
            for member, data in read_deb(files[package], members):
                yield Picture(f"{name}/{members[member]}", package, data, credit)


def _read_gcompris(deb: Path, paths: Iterable[str]) -> Iterator[Picture]:
    by_bundle: dict[str, dict[str, str]] = defaultdict(dict)
    for path in paths:
        collection, name = path.split("/", 1)
        bundle, folder = _GCOMPRIS_COLLECTIONS[collection]
        by_bundle[f"usr/share/gcompris-qt/rcc/{bundle}.rcc"][f"gcompris/src/activities/{folder}/{name}"] = path
    for bundle, content in read_deb(deb, by_bundle):
        files = dict(read_bundle(content))
        credits = {
            f"{member.removesuffix('README')}{name}": credit
            for member, text in files.items()
            if member.endswith("/README")
            for name, credit in parse_credits(text.decode()).items()
        }
        for member, path in by_bundle[bundle].items():
            yield Picture(f"gcompris/{path}", GCOMPRIS, files[member], credits.get(member, Credit()))


_FIELDS = {"license": "license", "copyright": "author", "source": "source_url"}


def parse_credits(text: str) -> dict[str, Credit]:
    """The credits of a GCompris README: blocks between blank lines, of fields in any order and file names."""
    found: dict[str, Credit] = {}
    for block in re.split(r"\n\s*\n", text):
        credit, names = Credit(), []
        for line in block.splitlines():
            field = re.match(r"(\w+):\s*(.*)", line)
            if field and (key := field[1].lower()) in _FIELDS:
                credit = replace(credit, **{_FIELDS[key]: field[2].removeprefix("© ").strip()})
            elif not field or field[1] == "Files":
                names.append((field[2] if field else line).strip())
        found |= dict.fromkeys(filter(None, names), credit)
    return found
