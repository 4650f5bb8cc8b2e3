"""A folder on S3 as the filesystem that Ray Train keeps checkpoints on; all goes through the retries of places.

pyarrow's own filesystem gives up on some faults that pass, and keeps the keys that it was made with, which a long run
may outlive. Knows nothing of what the files hold.
"""

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyarrow import NativeFile, PythonFile
from pyarrow.fs import FileInfo, FileSelector, FileSystemHandler, FileType, PyFileSystem

from trygon import s3
from trygon.storage import address_of, exists, is_remote, join, list_folder, open_input, remove_tree, write_bytes

_TOP = "checkpoints"
"""What paths begin with: Ray Train takes no blank one."""


def checkpoint_storage(place: str) -> dict[str, Any]:
    """Where Ray Train keeps the checkpoints of a run in the place, a whole path or an address: options of its
    RunConfig."""
    if not is_remote(place):
        return {"storage_path": place}
    return {"storage_path": _TOP, "storage_filesystem": PyFileSystem(Checkpoints(place))}


def place_of(filesystem: Any, path: str) -> str:
    """The place of what Ray Train knows by a path on its filesystem."""
    return filesystem.handler.place(path) if isinstance(filesystem, PyFileSystem) else path


@dataclass(frozen=True)
class Checkpoints(FileSystemHandler):
    """What is below the address `root`, as far as Ray Train asks; each process makes its own connections."""

    root: str

    def place(self, path: str) -> str:
        """The address of a path."""
        return join(self.root, *path.split("/")[1:])

    def _info(self, path: str) -> FileInfo:
        address = address_of(self.place(path))
        assert address is not None, "a root on disk needs no handler"
        with suppress(FileNotFoundError):
            return FileInfo(path, FileType.File, size=s3.stat(address).bytes)
        return FileInfo(path, FileType.Directory if exists(str(address)) else FileType.NotFound)

    def get_type_name(self) -> str:
        return "trygon"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[FileInfo]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        """The files of a folder: a checkpoint holds no folders."""
        files = list_folder(self.place(selector.base_dir))
        return [FileInfo(f"{selector.base_dir}/{file.name}", FileType.File, size=file.bytes) for file in files]

    def create_dir(self, path: str, recursive: bool) -> None:
        """Nothing: on S3 a folder is where something lies below."""

    def delete_dir(self, path: str) -> None:
        remove_tree(self.place(path))

    def open_input_file(self, path: str) -> NativeFile:
        return PythonFile(open_input(self.place(path)), mode="r")

    def open_input_stream(self, path: str) -> NativeFile:
        return self.open_input_file(path)

    def open_output_stream(self, path: str, metadata: object) -> NativeFile:
        return PythonFile(_Upload(self.place(path)), mode="w")

    def _never_asked(self, *_: object) -> None:
        raise NotImplementedError("Ray Train does not ask for this")

    delete_dir_contents = delete_root_dir_contents = delete_file = move = copy_file = _never_asked
    open_append_stream = _never_asked


class _Upload(io.BytesIO):
    """A small file, brought to its place, whole, when it is closed."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place

    def close(self) -> None:
        if not self.closed:
            write_bytes(self._place, self.getvalue())
        super().close()
