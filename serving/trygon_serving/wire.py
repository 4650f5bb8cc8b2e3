"""What goes over HTTP: what is asked, what is answered. Knows nothing of how answers are found.

The client of this package reads the same classes, so nothing heavy is imported here.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NaiveDatetime
from pydantic.json_schema import SkipJsonSchema

from trygon_serving.problem import ProblemDocument

MAX_K = 100
MAX_EXAMPLES = 16
MAX_NAMES = 1000
MAX_NAME_CHARACTERS = 200
MAX_CLADES = 16
MAX_PAGE = 500
"""How much one request may ask for, whoever runs the server; what may be changed is in `trygon.limits`."""

RankName = Literal["kingdom", "phylum", "class", "order", "family", "genus", "species"]


def _time_of(value: object) -> object:
    """JSON has texts for times, also where numbers have to be numbers."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


CameraTime = Annotated[NaiveDatetime, BeforeValidator(_time_of)]
"""By a camera's own clock, which knows no time zone."""

Decision = Literal["classifier", "rollup", "geofence"]
Label = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS, pattern=r"\S")]
Base64Images = Annotated[list[str], Field(min_length=1, json_schema_extra={"items": {"contentEncoding": "base64"}})]


class Options(BaseModel):
    """How to name what is on the images: in the query, as fields of a form, or beside the images in JSON."""

    model_config = ConfigDict(extra="forbid")

    k: int = Field(5, ge=1, le=MAX_K, description="how many taxa `top` lists")
    rank: RankName = Field("species", description="the deepest rank that is named; `top` lists taxa of this rank")
    floor: float = Field(0.5, ge=0, le=1, description="least probability of a rank that is named")
    model: Label | None = Field(
        None, description="a model of `/v1/models`, or MODEL/VERSION; by default the first that has the label set"
    )
    labels: Label | None = Field(None, description="a label set of the model; by default its first")
    clade: list[Label] = Field(
        [], max_length=MAX_CLADES, description="only taxa of these clades: names, or paths from the kingdom down (a/b)"
    )
    checklist: Label | None = Field(
        None, description="all taxa compete, but only what is on this checklist of `/v1/label-sets` is named"
    )
    names: list[Label] = Field(
        [], max_length=MAX_NAMES, description="these names, in any words, instead of the label set's taxa"
    )
    examples: int = Field(
        0,
        ge=0,
        le=MAX_EXAMPLES,
        description="how many pictures of a gallery to show of what is named, the likest first",
    )


class ClassifyBody(Options):
    """Images in base64, and how to name what is on them."""

    images: Base64Images


class SimilarOptions(BaseModel):
    """Where to search, and what may be found there. Names and times are those of the run or the gallery.

    Without `run` and `gallery` it is the first run, or where there is none the first gallery.
    """

    model_config = ConfigDict(extra="forbid")

    k: int = Field(5, ge=1, le=MAX_K, description="how many observations or pictures for each image")
    run: Label | None = Field(None, description="a run of `/v1/runs`; by default the first")
    gallery: Label | None = Field(None, description="a gallery of `/v1/galleries`, instead of a run")
    taxon: list[Label] = Field(
        [], max_length=MAX_CLADES, description="only what has one of these names, scientific or common, at any rank"
    )
    deployment: list[Label] = Field([], max_length=MAX_CLADES, description="only of these cameras of a run")
    after: CameraTime | None = Field(None, description="only of this time and later, by the cameras' clocks")
    before: CameraTime | None = Field(None, description="only earlier than this, by the cameras' clocks")


class SimilarBody(SimilarOptions):
    """Images in base64, and what may be found."""

    images: Base64Images


class EmbedOptions(BaseModel):
    """Whose vectors are wanted."""

    model_config = ConfigDict(extra="forbid")

    model: Label | None = Field(None, description="a model of `/v1/models`, or MODEL/VERSION; by default the first")


class EmbedBody(EmbedOptions):
    """Images in base64, and whose vectors are wanted."""

    images: Base64Images


class Clade(BaseModel):
    """The best clade at one rank. At species the name is the binomial."""

    name: str
    probability: float


class Name(BaseModel):
    """A taxon: its deepest rank, its names, and how probable it is.

    `asked` is the name as the request gave it, null where it gave none. One that is no taxon of the label set, or the
    name of several, has no rank and no other names.
    """

    kingdom: SkipJsonSchema[str] = Field(default="", exclude=True)
    """Which of its namesakes it is, for the examples; not told."""
    rank: RankName | None
    scientific: str
    common: str
    asked: str | None = None
    probability: float


class GalleryPicture(BaseModel):
    """A picture of a gallery: how like the image it is (`cosine`, at most 1), what it shows, whose it is and under
    which licence, both of which have to be shown with it, and the path of a JPEG of at most 320 pixels a side."""

    cosine: float
    picture: str
    lineage: dict[RankName, str]
    rank: RankName | None
    scientific: str
    common: str
    author: str
    license: str
    source_url: str


class Answer(BaseModel):
    """What one image was found to be, or why it could not be used.

    `lineage` is the most probable path through the tree; `taxon` is that path cut at the deepest rank whose
    probability reaches the floor, null where not even the kingdom's does. `decided_by` is what ended it: the
    classifier itself (all of the path is named), the floor (rollup), or the checklist (geofence). `examples` are of
    `shown`, in the first gallery that has any.
    """

    lineage: dict[RankName, Clade] = {}
    taxon: Name | None = None
    decided_by: Decision | None = None
    top: list[Name] = []
    examples: list[GalleryPicture] = []
    problem: ProblemDocument | None = None

    @property
    def shown(self) -> Name | None:
        """What a person is told first: the best of the request's names, or the taxon, or the best guess."""
        best = self.top[0] if self.top else None
        return best if best and best.asked else self.taxon or best


class ModelCard(BaseModel):
    """Which model answered, in which version: `ref` is the name of its folder, or hf-hub:OWNER/NAME; `digest` is the
    SHA-256 of the file of its weights."""

    name: str
    version: str
    ref: str
    digest: str


class LabelsCard(BaseModel):
    """Which names there were to choose from: `digest` covers all lineages and common names of the label set,
    `num_taxa` counts those that were left by the clades or the names of the request."""

    name: str
    digest: str
    num_taxa: int
    text_type: str


class Classification(BaseModel):
    """The answers to the images of one request, in their order."""

    answers: list[Answer]
    floor: float
    rank: RankName
    crop: Literal["whole frame"] = "whole frame"
    model: ModelCard
    labels: LabelsCard
    timings_ms: dict[str, float]


class Embedding(BaseModel):
    """The unit vector of one image, or why it could not be used."""

    vector: list[float] | None = None
    problem: ProblemDocument | None = None


class Embeddings(BaseModel):
    """The vectors of the images of one request, in their order."""

    embeddings: list[Embedding]
    model: ModelCard
    timings_ms: dict[str, float]


class Neighbour(BaseModel):
    """An observation of a run: how like the image it is (`cosine`, at most 1), what it is called there, whether a
    person has confirmed or given that name, and where and when it was seen, by the camera's clock without a zone.

    Ids are texts: JSON's numbers do not hold them.
    """

    cosine: float
    observation_id: str
    type: str
    rank: RankName | None
    scientific: str
    common: str
    probability: float | None
    reviewed: bool
    media: str
    deployment: str
    timestamp: str | None


class Similar(BaseModel):
    """What looks like one image, best first, or why it could not be used: `neighbours` of a run, or `pictures` of a
    gallery."""

    neighbours: list[Neighbour] = []
    pictures: list[GalleryPicture] = []
    problem: ProblemDocument | None = None


class SimilarReply(BaseModel):
    """What looks like the images of one request, in their order, in the run or the gallery that was searched."""

    answers: list[Similar]
    run: str | None = None
    gallery: str | None = None
    model: ModelCard
    timings_ms: dict[str, float]


class RunCard(BaseModel):
    """A run that `/v1/similar` searches in, with what made its vectors."""

    name: str
    num_observations: int
    model_digest: str
    encoder: str


class GalleryCard(BaseModel):
    """A gallery that `/v1/similar` searches in, with what made its vectors."""

    name: str
    num_pictures: int
    num_taxa: int
    model_digest: str
    encoder: str


class ServedModel(BaseModel):
    """A version of a model: which share of the model's requests it is to have, whether it is ready, and why not or
    what is wrong with a newer one of its name. What it wants of an image and gives is known once it is ready."""

    model: ModelCard
    share: float
    ready: bool
    problem: str | None = None
    label_sets: list[str]
    side: int | None = None
    resize_mode: str | None = None
    dim: int | None = None


class ServedLabelSet(BaseModel):
    """A label set of a model, with the reason why its newer version is not served, if there is one."""

    model: str
    name: str
    digest: str
    num_taxa: int
    text_type: str
    problem: str | None = None


class LabelSetList(BaseModel):
    """What `labels` and `checklist` of a request can name. A label set that several versions of a model have is told
    as it is in the one with the largest share. The first label set of a model is taken by default."""

    label_sets: list[ServedLabelSet]
    checklists: list[str]


class TaxonItem(BaseModel):
    """A clade: its rank and names, the path from its kingdom that tells it from its namesakes, and how many taxa of
    the label set are in it."""

    rank: RankName
    scientific: str
    common: str
    path: str
    num_taxa: int


class TaxaPage(BaseModel):
    """Some of the clades that were asked for. `next` is the `offset` of those that follow; null after the last."""

    taxa: list[TaxonItem]
    total: int
    next: int | None
    labels: str


class Status(BaseModel):
    """`live` or `ready`."""

    status: Literal["live", "ready"]
