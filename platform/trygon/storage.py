"""Files and folders on disk or object storage, through pyarrow's filesystems. Knows nothing of what they hold."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.fs

from trygon.errors import UserError


def filesystem(uri: str | Path) -> tuple[pyarrow.fs.FileSystem, str]:
    """The filesystem of a path or an `s3://` URI, and the path within it."""
    text = str(uri)
    if "://" in text:
        try:
            return pyarrow.fs.FileSystem.from_uri(text)
        except pyarrow.ArrowInvalid as error:
            raise UserError(f"{text} is not a storage address that is known here: {error}") from error
    return pyarrow.fs.LocalFileSystem(), str(Path(text).absolute())


def require_folder(path: Path, what: str, hint: str) -> Path:
    """The folder itself; a `UserError` that says how to get it where it is missing."""
    if not path.is_dir():
        raise UserError(f"{what} {path} is not a folder. {hint}")
    return path


def read_json(path: Path) -> Any:
    """A JSON file's content; a `UserError` where it is not readable as JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text by renaming a finished file into place."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes by renaming a finished file into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def replace_folder(finished: Path, target: Path) -> None:
    """Move a finished folder to its place; what stood there before is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    os.replace(finished, target)


def digest_file(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_texts(parts: Iterable[str]) -> str:
    """SHA-256 over texts, each ended by a NUL so that their borders count; as hex."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def stable_id(*parts: str) -> int:
    """A positive int64 made of texts: the same on every machine and in every run."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
