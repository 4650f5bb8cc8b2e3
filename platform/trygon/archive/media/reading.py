"""The bytes of one file of an archive, or the reason why there are none, within a time limit.

A file that cannot be had is a row; an archive that is gone ends the run. So whatever goes wrong with a file, the
archive itself is asked whether it still answers.
"""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from trygon import s3
from trygon.archive.inputs.listing import Archive
from trygon.archive.media.video import Sampling
from trygon.data.images import BadImage
from trygon.errors import TrygonError, UserError
from trygon.storage import address_of, is_remote, join, open_input
from trygon.threads import ahead

TIMEOUT_S = 300.0
_PROBE_S = 60.0
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Reading:
    """How the files of an archive are read."""

    timeout_s: float = TIMEOUT_S
    """How long a file, or the next frame of a video, may take to be read and decoded."""
    label_truncated: bool = False
    """Whether what can be seen of a file that was cut off counts as a frame."""
    sampling: Sampling = field(default_factory=Sampling)
    """Which frames of a video are looked at."""

    def __str__(self) -> str:
        """What decides which frames are looked at."""
        return f"{self.sampling.fps:g} fps, at most {self.sampling.most}, cut off files: {self.label_truncated}"


def read_file(archive: Archive, path: str, member: str | None = None) -> bytes:
    """A file's content. Raises `BadImage` with reason vanished, unreadable, denied, timeout or s3_error, and
    `TrygonError` where the archive is the reason."""
    try:
        return archive.read(path, member)
    except (OSError, TrygonError) as error:
        raise fault(archive, error) from error


def require_rights(archive: Archive, files: Sequence[Mapping[str, Any]]) -> None:
    """`UserError` where S3 refuses most of these files, as LISTED rows, and gives none: then the keys lack a right,
    and no file is the reason. Of each its beginning is asked for, until one is given or S3 does not answer."""
    # An empty file is never asked for.
    files = [row for row in files if row["bytes"] and not row["failure"]] if is_remote(archive.root) else []
    refusals = []
    for row in files:
        place = row["path"] if row["member"] is None else row["member"].rpartition("@")[0]
        try:
            with open_input(join(archive.root, place) if place else archive.root) as file:
                file.read(1)
            return
        except s3.DeniedError as error:
            refusals.append(error)
        except (OSError, TrygonError) as error:
            if not isinstance(fault(archive, error), BadImage):
                return  # nothing answers, which is found again with the first file that is read
            # Else a row will tell; a refusal that is longer than the file is none that can be read.
    if len(refusals) > len(files) / 2:
        told = f"S3 refuses {len(refusals)} of {len(files)} files that were tried, and gave none"
        raise UserError(f"{told}; the last: {refusals[-1]}") from refusals[-1]


def open_file(archive: Archive, path: str, member: str | None = None) -> io.BufferedIOBase:
    """A file to read from in any order; what lies on S3 is copied to a file of this machine, which goes with it.
    Raises as `read_file` does."""
    if member:
        return io.BytesIO(read_file(archive, path, member))
    place = join(archive.root, path)
    try:
        file = open_input(place)
        if not is_remote(place):
            return file
        with file:
            copy = cast("io.BufferedRandom", tempfile.TemporaryFile())  # noqa: SIM115 - it is the caller's to close
            shutil.copyfileobj(file, copy, _PIECE_BYTES)
            copy.seek(0)
            return copy
    except (OSError, TrygonError) as error:
        raise fault(archive, error) from error


def digest_now(archive: Archive, path: str, member: str | None = None) -> str | None:
    """SHA-256 of a file, read in pieces; None where it cannot be read. Raises `TrygonError` where the archive is the
    reason."""
    try:
        with open_file(archive, path, member) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, BadImage):
        return None


def fault(archive: Archive, error: Exception) -> Exception:
    """What is to be raised for an error in reading a file: `BadImage` where the archive itself still answers."""
    if isinstance(error, s3.DeniedError):  # that is an answer
        return BadImage("denied", str(error))
    if isinstance(error, UserError):
        return error
    if not _answers(archive):
        return error if isinstance(error, TrygonError) else _gone(archive)
    match error:
        case FileNotFoundError():
            reason = "vanished"
        case TrygonError():
            reason = "s3_error"
        case TimeoutError():
            reason = "timeout"
        case _:
            reason = "unreadable"
    return BadImage(reason, str(error))


def _answers(archive: Archive) -> bool:
    try:
        return next(ahead(_ask(archive), _PROBE_S))
    except TimeoutError:
        return False


def _ask(archive: Archive) -> Iterator[bool]:
    """Whether the archive is still there: a disk that was pulled out leaves no folder, or an empty one."""
    address = address_of(archive.root)
    if address:
        yield s3.answers(address)
        return
    if os.path.isfile(archive.root):
        yield True
        return
    try:
        with os.scandir(archive.root) as entries:
            yield next(entries, None) is not None
    except OSError:
        yield False


def _gone(archive: Archive) -> TrygonError:
    return TrygonError(f"the archive {archive.uri} cannot be read any more: bring its disk or network back, run again")
