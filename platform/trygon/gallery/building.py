"""A gallery made of the pictures of a source: each with its name, its credit, its vector and a small copy to show.

A picture that cannot be used, or may not be shown, is a row with the reason. Knows nothing of how pictures are found.

Shapes: B pictures, D the width of vectors.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from trygon.data.images import BadImage, decode, encode_jpeg, preprocess
from trygon.data.sources.source import Picture, Source
from trygon.errors import UserError
from trygon.gallery.card import PICTURES, GalleryCard, new_state, turn_to
from trygon.labelling.search import VectorIndex
from trygon.lease import Hold
from trygon.mirror import made_here
from trygon.models.encoders import load_encoder
from trygon.models.encoders.choice import Encoder, EncoderChoice
from trygon.models.folder import model_key
from trygon.schemas import GALLERY, RECORD
from trygon.storage import join, remove_tree, stable_id
from trygon.taxonomy.names import clean_lineages
from trygon.taxonomy.taxon import RANKS

LONGEST_SIDE = 320
"""Pixels of what is shown."""

_QUALITY = 85
_BATCH = 8
_ROW_GROUP = 64
"""Rows that are read together where one picture is shown."""


@dataclass(frozen=True)
class Credit:
    """What holds for pictures of which the source does not say it."""

    license: str = ""
    rights_holder: str = ""


def build_gallery(
    place: str | Path,
    source: Source,
    records: pa.Table,
    choice: EncoderChoice,
    credit: Credit,
    hold: Hold,
    progress: Callable[[int], None] = lambda num: None,
) -> GalleryCard:
    """Write a gallery of the source's pictures, with its `records`, in place of the one that stands there. `progress`
    is told how many more pictures are done.

    `UserError` where no picture can be shown: nothing is changed then.
    """
    state = new_state()
    with _removed_on_failure(join(place, state)), made_here(join(place, state), PICTURES, hold) as folder:
        taxa: set[tuple[str, ...]] = set()
        counts: Counter[str] = Counter()
        with pq.ParquetWriter(folder / PICTURES, GALLERY, compression="none") as writer:  # JPEG shrinks no further
            for rows in _rows(source, records, choice, credit):
                writer.write_table(pa.Table.from_pylist(rows, GALLERY))
                counts.update(row["failure"] or "" for row in rows)
                taxa |= {tuple(row[rank] for rank in RANKS) for row in rows if not row["failure"]}
                progress(len(rows))
        num = counts.pop("", 0)
        if not num:
            raise UserError(f"{source.uri}: no picture can be shown ({told(counts)}); {_HINT}")
        VectorIndex.build(folder, lambda: _vectors(folder / PICTURES), choice.tower.dim, num)
    card = GalleryCard(
        state=state,
        model=model_key(choice.tower),
        model_ref=choice.tower.ref,
        encoder=choice.identity,
        dim=choice.tower.dim,
        num_pictures=num,
        num_taxa=len(taxa),
        num_failed=dict(counts),
    )
    hold.check()
    turn_to(place, card)
    return card


@contextmanager
def _removed_on_failure(place: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        remove_tree(place)
        raise


_HINT = "labels.csv needs the columns path, the ranks, and license, or give --license where one holds for all"


def told(counts: Mapping[str, int]) -> str:
    """How many of what, the most frequent first."""
    return ", ".join(f"{num} {reason}" for reason, num in sorted(counts.items(), key=lambda it: -it[1]))


def thumbnail(data: bytes) -> bytes:
    """A picture to be shown: JPEG, upright, at most LONGEST_SIDE, without what else the file tells. Raises
    `BadImage`."""
    image = decode(data, LONGEST_SIDE)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    image.info.clear()  # Pillow would pass on the comment
    return encode_jpeg(image, _QUALITY)


def _rows(source: Source, records: pa.Table, choice: EncoderChoice, credit: Credit) -> Iterator[list[dict[str, Any]]]:
    """GALLERY rows in groups: all pictures of the source, then the records that have none."""
    known = {row["source_id"]: row for row in clean_lineages(records).to_pylist()}
    num_threads, seen = os.cpu_count() or 1, set[str]()
    encoder = load_encoder(choice, num_threads)
    pictures = chain.from_iterable(source.read(unit) for unit in source.units())
    with ThreadPoolExecutor(num_threads) as pool:
        while group := list(islice(pictures, _ROW_GROUP)):
            rows = []
            for picture in group:
                row = _row(source.name, picture.source_id, known.get(picture.source_id), credit)
                why = "repeated_id" if picture.source_id in seen else picture.reason or row["failure"]
                rows.append(row | {"failure": why})
                seen.add(picture.source_id)
            usable = [(row, picture) for row, picture in zip(rows, group, strict=True) if not row["failure"]]
            batches = [usable[start : start + _BATCH] for start in range(0, len(usable), _BATCH)]
            list(pool.map(lambda batch: _fill(batch, choice, encoder), batches))
            yield rows
    missing = [name for name in known if name not in seen]
    for start in range(0, len(missing), _ROW_GROUP):
        some = missing[start : start + _ROW_GROUP]
        yield [_row(source.name, name, known[name], credit) | {"failure": "missing"} for name in some]


def _row(source: str, source_id: str, record: Mapping[str, str] | None, credit: Credit) -> dict[str, Any]:
    """What is known of a picture before it is decoded, and why it is not to be shown."""
    known = record or dict.fromkeys(RECORD.names, "")
    row: dict[str, Any] = {name: known[name] for name in (*RANKS, "common")}
    row |= {
        "picture_id": stable_id(source, source_id),
        "source": source,
        "source_id": source_id,
        "license": known["license"] or credit.license,
        "rights_holder": known["rights_holder"] or credit.rights_holder,
        # It is put before people, to be clicked on.
        "source_url": known["source_url"] if known["source_url"].startswith(("https://", "http://")) else "",
        "failure": None,
    }
    if record is None:
        return row | {"failure": "unlabelled"}
    if not any(row[rank] for rank in RANKS):
        return row | {"failure": "no_name"}
    return row if row["license"] else row | {"failure": "no_license"}


def _fill(batch: list[tuple[dict[str, Any], Picture]], choice: EncoderChoice, encoder: Encoder) -> None:
    """Put vectors and small copies into rows, or why there are none."""
    tower, arrays, filled = choice.tower, list[np.ndarray](), list[dict[str, Any]]()
    for row, picture in batch:
        try:
            row["thumbnail"] = thumbnail(picture.data)
            # As a request for it would be read: the same picture has a cosine of 1 to itself.
            arrays.append(preprocess(picture.data, tower.side, tower.resize_mode))
            filled.append(row)
        except BadImage as error:
            row |= {"failure": error.reason, "thumbnail": None}
    vector_BD = encoder.encode_images(np.stack(arrays)).astype(np.float16) if arrays else ()
    for row, vector_D in zip(filled, vector_BD, strict=True):
        row["vector"] = vector_D


def _vectors(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ids and vectors of what can be shown, in the order of the file."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(1024, columns=["picture_id", "vector"]):
            shown = pa.Table.from_batches([batch]).filter(pc.is_valid(batch["vector"]))
            if shown.num_rows:
                flat = shown["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
                yield shown["picture_id"].to_numpy(), flat.reshape(shown.num_rows, -1)
