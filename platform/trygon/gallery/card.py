"""A gallery's folder: the card that says what made it, and which folder within holds its files.

A new state of the gallery comes into a folder of its own, and the card, written last, turns to it: whoever reads has
the old pictures or the new ones, and never some of both.
"""

import re
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trygon.data.sources.listing import base_name, parent
from trygon.errors import UserError
from trygon.storage import exists, is_same, join, list_files, read_json, remove_tree, write_json

VERSION = 1
PICTURES = "pictures.parquet"
"""GALLERY rows, in the folder of a state, beside the index of their vectors."""

_CARD = "gallery.json"
_STATE = r"state-[0-9a-f]{12}"


class GalleryCard(BaseModel):
    """What a gallery was made with. `state` is the folder of its files, `model` the digest of the weights that made
    the vectors, or the model's name where it has none."""

    model_config = ConfigDict(frozen=True)

    version: int = VERSION
    state: str = Field(pattern=f"^{_STATE}$")
    model: str
    model_ref: str
    encoder: str
    dim: int = Field(ge=1)
    num_pictures: int = Field(ge=1)
    """That can be shown."""
    num_taxa: int
    num_failed: dict[str, int]
    """The others, by reason."""


def read_card(place: str | Path) -> GalleryCard:
    """The card of a gallery; `UserError` where there is none, or one of another version."""
    if not exists(join(place, _CARD)):
        raise UserError(f"{place} is no finished gallery; make one with `trygon build-gallery`")
    content = read_json(join(place, _CARD))
    try:
        card = GalleryCard.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{place} was made by another version; build the gallery again") from error
    if card.version != VERSION:
        raise UserError(f"{place} was made by another version; build the gallery again")
    return card


def new_state() -> str:
    """The name of a folder for a state that is about to be made."""
    return f"state-{uuid4().hex[:12]}"


def turn_to(place: str | Path, card: GalleryCard) -> None:
    """Make a state the gallery's. The one before it stays, as servers may have it open; older ones go, and what builds
    left that were killed."""
    kept = {card.state}
    with suppress(UserError):
        kept.add(read_card(place).state)
    write_json(join(place, _CARD), card.model_dump(mode="json"), durable=True)
    for folder in {parent(file) for file in list_files(place)}:
        name = base_name(folder)
        if re.fullmatch(_STATE, name) and is_same(parent(folder), place) and name not in kept:
            remove_tree(folder)
