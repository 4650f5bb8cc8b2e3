"""What a run is made of: the values that the driver hands to every worker."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from trygon.taxonomy.captions import MIXED, PUBLISHED, TextType


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything a worker needs to know. Paths must be readable by all workers."""

    initial: str
    """The model folder that training starts from."""
    initial_digest: str = ""
    """Of its weights: what lies there must not change under way."""
    shards: tuple[str, ...]
    row_groups: str = ""
    """The file with the row groups of the shards, and how many rows of each an epoch takes."""
    sources: dict[str, float] | None = None
    """Weights of data sources; all samples where there are none."""
    taxa: str
    """The Parquet file of all taxa in the shards."""
    validation_shards: str = ""
    """The folder with the shards to measure on."""
    metrics: str
    """The JSON-lines file that rank 0 writes: a whole path or an address."""
    objective: str = "clip_taxa"
    text_types: tuple[TextType, ...] = MIXED
    text_draw: Literal["sample", "step"] = "sample"
    template: str = PUBLISHED
    epochs: int = 10
    steps_per_leg: int = 100
    checkpoint_minutes: float = 10.0
    batch_size: int
    """Of all workers together."""
    replay: tuple[str, ...] = ()
    """Parquet files of general pictures, each with a text, of which each step takes some beside its samples."""
    replay_row_groups: str = ""
    """The file with their row groups."""
    replay_batch_size: int = 0
    """Of all workers together."""
    micro_batch: int = 0
    """Samples that a worker encodes at once, 0 for all of its own; gradients are the same."""
    loss_tile: int = 0
    """Samples against which similarities are held at once, 0 for all; gradients are the same."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False
    sharded: bool = False
    image_learning_rate: float = 1e-4
    text_learning_rate: float = 1e-4
    layer_decay: float = 1.0
    weight_decay: float = 0.2
    beta2: float = 0.98
    warmup_steps: int = 100
    max_gradient_norm: float = 0.0
    ema_decay: float = 0.0
    feature_dropout: float = 0.0
    freeze_image_trunk: bool = False
    freeze_text_tower: bool = False
    initial_share: float = 0.0
    """Of the initial weights in the final ones."""
    shuffle_rows: int = 1024
    max_broken: float = 0.1
    """Share of the pictures of a leg that may be broken."""
    readers: int = 1
    """Processes that prepare samples for one worker."""
    validation_samples: int = 0
    """Pictures on which each checkpoint is measured, beside training; 0 for none."""
    resize_s: float = 600.0
    wait_for_room_s: float = 1800.0
    validation: str = ""
    """The file that the measurements go to."""
    collective_timeout_s: float = 600.0
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as Ray Train takes them."""
        return asdict(self)
