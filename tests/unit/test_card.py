"""What is told of a folder of shards."""

from typing import Any

import pyarrow as pa

from trygon.data.card import summarise
from trygon.schemas import REJECT, SAMPLE

LION = {"kingdom": "Animalia", "family": "Felidae", "genus": "Panthera", "species": "leo"}


def _samples(*rows: dict[str, Any]) -> pa.Table:
    blank = {field.name: "" for field in SAMPLE if pa.types.is_string(field.type)}
    samples = [blank | row | {"source": "here", "source_id": str(number)} for number, row in enumerate(rows)]
    return pa.Table.from_pylist(samples, SAMPLE.remove(SAMPLE.get_field_index("image")))


def test_a_species_under_two_lineages_is_one_species_and_two_taxa() -> None:
    rows = [LION, LION | {"family": ""}, LION | {"species": "tigris"}, LION | {"species": ""}]
    samples = _samples(*(row | {"split": split} for row in rows for split in ("train", "train_small")))
    told = summarise(samples, REJECT.empty_table())
    assert told["num_species"] == {"seen": 2, "unseen": 0}
    assert told["num_taxa"] == 4


def test_a_licence_in_capitals_and_without_is_one() -> None:
    names = ["Public domain", "cc-by-4.0", "cc-by-4.0", "Public Domain", "Public domain", "CC-BY-4.0", "cc-by-4.0"]
    samples = _samples(*(LION | {"split": "train", "license": name} for name in names))
    assert list(summarise(samples, REJECT.empty_table())["licenses"].items()) == [
        ("cc-by-4.0", 4),
        ("Public domain", 3),
    ]
