"""iNaturalist 2021 (the competition's files): one JSON and one folder or archive a split. No other taxonomy is asked.

Of train, train_mini and val one is read: the first that is there, for train_mini is a part of train and val is what
models are compared on. To read another one, give its own folder (`…/val`). Test pictures have no labels.
"""

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from trygon.data.sources.listing import base_name, is_archive, parent, units_of
from trygon.data.sources.members import read_members, read_pictures, readable
from trygon.data.sources.source import Picture, Unit, is_picture
from trygon.data.sources.tables import to_records
from trygon.errors import UserError
from trygon.storage import exists, join, open_input, read_json
from trygon.taxonomy.taxon import RANKS

SPLITS = ("train", "train_mini", "val")
_HINT = "put train.json and the folder train/ or train.tar.gz there, or those of train_mini or val"
_FOLDER_PARTS = 8  # a number and seven names
_CATEGORY_NAMES = (*RANKS[:-1], "specific_epithet")


@dataclass(frozen=True)
class INat21:
    """`uri` holds `train.json` and `train/` or `train.tar.gz`; ids are the JSON's `file_name`."""

    uri: str
    name: str = "inat21"

    def records(self) -> pa.Table:
        """From the JSON; without one from the names of the folders, which have neither common names nor licences."""
        root, split = self._split()
        content = _read_json(root, split)
        return _from_folders(self._paths()) if content is None else _from_json(content)

    def units(self) -> list[Unit]:
        """The split's files in groups, or its archive."""
        root, split = self._split()
        archives = {f"{split}{suffix}" for suffix in (".tar.gz", ".tar", ".tgz", ".zip")}
        return units_of(root, _HINT, lambda path: path.startswith(f"{split}/") or path in archives)

    def read(self, unit: Unit) -> Iterator[Picture]:
        """Pictures by split, folder and file, however the archive was packed."""
        _, split = self._split()
        return read_pictures(unit, lambda path: _source_id(split, path))

    def _split(self) -> tuple[str, str]:
        own = base_name(self.uri)
        if own in SPLITS:
            return parent(self.uri), own
        for split in SPLITS:
            if any(exists(join(self.uri, split + suffix)) for suffix in ("", ".tar.gz", ".tar", ".tgz", ".zip")):
                return self.uri, split
        raise UserError(f"{self.uri} holds no pictures of iNaturalist 2021: {_HINT}")

    def _paths(self) -> Iterator[str]:
        """The ids of all pictures. An archive is read from front to back for them."""
        _, split = self._split()
        for unit in self.units():
            paths: list[str] = []
            if is_archive(unit.uri):
                for _ in read_members(unit, lambda path, paths=paths: bool(is_picture(path) and paths.append(path))):
                    pass  # a member that is not wanted is not read; a damaged archive tells of itself in `read`
            yield from (_source_id(split, path) for path in map(readable, unit.members or paths))


def _source_id(split: str, path: str) -> str:
    return "/".join([split, *path.split("/")[-2:]])


def _read_json(root: str, split: str) -> Any:
    """The split's JSON, plain or as it is downloaded; None where there is none."""
    if exists(join(root, f"{split}.json")):
        return read_json(join(root, f"{split}.json"))
    packed = join(root, f"{split}.json.tar.gz")
    if not exists(packed):
        return None
    with open_input(packed) as file, tarfile.open(fileobj=file, mode="r|gz") as tar:
        for header in tar:
            content = tar.extractfile(header) if header.isreg() and header.name.endswith(".json") else None
            if content:
                return json.load(content)
    raise UserError(f"{packed} holds no JSON: fetch it again")


def _from_json(content: Any) -> pa.Table:
    images: Sequence[dict[str, Any]] = content.get("images", ())
    categories = {category["id"]: place for place, category in enumerate(content.get("categories", ()))}
    labels = {label["image_id"]: categories.get(label["category_id"], -1) for label in content.get("annotations", ())}
    places = np.fromiter((labels.get(image["id"], -1) for image in images), np.int64, len(images))
    kept = [image for image, place in zip(images, places, strict=True) if place >= 0]
    taken = pa.array(places[places >= 0])

    def of_category(key: str) -> pa.Array:
        return pa.array([str(each.get(key) or "") for each in content["categories"]], pa.string()).take(taken)

    licenses = {each["id"]: each.get("name") or each.get("url") or "" for each in content.get("licenses", ())}
    columns: dict[str, Any] = {"source_id": [image["file_name"] for image in kept]}
    if kept:
        columns |= {rank: of_category(key) for rank, key in zip(RANKS, _CATEGORY_NAMES, strict=True)}
        columns["common"] = of_category("common_name")
        columns["license"] = [licenses.get(image.get("license"), "") for image in kept]
        columns["rights_holder"] = [image.get("rights_holder") or "" for image in kept]
    return to_records(columns)


def _from_folders(paths: Iterator[str]) -> pa.Table:
    """From folders such as `00001_Animalia_…_Genus_epithet`; a name of more or fewer parts cannot be told apart."""
    rows = ((path, path.split("/")[-2].split("_")) for path in paths)
    named = [(path, *parts[1:]) for path, parts in rows if len(parts) == _FOLDER_PARTS]
    columns = [list(column) for column in zip(*named, strict=True)] or [[] for _ in range(_FOLDER_PARTS)]
    return to_records(dict(zip(("source_id", *RANKS), columns, strict=True)))
