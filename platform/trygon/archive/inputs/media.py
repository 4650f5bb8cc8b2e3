"""A file of an archive as listed: its name, and what is known of it before it is read."""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from trygon.storage import stable_id

IMAGE_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jfif": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".avif": "image/avif",
    ".jp2": "image/jp2",
    ".jxl": "image/jxl",
}
"""Extensions of frames, in lower case, and their media types. The last five are not read here: they are listed, so
that somebody is told."""

_RAW_TYPES = {
    ".dng": "image/x-adobe-dng",
    ".nef": "image/x-nikon-nef",
    ".nrw": "image/x-nikon-nrw",
    ".cr2": "image/x-canon-cr2",
    ".cr3": "image/x-canon-cr3",
    ".crw": "image/x-canon-crw",
    ".arw": "image/x-sony-arw",
    ".sr2": "image/x-sony-sr2",
    ".raf": "image/x-fuji-raf",
    ".orf": "image/x-olympus-orf",
    ".rw2": "image/x-panasonic-rw2",
    ".pef": "image/x-pentax-pef",
    ".srw": "image/x-samsung-srw",
}
"""What cameras' sensors gave. Most are TIFF files that show a thumbnail to who does not know them."""

_PACKED = (".7z", ".rar", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst")
"""Extensions of files that hold others and are not read."""

VIDEO_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/x-m4v",
    ".3gp": "video/3gpp",
    ".3g2": "video/3gpp2",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".mts": "video/mp2t",
    ".m2ts": "video/mp2t",
    ".wmv": "video/x-ms-wmv",
    ".asf": "video/x-ms-asf",
    ".flv": "video/x-flv",
}
_MEDIA_TYPES = IMAGE_TYPES | _RAW_TYPES | VIDEO_TYPES

# Folders that cameras start when the one before is full: Reconyx, Bushnell, Browning and others; they are no cameras.
_OVERFLOW = re.compile(r"DCIM|\d+(RECNX|EK\d+|_?BTCF|MEDIA|DSCIM)", re.IGNORECASE)
# Those of other makers have five letters of their own, as the standard for all (DCF) says: told by the folder above.
_OF_DCIM = re.compile(r"[0-9]{3}[A-Z0-9_]{5}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file as listed. `path` is relative to the archive, with forward slashes."""

    path: str
    bytes: int
    mark: int = 0
    """Another one when the file was written to: its time, ETag or checksum. The same one says that nothing changed."""
    member: str | None = None
    """Where the content lies in a file that holds others; None for a file of its own."""
    failure: str | None = None
    """Why it is not to be read."""
    camera: str | None = None
    """The deployment that a list names."""
    timestamp: datetime | None = None
    """The time that a list gives, in place of the picture's own."""
    sequence: str | None = None
    """The burst that a list puts it into."""
    unlisted: bool = False
    """Whether there is a list, and it does not name the file."""

    @property
    def media_id(self) -> int:
        """The same on every machine and wherever the archive is mounted."""
        return media_id_of(self.path)

    @property
    def deployment(self) -> str:
        """What a list says, else the camera folder."""
        return self.camera or _camera_folder(self.path.rpartition("/")[0])


def media_id_of(path: str) -> int:
    """The id of the file at a path within the archive."""
    return stable_id("media", path)


def is_media(path: str) -> bool:
    """Whether a file is one to be labelled, by its name, or holds such in a way that is not read."""
    return suffix_of(path) in _MEDIA_TYPES or holds_others(path)


def is_unsupported(path: str) -> bool:
    """Whether a file is not to be read, by its name: a camera's raw file, or one that holds others."""
    return suffix_of(path) in _RAW_TYPES or holds_others(path)


def holds_others(path: str) -> bool:
    """Whether a file is a packed one of a kind that is not read here, by its name."""
    return path.lower().endswith(_PACKED)


def is_video(path: str) -> bool:
    """Whether a file is called as a video is."""
    return suffix_of(path) in VIDEO_TYPES


def media_type(path: str) -> str:
    """The media type of a file by its name; of a container that could not be opened, that of no picture known."""
    return _MEDIA_TYPES.get(suffix_of(path), "image/unknown")


def suffix_of_type(name: str) -> str:
    """An extension of files of a media type; blank where it is none of a picture or video that is known."""
    return next((suffix for suffix, known in _MEDIA_TYPES.items() if known == name.lower()), "")


@lru_cache(maxsize=4096)
def _camera_folder(folder: str) -> str:
    """The folder without overflow folders; `.` at the top of the archive."""
    folders = [name for name in folder.split("/") if name]
    if len(folders) > 1 and folders[-2].upper() == "DCIM" and _OF_DCIM.fullmatch(folders[-1]):
        folders.pop()
    while folders and _OVERFLOW.fullmatch(folders[-1]):
        folders.pop()
    return "/".join(folders) or "."


def suffix_of(path: str) -> str:
    """A file's extension in lower case, with its dot; blank where it has none."""
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""
