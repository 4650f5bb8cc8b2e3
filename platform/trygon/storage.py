"""Files and folders on disk or in object storage. Knows nothing of what they hold.

A place is a local path or an `s3://bucket/key` address. What is written appears whole or not at all. What S3 refuses
is a `UserError` or a `TrygonError`, not an `OSError`: who counts unreadable files must not count these as such.
"""

import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trygon import s3
from trygon.errors import UserError

_BUFFER_BYTES = 1 << 20
_MOST_BYTES = 32 << 20
"""In one request: what breaks off is asked for again."""
_UNFINISHED = ".unfinished"
"""How hidden files end that get their names when they are whole."""


def is_remote(place: str | Path) -> bool:
    """Whether a place is an address rather than a path of this machine."""
    return "://" in str(place)


def join(place: str | Path, *parts: str) -> str:
    """A place below another one."""
    address = address_of(place)
    if address is None:
        return str(Path(place, *parts))
    return str(address.at("/".join([*filter(None, [address.key.rstrip("/")]), *(part.strip("/") for part in parts)])))


def below(place: str | Path, file: str) -> str:
    """The path of a file within a place, with forward slashes, as `list_files` gave it."""
    address = address_of(place)
    if address is None:
        return Path(file).relative_to(place).as_posix()
    return s3.Address.parse(file).key[len(address.prefix) :]


def name_of(place: str | Path) -> str:
    """A file's own name."""
    address = address_of(place)
    return Path(place).name if address is None else address.key.rstrip("/").rpartition("/")[2]


def absolute(place: str | Path) -> str:
    """The place as workers in other folders name it."""
    return str(place) if is_remote(place) else str(Path(place).absolute())


def is_same(place: str | Path, other: str | Path) -> bool:
    """Whether two places are one, however they are written."""
    here, there = address_of(place), address_of(other)
    if here and there:
        return (here.bucket, here.prefix) == (there.bucket, there.prefix)
    return here is there and Path(place).resolve() == Path(other).resolve()


def exists(place: str | Path) -> bool:
    """Whether there is a file or a folder; on S3 a folder is where something lies below."""
    address = address_of(place)
    if address is None:
        return Path(place).exists()
    if s3.list_objects(address, limit=1):
        return True
    with suppress(FileNotFoundError):
        return bool(address.key) and bool(s3.stat(address))
    return False


def open_input(place: str | Path) -> io.BufferedReader:
    """A file to read from, seekable and buffered; from S3 only the ranges that are asked for. Raises `OSError`."""
    address = address_of(place)
    return Path(place).open("rb") if address is None else io.BufferedReader(_Ranges(address), _BUFFER_BYTES)


def read_ranges(place: str | Path, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Stretches of a file, each from its first byte to before its last. Raises `OSError`."""
    address = address_of(place)
    if address is not None:
        return [s3.read_range(address, first, last - first) for first, last in ranges]
    with Path(place).open("rb") as file:
        return [_read_range(file, first, last - first) for first, last in ranges]


def _read_range(file: io.BufferedReader, first: int, count: int) -> bytes:
    file.seek(first)
    data = file.read(count)
    if len(data) != count:
        raise OSError(f"the file ends {count - len(data)} bytes before {first + count}")
    return data


def read_bytes(place: str | Path, most: int | None = None) -> bytes:
    """A file's content. Raises `OSError` where there is none, with EFBIG where it has more than `most` bytes."""
    address = address_of(place)
    if address is not None:
        return s3.read(address, most)
    with Path(place).open("rb") as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(place))
        return file.read()


def read_json(place: str | Path) -> Any:
    """A JSON file's content; a `UserError` where it is not readable as JSON."""
    try:
        return json.loads(read_bytes(place).decode())
    except (OSError, ValueError) as error:
        raise UserError(f"{place} cannot be read as JSON: {error}") from error


def write_json(place: str | Path, content: Any, durable: bool = False) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half; `durable` as in `write_bytes`."""
    write_bytes(place, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(), durable)


def write_text(place: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_bytes(place, text.encode())


def write_bytes(place: str | Path, data: bytes | memoryview, durable: bool = False) -> None:
    """Write bytes, whole or not at all: by renaming a finished file, or with one put or multipart upload.

    `durable` is for what decides that something is done: the disk itself has the file before it gets its name, and
    the name before this returns, so that a power cut leaves no empty one. It takes some 10 ms.
    """
    address = address_of(place)
    if address is not None:
        return s3.upload(address, lambda: io.BytesIO(data))
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        _settle_one(path.parent)
    return None


def settle(place: str | Path) -> None:
    """Have the disk hold the files of a folder, not of those within it: what says so comes next. S3 holds what it
    took."""
    if is_remote(place):
        return
    for path in Path(place).iterdir():
        if path.is_file():
            _settle_one(path)
    _settle_one(Path(place))


def _settle_one(path: Path) -> None:
    """A file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems of a network know no such thing
            os.fsync(handle)
    finally:
        os.close(handle)


def copy_file(path: Path, place: str | Path) -> None:
    """Copy a file of this machine to a place, whole or not at all: what is too big to be held in memory."""
    address = address_of(place)
    if address is not None:
        return s3.upload(address, lambda: path.open("rb"))
    target = Path(place)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}{_UNFINISHED}")
    shutil.copyfile(path, scratch)
    os.replace(scratch, target)
    return None


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file on this machine is written anew: its time, its size and which file it is; None where
    there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def state_of(place: str | Path) -> str:
    """What is another text when a file was written anew: its size, and its time on disk or its ETag on S3. Blank where
    there is no file."""
    address = address_of(place)
    if address is None:
        stamp = stamp_of(Path(place))
        return f"{stamp[1]} {stamp[0]}" if stamp else ""
    try:
        found = s3.stat(address)
    except FileNotFoundError:
        return ""
    return f"{found.bytes} {found.etag}"


def list_files(place: str | Path, suffix: str = "") -> list[str]:
    """All files below a folder whose names end with `suffix`, as whole places, sorted; none where there is no folder.

    Hidden ones (a part below the folder begins with a dot) are left out: unfinished files and locks are such.
    """
    address = address_of(place)
    if address is None:
        return sorted(str(path) for path in _walk(Path(place)) if path.name.endswith(suffix))
    keys = [found.key for found in s3.list_objects(address)]
    names = (key for key in keys if key.endswith(suffix) and not key.endswith("/"))
    return sorted(str(address.at(key)) for key in names if not _is_hidden(key[len(address.prefix) :].split("/")))


@dataclass(frozen=True)
class File:
    """A file as listed; its ETag is blank on disk."""

    place: str
    name: str
    bytes: int
    etag: str = ""


def list_folder(place: str | Path, begin: str = "", suffix: str = "") -> list[File]:
    """The files in a folder, not those of folders within, whose names begin and end so, by name; hidden ones are left
    out, and there are none where there is no folder."""
    address = address_of(place)

    def is_wanted(name: str) -> bool:
        return bool(name) and name.startswith(begin) and name.endswith(suffix) and not _is_hidden([name])

    if address is None:
        # Hidden ones are not even looked at: they are gone from one moment to the next.
        paths = [path for path in Path(place).iterdir() if is_wanted(path.name)] if Path(place).is_dir() else []
        files = [File(str(path), path.name, path.stat().st_size) for path in paths if path.is_file()]
    else:
        found = s3.list_objects(address, begin=begin, deep=False)
        named = ((each, each.key.rpartition("/")[2]) for each in found)
        files = [File(str(address.at(it.key)), name, it.bytes, it.etag) for it, name in named if is_wanted(name)]
    return sorted(files, key=lambda file: file.name)


def _walk(root: Path) -> Iterable[Path]:
    def unreadable(error: OSError) -> None:
        if Path(error.filename) != root or not isinstance(error, FileNotFoundError):
            raise error

    for folder, names, files in os.walk(root, onerror=unreadable):
        names[:] = [name for name in names if not _is_hidden([name])]
        yield from (Path(folder, name) for name in files if not _is_hidden([name]))


def _is_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def remove_file(place: str | Path) -> None:
    """Remove a file; nothing where it is missing."""
    address = address_of(place)
    if address is None:
        Path(place).unlink(missing_ok=True)
        return
    s3.remove_object(address)


def remove_tree(place: str | Path) -> None:
    """Remove a folder and all below it, hidden files too; nothing where it is missing."""
    address = address_of(place)
    if address is None:
        if Path(place).exists():
            shutil.rmtree(place)
        return
    s3.remove(address)


def remove_unfinished(folder: str | Path) -> None:
    """Remove what writers that were killed left half written, in a folder and all below it. For the only writer of the
    folder. S3 has no such files."""
    if is_remote(folder):
        return
    for path in Path(folder).rglob(f".*{_UNFINISHED}"):
        if path.is_file():
            path.unlink(missing_ok=True)


def digest_file(place: str | Path) -> str:
    """SHA-256 of a file, as hex."""
    with open_input(place) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_folder(path: Path, what: str, hint: str) -> Path:
    """The folder itself; a `UserError` that says how to get it where it is missing."""
    if not path.is_dir():
        raise UserError(f"{what} {path} is not a folder. {hint}")
    return path


def replace_folder(finished: Path, target: Path) -> None:
    """Move a finished folder of this machine to its place; what stood there before is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    os.replace(finished, target)


def digest_texts(parts: Iterable[str]) -> str:
    """SHA-256 over texts, each ended by a NUL so that their borders count; as hex."""
    digest = hashlib.sha256()
    for part in parts:
        # Names of files need not be UTF-8.
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def stable_id(*parts: str) -> int:
    """A positive int64 made of texts: the same on every machine and in every run."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def address_of(place: str | Path) -> s3.Address | None:
    """The address of a place on S3, None for a path; `UserError` for what is neither."""
    text = str(place)
    if text.startswith("s3://"):
        return s3.Address.parse(text)
    if "://" in text:
        raise UserError(f"{s3.told(text)} is neither a path nor an s3:// address")
    return None


class _Ranges(io.RawIOBase):
    """An object read by ranges."""

    def __init__(self, address: s3.Address) -> None:
        self._address, self._at = address, 0
        self._size = s3.stat(address).bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._at, _MOST_BYTES))
        if count:
            view[:count] = s3.read_range(self._address, self._at, count)
            self._at += count
        return count

    def readall(self) -> bytes:
        rest = bytearray(max(0, self._size - self._at))
        done = 0
        while done < len(rest):
            done += self.readinto(memoryview(rest)[done:])
        return bytes(rest)
