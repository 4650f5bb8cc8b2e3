"""What the names within an archive or a list may be, and which files are not read whatever they hold."""

import re

from trygon.archive.inputs.media import is_media

MAX_BYTES = 512 << 20
"""No picture of a camera trap has as many: what says so would only fill the memory."""

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
"""Of files that hold others."""

_ROOTED = re.compile(r"/|[A-Za-z]:/")


def leads_out(path: str) -> bool:
    """Whether a path is absolute, or leads above the folder that it starts from."""
    return bool(_ROOTED.match(path)) or ".." in path.split("/")


def refusal(path: str, num_bytes: int) -> str | None:
    """Why a member of an archive is not to be read: outside, nested, too_large; None where it may be, or is no frame.

    Nothing is ever written under these names. They are refused since ids and tables would carry them on.
    """
    if path.lower().endswith(ARCHIVE_SUFFIXES):
        return "nested"
    if not is_media(path):
        return None
    if leads_out(path):
        return "outside"
    return "too_large" if num_bytes > MAX_BYTES else None
