"""What goes over HTTP: the answer to one image, what is served, and problems as RFC 9457 describes them."""

from collections.abc import Mapping

from pydantic import BaseModel

from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Answer
from trygon.models.folder import ImageTower
from trygon.taxonomy.taxon import RANKS, Taxon

MAX_BODY_BYTES = 20_000_000
PROBLEM_TYPE = "application/problem+json"

STATUS_OF_REASON = {"too_large": 413, "not_an_image": 415}
"""HTTP status of a `BadImage`'s reason; 422 for all others."""


class Clade(BaseModel):
    """The best clade at one rank. At species the name is the binomial."""

    name: str
    probability: float


class Name(BaseModel):
    """A taxon: its deepest rank, its names, and how probable it is."""

    rank: str | None
    scientific: str
    common: str
    probability: float


class ModelCard(BaseModel):
    """Which weights answered: `digest` is the SHA-256 of the file."""

    ref: str
    digest: str


class LabelsCard(BaseModel):
    """Which names were to choose from: `digest` covers all lineages and common names."""

    num_taxa: int
    text_type: str
    digest: str


class Classification(BaseModel):
    """The answer to one image.

    `lineage` is the most probable path through the tree; `taxon` is that path cut at the deepest rank whose
    probability reaches the floor, null where not even the kingdom's does.
    """

    lineage: dict[str, Clade]
    taxon: Name | None
    top: list[Name]
    floor: float
    crop: str = "whole frame"
    model: ModelCard
    labels: LabelsCard
    timings_ms: dict[str, float]


class Served(BaseModel):
    """One model with its labels, as `/v1/models` lists it."""

    model: ModelCard
    labels: LabelsCard
    side: int
    resize_mode: str
    dim: int


def classification(
    answer: Answer, floor: float, tower: ImageTower, bank: LabelBank, timings_ms: Mapping[str, float]
) -> Classification:
    """An answer as it goes over the wire."""
    lineage = {
        RANKS[rank]: Clade(name=taxon.scientific, probability=probability)
        for rank, (taxon, probability) in enumerate(answer.ranks)
        if taxon.lineage[rank]
    }
    return Classification(
        lineage=lineage,
        taxon=_name(answer.taxon, answer.probability) if answer.taxon else None,
        top=[_name(taxon, probability) for taxon, probability in answer.top],
        floor=floor,
        model=model_card(tower),
        labels=labels_card(bank),
        timings_ms={name: round(value, 2) for name, value in timings_ms.items()},
    )


def served(tower: ImageTower, bank: LabelBank) -> Served:
    """What `/v1/models` says of a model and its labels."""
    return Served(
        model=model_card(tower),
        labels=labels_card(bank),
        side=tower.side,
        resize_mode=str(tower.resize_mode),
        dim=tower.dim,
    )


def model_card(tower: ImageTower) -> ModelCard:
    """The card of a model."""
    return ModelCard(ref=tower.ref, digest=tower.digest)


def labels_card(bank: LabelBank) -> LabelsCard:
    """The card of a LabelBank."""
    return LabelsCard(num_taxa=len(bank.tree), text_type=str(bank.text_type), digest=bank.tree.digest)


def _name(taxon: Taxon, probability: float) -> Name:
    rank = taxon.rank
    return Name(
        rank=None if rank is None else str(rank),
        scientific=taxon.scientific,
        common=taxon.common,
        probability=probability,
    )


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """A request that gets no answer: status, a title that is the same for all of its kind, and what happened here."""

    def __init__(self, status: int, title: str, detail: str = "", retry_after_s: int | None = None) -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.status, self.title, self.detail, self.retry_after_s = status, title, detail, retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Headers beside the body."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}

    @property
    def body(self) -> dict[str, str | int]:
        """The members of the problem document."""
        members: dict[str, str | int] = {"type": "about:blank", "title": self.title, "status": self.status}
        return {**members, "detail": self.detail} if self.detail else members
