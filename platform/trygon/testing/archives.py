"""A small camera-trap archive with what real ones hold: bursts, blanks, repeating names, broken and foreign files."""

import io
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

FIRST = datetime(2024, 5, 31, 12)
BROKEN = {"b/100EK113/IMG_9990.JPG": "empty", "b/100EK113/IMG_9991.JPG": "truncated", "c/note.jpg": "not_an_image"}
"""Files that cannot be read, with the reason."""


def write_tiny_archive(root: Path, num_frames: int = 6) -> int:
    """Two cameras with `num_frames` each, every third frame blank, and the broken files. How many files to label."""
    for camera in ("a/DCIM/100EK113", "b/100EK113"):
        for number in range(num_frames):
            path = root / camera / f"IMG_{number:04d}.JPG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(frame_jpeg(number, blank=number % 3 == 2))
    (root / "c").mkdir(parents=True, exist_ok=True)
    (root / "b/100EK113/IMG_9990.JPG").write_bytes(b"")
    (root / "b/100EK113/IMG_9991.JPG").write_bytes(frame_jpeg(1)[:-2000])
    (root / "c/note.jpg").write_text("changed the batteries")
    (root / "c/notes.txt").write_text("ignore me")
    return 2 * num_frames + len(BROKEN)


def frame_jpeg(number: int, blank: bool = False) -> bytes:
    """A dark frame of 320 × 240 with a bright animal, every tenth of them without a date."""
    pixels = np.random.default_rng(number).integers(0, 40, (240, 320, 3), dtype=np.uint8)
    if not blank:
        left = 100 + number % 100
        pixels[80:160, left : left + 80] = (250, 240 - number % 50, 230)
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Tiny"
    if number % 10 != 9:
        time = FIRST + timedelta(seconds=number // 3 * 600 + number)
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"{time:%Y:%m:%d %H:%M:%S}"
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()
