"""Folders that are used on this machine and lie on S3: fetched to be read, made here and then brought there.

Knows nothing of what the files hold. A folder on disk is used where it is.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trygon.cache import cache_folder
from trygon.disk import room_in
from trygon.errors import TrygonError
from trygon.lease import Hold
from trygon.storage import File, copy_file, digest_texts, is_remote, join, list_folder, open_input, remove_file

_ATTEMPTS = 3
_COPY_BYTES = 32 << 20
_UNFINISHED = ".unfinished-"
_ABANDONED_S = 24 * 3600


def local_folder(place: str | Path, without: Collection[str] = ()) -> Path:
    """The folder of this machine with the files of a place, without those of folders within.

    From S3 they come into the user's cache, whole or not at all, once for each state of the folder: its ETags tell
    when a file is another one. Files named in `without` are not needed: they are left where they are, and may change.
    No copy is removed: a server that is up may read one again at any time. Where nothing lies there, the folder does
    not exist. Raises `TrygonError`.
    """
    if not is_remote(place):
        return Path(place)
    with room_in(_copies(), "TRYGON_CACHE"):
        return _fetched(place, without)


def _copies() -> Path:
    return cache_folder() / "fetched"


def _fetched(place: str | Path, without: Collection[str]) -> Path:
    def needed() -> list[File]:
        return [file for file in list_folder(place) if file.name not in without]

    for _ in range(_ATTEMPTS):
        files = needed()
        state = digest_texts([str(place), *(f"{file.name} {file.bytes} {file.etag}" for file in files)])
        kept = _copies() / state[:32]
        if kept.is_dir() or not files:
            return kept
        kept.parent.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(kept.parent)
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=kept.parent) as scratch:
            fetched = Path(scratch, "files")
            fetched.mkdir()
            with suppress(FileNotFoundError):  # one was removed since it was listed
                for file in files:
                    _fetch(file.place, fetched / file.name)
                if needed() == files:
                    _keep(fetched, kept)
                    return kept
    raise TrygonError(f"{place} changes while it is read: wait until it is written, and give the same command again")


def _remove_unfinished(folder: Path) -> None:
    """What processes left that were killed; what is young may be of one that is at work."""
    for scratch in folder.glob(f"{_UNFINISHED}*"):
        with suppress(FileNotFoundError):  # another process removes it too
            if time.time() - scratch.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(scratch, ignore_errors=True)


def _fetch(place: str, target: Path) -> None:
    with open_input(place) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, _COPY_BYTES)


def _keep(fetched: Path, kept: Path) -> None:
    try:
        os.rename(fetched, kept)
    except OSError:
        if not kept.is_dir():  # else another process was first, with the same files
            raise


@contextmanager
def made_here(place: str | Path, last: str, hold: Hold) -> Iterator[Path]:
    """A folder of this machine to write files to; at the end of the block they are in the place.

    On disk it is the place itself. To S3 the files are copied then, and the one named `last`, which says that all are
    there, after the others; until then there is none of that name. Nothing is copied where the block raises.
    """
    mark = join(place, last)
    if not is_remote(place):
        Path(place).mkdir(parents=True, exist_ok=True)
        remove_file(mark)
        yield Path(place)
        return
    with room_in(tempfile.gettempdir(), "TMPDIR"), tempfile.TemporaryDirectory(prefix="trygon-") as scratch:
        folder = Path(scratch)
        yield folder
        hold.check()
        remove_file(mark)
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / last):
            hold.check()
            copy_file(path, join(place, path.relative_to(folder).as_posix()))
        hold.check()
        copy_file(folder / last, mark)
