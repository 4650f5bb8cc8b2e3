"""Output folders: what goes wrong with one, in one line, and one writer at a time."""

import errno
import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trygon.errors import TrygonError, UserError, origin
from trygon.lease import TTL_S, HeldError, Hold, Lease
from trygon.storage import address_of, is_remote, join

_FULL = {errno.ENOSPC, errno.EDQUOT}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


@contextmanager
def writing_to(folder: str | Path, option: str = "--out") -> Iterator[None]:
    """Turn the system's refusals within, Ray's workers included, into errors that name the folder and the way out."""
    try:
        yield
    except Exception as error:
        refusal = origin(error)
        if not isinstance(refusal, OSError):
            raise
        if is_remote(folder) and refusal.errno in _FULL:
            raise TrygonError(
                f"a disk is full, of this machine or of a worker's; free some space in {tempfile.gettempdir()}, or "
                "set TMPDIR (TRYGON_CACHE for what is fetched) to a folder on another disk, and give the same command "
                "again: it goes on"
            ) from error
        if is_remote(folder) or _is_elsewhere(refusal, folder):
            raise
        if refusal.errno in _FULL:
            message = f"the disk of {folder} is full; free some space and give the same command again: it goes on"
            raise TrygonError(message) from error
        if refusal.errno in _CLOSED and refusal.filename is None:
            # From a worker: Ray Data takes the file's name away.
            message = f"{refusal.strerror}: see that all workers can read the inputs and write {folder}"
            raise UserError(message) from error
        if refusal.errno in _CLOSED:
            raise UserError(f"{folder} cannot be written to ({refusal.strerror}); give another {option}") from error
        raise


@contextmanager
def room_in(folder: str | Path, variable: str) -> Iterator[None]:
    """Turn a full disk within, where only files that pass are written, into an error that names the folder and the
    variable of the environment that chooses another one."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise TrygonError(
            f"the disk of {folder} is full; free some space, or set {variable} to a folder on another disk, and give "
            "the same command again: it goes on"
        ) from error


def _is_elsewhere(refusal: OSError, folder: str | Path) -> bool:
    """Whether the error names a file that is neither in the folder nor above it, such as an input."""
    if not isinstance(refusal.filename, str):
        return False
    path, folder = Path(refusal.filename).absolute(), Path(folder).absolute()
    return not (path.is_relative_to(folder) or folder.is_relative_to(path))


@contextmanager
def only_writer(folder: str | Path, ttl_s: float = TTL_S) -> Iterator[Hold]:
    """Hold the folder for this process; `HeldError` where another one holds it. Ends with the process, however.

    On S3 call `check` of what is yielded before each write that counts. A process that was killed holds the folder for
    `ttl_s` more; taking it over takes as long.
    """
    address = address_of(join(folder, ".lock"))
    if address is None:
        with _locked(Path(folder)):
            yield Hold()
        return
    lease = Lease(address, str(folder), ttl_s)
    lease.take()
    try:
        yield lease
    finally:
        lease.end()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HeldError(folder) from error
        yield
