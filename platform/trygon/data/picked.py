"""Some pictures out of a folder, the same ones each time: what an encoder is fitted to and compared on."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trygon.cache import sample_folder
from trygon.data.images import BadImage, ResizeMode, preprocess
from trygon.data.sources.source import is_picture
from trygon.errors import UserError
from trygon.storage import digest_texts, list_files, read_bytes

_MOST = 340


@dataclass(frozen=True)
class Picked:
    """Encoded pictures in an order of no meaning."""

    files: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """Of their content."""
        return digest_texts(hashlib.sha256(file).hexdigest() for file in self.files)

    def squares(self, side: int, mode: ResizeMode) -> Iterator[np.ndarray]:
        """What a model is fed of each that can be decoded: uint8 (3, side, side)."""
        for file in self.files:
            try:
                yield preprocess(file, side, mode)
            except BadImage:
                continue


def pick_pictures(folder: str | None) -> Picked:
    """Pictures of a folder and of those within, `_MOST` at most; without one, of the sample photos."""
    place = folder or str(sample_folder() / "photos")
    paths = [path for path in list_files(place) if is_picture(path)]
    if not paths:
        hint = f"--pictures {folder}: no pictures lie there" if folder else "there are no sample photos"
        raise UserError(f"{hint}; give --pictures FOLDER, or run `trygon sample`")
    random.Random(0).shuffle(paths)
    return Picked(tuple(read_bytes(path) for path in paths[:_MOST]))
