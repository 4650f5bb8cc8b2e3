"""What is done to the frames of an archive, as files: nothing is loaded here."""

from dataclasses import dataclass, field

from trygon.archive.detection import DetectorFile
from trygon.archive.listing import Archive
from trygon.archive.reading import Reading
from trygon.models.encoders.choice import EncoderChoice


@dataclass(frozen=True)
class Work:
    """Where the frames are, what finds animals in them (without it, whole frames count), and what makes vectors."""

    archive: Archive
    encoder: EncoderChoice
    detector: DetectorFile | None
    reading: Reading = field(default_factory=Reading)
