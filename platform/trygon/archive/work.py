"""What is done to the frames of an archive, as files: nothing is loaded here."""

from dataclasses import dataclass

from trygon.archive.detection import DetectorFile
from trygon.archive.listing import Archive
from trygon.models.folder import ImageTower


@dataclass(frozen=True)
class Work:
    """Where the frames are, what finds animals in them (without it, whole frames count), and what makes vectors."""

    archive: Archive
    model: ImageTower
    detector: DetectorFile | None
