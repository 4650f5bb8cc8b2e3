"""The galleries that requests search in and whose pictures are shown, by name.

A gallery is opened when the server starts; one that is built anew takes its place with the next start.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

import numpy as np

from trygon.gallery.gallery import Gallery, Likeness
from trygon_serving import wire
from trygon_serving.answers import RANK_NAMES
from trygon_serving.problem import Problem

_NUMBER = re.compile(r"[0-9]{1,19}")
_MOST = 2**63


@dataclass(frozen=True)
class ServedGallery:
    """A gallery under a name. Read like a `SearchedRun`."""

    kind: ClassVar = "gallery"
    name: str
    gallery: Gallery

    @property
    def model(self) -> str:
        """The digest of the model that made its vectors, or how that is named where it has none."""
        return self.gallery.card.model

    @property
    def encoder(self) -> str:
        """The identity of what ran it."""
        return self.gallery.card.encoder

    def nearest(self, vector_BD: np.ndarray, options: wire.SimilarOptions) -> list[wire.Similar]:
        """For each vector the nearest pictures of those that the options let in; none for a name that no picture has.
        `Problem` 422 for options that are of runs."""
        of_runs = ("deployment", options.deployment), ("after", options.after), ("before", options.before)
        given = [name for name, value in of_runs if value]
        if given:
            raise Problem(422, "The request is not valid", f"{given[0]}: a gallery's pictures have no camera or time")
        allowed_N = self.gallery.allowed(options.taxon)
        return [wire.Similar(pictures=self.pictures(vector_D, options.k, allowed_N)) for vector_D in vector_BD]

    def pictures(self, vector_D: np.ndarray, k: int, allowed_N: np.ndarray | None) -> list[wire.GalleryPicture]:
        """The K pictures most like a vector, best first."""
        return [self._picture(it) for it in self.gallery.nearest(vector_D, k, allowed_N)]

    def card(self) -> wire.GalleryCard:
        """What it is called, and how much there is to find."""
        card = self.gallery.card
        return wire.GalleryCard(
            name=self.name,
            num_pictures=card.num_pictures,
            num_taxa=card.num_taxa,
            model_digest=card.model,
            encoder=card.encoder,
        )

    def _picture(self, found: Likeness) -> wire.GalleryPicture:
        taxon = found.taxon
        return wire.GalleryPicture(
            cosine=found.cosine,
            picture=f"/v1/galleries/{quote(self.name)}/{found.picture_id}.jpg",
            lineage={rank: name for rank, name in zip(RANK_NAMES, taxon.lineage, strict=True) if name},
            rank=None if taxon.rank is None else RANK_NAMES[taxon.rank],
            scientific=taxon.scientific,
            common=taxon.common,
            author=found.row["rights_holder"] or "",
            license=found.row["license"] or "",
            source_url=found.row["source_url"] or "",
        )


class Galleries:
    """All of them."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        """`UserError` where one cannot be opened."""
        self._galleries = {name: ServedGallery(name, Gallery(folder)) for name, folder in folders.items()}

    def __len__(self) -> int:
        return len(self._galleries)

    def get(self, name: str | None) -> ServedGallery:
        """A gallery by name; the first without one. `Problem` 404 where there is none at all, 422 for a wrong name."""
        if not self._galleries:
            raise Problem(404, "There is no gallery to search in", "start the server with --gallery FOLDER")
        if name is None:
            return next(iter(self._galleries.values()))
        if name not in self._galleries:
            raise Problem(422, "No such gallery", f"{name!r} is not one of {', '.join(self._galleries)}")
        return self._galleries[name]

    def examples(self, key: str, vector_D: np.ndarray, name: wire.Name, k: int) -> list[wire.GalleryPicture]:
        """The pictures of a taxon most like a vector of the weights with that key, in the first gallery that has
        any."""
        if name.rank is None:
            return []
        rank = RANK_NAMES.index(name.rank)
        fitting = (it for it in self._galleries.values() if it.model == key)
        shown = ((it, it.gallery.showing(rank, name.scientific, name.kingdom)) for it in fitting)
        return next(filter(None, (it.pictures(vector_D, k, allowed_N) for it, allowed_N in shown)), [])

    def picture(self, name: str, number: str) -> bytes:
        """The JPEG of a picture by its number as text, which is looked up and never a path. `Problem` 404."""
        served = self._galleries.get(name)
        is_number = bool(_NUMBER.fullmatch(number)) and int(number) < _MOST
        data = served.gallery.thumbnail(int(number)) if served and is_number else None
        if data is None:
            raise Problem(404, "No such picture", "the galleries of /v1/galleries have none of that number")
        return data

    def cards(self) -> Sequence[wire.GalleryCard]:
        """What there is to choose from."""
        return [it.card() for it in self._galleries.values()]
