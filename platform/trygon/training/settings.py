"""What a run is made of: the values that the driver hands to every worker."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from trygon.taxonomy.captions import TextType


@dataclass(frozen=True)
class TrainSettings:
    """Everything a worker needs to know. Paths must be readable by all workers."""

    initial: str
    """The model folder that training starts from."""
    shards: tuple[str, ...]
    metrics: str
    """The JSON-lines file that rank 0 writes: a whole path or an address."""
    objective: str
    text_types: tuple[TextType, ...]
    text_draw: Literal["sample", "step"]
    template: str
    epochs: int
    steps_per_leg: int
    batch_size: int
    """Of all workers together."""
    image_learning_rate: float
    text_learning_rate: float
    weight_decay: float
    warmup_steps: int
    feature_dropout: float
    freeze_image_trunk: bool
    freeze_text_tower: bool
    shuffle_rows: int
    readers: int
    """Processes that prepare samples for one worker."""
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as Ray Train takes them."""
        return asdict(self)
