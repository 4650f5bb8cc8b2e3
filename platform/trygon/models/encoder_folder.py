"""The folder of an exported image encoder: its graph in the files of a runtime, and a card that says what it was made
of.

It lies beside what it was made of, as MODEL/encoders/NAME. Imports neither torch nor a runtime.
"""

from pydantic import BaseModel, ConfigDict, ValidationError

from trygon.errors import UserError
from trygon.models.encoders.choice import EncoderChoice
from trygon.models.folder import Identified, ImageTower, model_key
from trygon.storage import absolute, exists, join, read_json

CARD = "encoder.json"


class EncoderCard(BaseModel):
    """`encoder.json`. It is written last, so that a folder with a card is whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str
    model: str
    model_digest: str
    """SHA-256 of the model's weights; blank for a model from the hub."""
    digest: str
    """SHA-256 over the files of the graph."""
    pictures: str
    """Digest of the pictures that were given."""
    num_fitted: int
    """Pictures that the INT8 ranges were fitted to; 0 for fp32."""
    num_compared: int
    """Further ones, on which these vectors and the model's own were compared."""
    least_cosine: float
    mean_cosine: float
    made_with: dict[str, str]
    """Versions of the libraries."""

    @property
    def model_key(self) -> str:
        """The key of the model that it was made of."""
        return self.model_digest or self.model

    def made_of(self, encoder: str, model: Identified, pictures: str) -> bool:
        """Whether the same export of the same things would be this one."""
        return (self.encoder, self.model_key, self.pictures) == (encoder, model_key(model), pictures)


def encoder_place(ref: str, name: str) -> str:
    """Where a model's encoder lies; blank for a model from the hub, beside which nothing can be written."""
    return "" if ref.startswith("hf-hub:") else join(ref.removeprefix("local-dir:"), "encoders", name)


def read_card(place: str) -> EncoderCard | None:
    """The card of an exported encoder; None where there is none."""
    card = join(place, CARD)
    if not exists(card):
        return None
    try:
        return EncoderCard.model_validate(read_json(card))
    except ValidationError as error:
        raise UserError(f"{card} was made by another version; remove the folder and export again") from error


def find_exported(name: str, exported: str, tower: ImageTower, place: str) -> EncoderChoice:
    """The encoder `name`, which runs what was exported as `exported`: beside the model, or in the folder that was
    named. `UserError` where it is not there, or was made of another model."""
    folder = absolute(place) if place else encoder_place(tower.ref, exported)
    hint = f"trygon export-model --model {tower.ref} --encoder {exported}"
    if not folder:
        raise UserError(f"--encoder {name}: say where it lies, {name}:FOLDER; {hint} --out FOLDER makes it")
    card = read_card(folder)
    if card is None:
        raise UserError(f"--encoder {name}: there is none in {folder}; make it: {hint}")
    if card.encoder != exported:
        raise UserError(f"--encoder {name}: what lies in {folder} is {card.encoder}")
    if card.model_key != model_key(tower):
        raise UserError(f"--encoder {name}: {folder} was made of another model; make it again: {hint}")
    return EncoderChoice(name, tower, folder, f"{name}:{card.digest}")
