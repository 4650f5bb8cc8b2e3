"""Files that hold an archive's files: which kinds there are, by their extensions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from trygon import s3
from trygon.archive.inputs.folder import is_junk
from trygon.archive.inputs.media import MediaFile
from trygon.archive.inputs.tarred import list_tar, list_tar_gz, read_tar, read_tar_gz
from trygon.archive.inputs.zipped import list_zip, read_zip
from trygon.errors import UserError
from trygon.storage import join, stable_id


@dataclass(frozen=True)
class Packed:
    """How a kind is listed and a member of it read: place and index, and place, member and index."""

    list: Callable[[str, str], Iterator[MediaFile]]
    read: Callable[[str, str, str], bytes]


PACKED = {
    ".zip": Packed(list_zip, read_zip),
    ".tar": Packed(list_tar, read_tar),
    ".tar.gz": Packed(list_tar_gz, read_tar_gz),
    ".tgz": Packed(list_tar_gz, read_tar_gz),
}


def packed_kind(place: str) -> Packed | None:
    """The kind of a file by its name; None for one that holds no others."""
    name = place.split("?")[0].lower() if "://" in place else place.lower()
    return next((kind for suffix, kind in PACKED.items() if name.endswith(suffix)), None)


def list_members(place: str, index: str = "") -> Iterator[MediaFile]:
    """The files within, without hidden ones and junk. `UserError` for a missing or damaged file."""
    kind = packed_kind(place)
    assert kind is not None, "asked for a file of a known kind"
    try:
        for file in kind.list(place, index):
            if not any(map(is_junk, file.path.split("/"))):
                yield file
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(
            f"the archive {place} cannot be read ({error.strerror}); mend its path or its rights"
        ) from error


def index_of(index: str, container: str) -> str:
    """Where the index of a file that holds others is kept: of one in a folder beside that of the archive itself."""
    return f"{index}-{stable_id('index', container)}" if index and container else index


def opened(files: Iterator[MediaFile], root: str, index: str = "") -> Iterator[MediaFile]:
    """The files of a folder, with those that zip and tar files among them hold in their place.

    A member's path goes on behind that of its container. One that is damaged or denied is a file that cannot be read.
    """
    for file in files:
        if packed_kind(file.path) is None:
            yield file
            continue
        try:
            for inner in list_members(join(root, file.path), index_of(index, file.path)):
                yield replace(inner, path=f"{file.path}/{inner.path}", member=f"{file.path}@{inner.member}")
        except s3.KeysError:
            raise
        except s3.DeniedError:
            yield replace(file, failure="denied")
        except UserError:
            yield replace(file, failure="damaged_archive")
