"""What a run is made of: the values that a user gives, and those that the driver hands to every worker."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from trygon.taxonomy.captions import MIXED, PUBLISHED, TextType, check_template

Precision = Literal["fp32", "bf16", "fp16"]
FIRST_STEP_S = 600
"""That long workers wait for each other at least, until they have taken a step: they read the model, compile it and
find their first samples at unlike speeds."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LearningSettings(_Settings):
    """What a model learns from, and how: a run with another of these makes another model."""

    objective: Literal["clip", "clip_taxa", "clip_tree", "siglip", "siglip_taxa", "classes", "classes_tree"] = (
        "clip_taxa"
    )
    """`clip`; `clip_taxa`, where samples of one taxon are no negatives of each other; `clip_tree`, where relatives are
    weak ones; `siglip` and `siglip_taxa`; and for comparison `classes`, a classifier of species, and `classes_tree`,
    one at each rank."""
    sources: dict[str, Annotated[float, Field(gt=0, le=100)]] = Field(default={})
    """Train on these sources alone, each so many times an epoch: `inat21: 1`, `eol: 0.5` (half of its samples)."""
    text_types: tuple[TextType, ...] = MIXED
    """Text types to mix."""
    text_draw: Literal["sample", "step"] = "sample"
    """What a text type is drawn for: each `sample` and epoch or, as BioCLIP did, each `step` with all its samples."""
    template: str = PUBLISHED
    """What a caption says. `{name}` is the taxon in the text type drawn; {scientific}, {taxonomic}, {common} and the
    seven ranks can stand beside it or in its place."""
    crop_ratio: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(ge=1)]] = (1.0, 1.0)
    """Least and greatest ratio of a crop's width to its height, beside the picture's own; 0.75 and 1.33 were
    BioCLIP's. A crop has nine tenths of the area or more."""
    mirror: bool = True
    """Show the mirror image of a crop half the time. BioCLIP did not."""
    batch_size: int = Field(default=256, ge=2)
    """Samples in a step, over all workers."""
    replay_batch_size: int = Field(default=0, ge=0)
    """General pictures that are replayed in a step, over all workers."""
    epochs: int = Field(default=10, ge=1)
    """Passes over the training shards."""
    steps_per_leg: int = Field(default=100, ge=1)
    """Steps whose samples are mixed with each other. A checkpoint follows one of them."""
    shuffle_rows: int = Field(default=1024, ge=0)
    """Rows in the buffer that mixes neighbours."""
    image_learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of the image tower and the logit scale."""
    text_learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of the text tower."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor on the learning rate of each block beside that of the block behind it."""
    warmup_steps: int = Field(default=100, ge=0)
    """Steps over which the learning rates rise."""
    weight_decay: float = Field(default=0.2, ge=0)
    """Weight decay of AdamW, on matrices."""
    beta2: float = Field(default=0.98, gt=0, lt=1)
    """The second beta of AdamW."""
    max_gradient_norm: float = Field(default=0.0, ge=0)
    """Longer gradients are cut to this length; 0 for no limit."""
    precision: Precision = "fp32"
    """What the towers compute in. Weights are kept in fp32."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Keep a moving average of the weights, and make the model of that; 0 for none."""
    initial_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the initial weights in the final ones, for training on few species (arXiv:2109.01903)."""
    freeze_image_trunk: bool = False
    """Keep the image trunk as it is (of a tower that is open_clip's own, all of it). Its features are then computed
    once; every epoch sees the same crops."""
    feature_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the features of a frozen image trunk."""
    freeze_text_tower: bool = False
    """Keep the text tower as it is."""
    seed: int = Field(default=0, ge=0)
    """Decides orders, crops and text types."""

    @field_validator("template")
    @classmethod
    def _fields_known(cls, template: str) -> str:
        return check_template(template)


class MachineSettings(_Settings):
    """How machines are put to it, how often they save and measure, and what they bear: a run that was stopped goes on
    with others of these, to the same model."""

    readers: int = Field(default=1, ge=1)
    """Processes that decode pictures for each worker."""
    threads: int = Field(default=0, ge=0)
    """Threads that each worker computes with where there are no GPUs; 0 for its share of the machine's cores."""
    micro_batch: int = Field(default=0, ge=0)
    """Samples that a worker holds the activations of at once; 0 for all of its own. The gradients are the same."""
    loss_tile: int = Field(default=0, ge=0)
    """Samples that similarities are held with at once; 0 for all. The gradients are the same."""
    gradient_checkpointing: bool = False
    """Compute the activations of each block again on the way back, instead of keeping them."""
    sharded: bool = False
    """Keep weights, their average, gradients and optimiser state in shards over the workers (FSDP2)."""
    compile: bool = False
    """Compile the image tower with torch.compile; the text tower sees captions of too many lengths."""
    checkpoint_minutes: float = Field(default=10.0, ge=0)
    """Least time between two checkpoints; one more comes at the end."""
    validation_samples: int = Field(default=500, ge=0)
    """Validation pictures on which each checkpoint is measured, beside training; 0 for none."""
    max_broken: float = Field(default=0.1, ge=0, le=1)
    """Share of the pictures of a leg that may be unreadable; neighbours stand in for them. More end training."""
    max_cut: float = Field(default=0.5, ge=0, le=1)
    """Share of the captions of a leg, and of its replayed texts, that may be longer than the model's context. More end
    training."""
    wait_for_room_s: float = Field(default=1800.0, ge=0)
    """On a cluster, seconds to wait for machines that the workers fit on, at the start and when one is gone; and for
    storage that does not answer."""
    resize_s: float = Field(default=600.0, gt=0)
    """Least time between two changes of the number of workers; each goes back to the last checkpoint."""
    collective_timeout_s: float = Field(default=600.0, gt=0)
    """Workers that wait for each other longer than this have lost one, once they have taken a step: training goes on
    from the last checkpoint."""


class RunSettings(MachineSettings, LearningSettings):
    """Both: as the user gives them, and as workers know them. Pydantic lists the fields of the last base first."""


class TrainSettings(RunSettings):
    """Everything a worker needs to know. Paths must be readable by all workers."""

    initial: str
    """The model folder that training starts from."""
    initial_digest: str = ""
    """Of its weights: what lies there must not change under way."""
    shards: tuple[str, ...]
    row_groups: str = ""
    """The file with the row groups of the shards, and how many rows of each an epoch takes."""
    taxa: str
    """The Parquet file of all taxa in the shards."""
    replay: tuple[str, ...] = ()
    """Parquet files of general pictures, each with a text, of which each step takes some beside its samples."""
    replay_row_groups: str = ""
    """The file with their row groups."""
    validation_shards: str = ""
    """The folder with the shards to measure on."""
    validation: str = ""
    """The file that the measurements go to."""
    metrics: str
    """The JSON-lines file that rank 0 writes: a whole path or an address."""
    most_workers: int = 0
    """Workers when all are there: fewer hold no more at once than each of these does; 0 where that is not known."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as Ray Train takes them."""
        return self.model_dump()
