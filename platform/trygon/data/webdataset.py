"""BioCLIP's WebDataset form of samples: a tar with a picture and its captions as small text files beside it.

Knows the members and how they are named; not what is drawn when (`ingest`), nor how shards are filled (`curation`).
"""

import io
import random
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trygon.storage import join, write_bytes, write_json
from trygon.taxonomy.captions import MIXED, TextType, caption, name_text, with_common
from trygon.taxonomy.taxon import Taxon

_NAMES = {
    "scientific_name": TextType.SCI,
    "taxonomic_name": TextType.TAXON,
    "common_name": TextType.COM,
}


def members(sample: Mapping[str, Any], plain_text: bool = False) -> dict[str, bytes]:
    """The files of one sample (see `schemas.SAMPLE`), by extension: the eleven of TreeOfLife-10M's shards.

    With `plain_text` a twelfth comes, `txt`: a caption in one of the five types that BioCLIP mixes, drawn by the
    sample's id. open_clip's own loader reads that one alone and drops a sample without it; BioCLIP's fork of it asks
    for the others by name, after it made their names lower case: `taxontag.txt`.
    """
    taxon = with_common(Taxon.from_row(sample))
    texts = {f"{name}.txt": name_text(taxon, text_type) for name, text_type in _NAMES.items()}
    texts |= {f"{text_type}.txt": caption(taxon, text_type) for text_type in TextType}
    if plain_text:
        texts["txt"] = caption(taxon, random.Random(f"{sample['sample_id']}/text").choice(MIXED))
    return {"jpg": sample["image"]} | {extension: text.encode() for extension, text in texts.items()}


def shard_name(index: int) -> str:
    """The name of a shard within its split's folder."""
    return f"shard-{index:06d}.tar"


def write_webdataset(uri: str | Path, samples: Iterable[Mapping[str, Any]], plain_text: bool = True) -> int:
    """Write samples (see `schemas.SAMPLE`) as one tar, whole or not at all; how many there were.

    The same samples give the same bytes. Without `plain_text` a sample has the eleven members and no more.
    """
    buffer, count = io.BytesIO(), 0
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            for extension, data in members(sample, plain_text).items():
                # Time, owner and mode are what TarInfo starts with: the same on every machine.
                info = tarfile.TarInfo(f"{sample['sample_id']:016x}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            count += 1
    write_bytes(uri, buffer.getvalue())
    return count


def write_sizes(folder: str | Path, sizes: Mapping[str, int]) -> None:
    """Write `sizes.json` beside the shards: how many samples each holds, by name. open_clip takes an epoch's length
    from it."""
    write_json(join(folder, "sizes.json"), dict(sorted(sizes.items())))
