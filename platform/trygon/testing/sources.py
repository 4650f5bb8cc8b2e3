"""What tests of sources share: files in the forms of their publishers, and what a source says of them."""

import csv
import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trygon.data.sources.source import Source
from trygon.schemas import RECORD
from trygon.taxonomy.taxon import RANKS

RAVEN = ("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Corvus", "corax")
UUIDS = [f"0000000{number}-1111-4222-8333-444444444444" for number in range(6)]


def write_csv(path: Path, rows: Iterable[Sequence[Any]], delimiter: str = ",") -> None:
    """Rows as a delimited table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Files of a folder, by their paths in it."""
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def write_tar(path: Path, contents: Mapping[str, bytes]) -> None:
    """A tar, packed where its name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def read_all(source: Source) -> dict[str, bytes]:
    """Pictures by id; each once, none with a reason."""
    found: dict[str, bytes] = {}
    for unit in source.units():
        for picture in source.read(unit):
            assert not picture.reason, picture
            assert picture.source_id not in found
            found[picture.source_id] = picture.data
    return found


def rows_of(source: Source) -> dict[str, dict[str, str]]:
    """Records by id."""
    table = source.records()
    assert table.schema.equals(RECORD)
    assert not any(column.null_count for column in table.columns)
    return {row["source_id"]: row for row in table.to_pylist()}


def lineage_of(row: Mapping[str, str]) -> tuple[str, ...]:
    """The names at the seven ranks of a record."""
    return tuple(row[rank] for rank in RANKS)


EOL_MEDIA = [("11", "106"), ("12", "107"), ("13", "108"), ("14", "105"), ("15", "999")]
EOL_PICTURES = {f"{content}_{page}": f"{content}".encode() for content, page in EOL_MEDIA}
EOL_MEMBERS = {f"{name}_eol-full-size-copy.jpg": data for name, data in EOL_PICTURES.items()}
LABELS_HEADER = ["path", *RANKS, "common", "license", "author"]
