"""What is done to the frames of an archive, as files: nothing is loaded here."""

from dataclasses import dataclass, field

from trygon.archive.detection.detector import BoxSource, DetectorFile
from trygon.archive.detection.megadetector import is_weights
from trygon.archive.inputs.listing import Archive
from trygon.archive.media.reading import Reading
from trygon.models.encoders import ENCODERS
from trygon.models.encoders.choice import EncoderChoice


@dataclass(frozen=True)
class Work:
    """Where the frames are, what says where animals are in them, and what makes vectors."""

    archive: Archive
    encoder: EncoderChoice
    boxes: BoxSource
    reading: Reading = field(default_factory=Reading)

    @property
    def on_gpu(self) -> bool:
        """Whether one of the networks can run on a GPU."""
        return ENCODERS[self.encoder.name].on_gpu or (
            isinstance(self.boxes, DetectorFile) and is_weights(self.boxes.path)
        )
