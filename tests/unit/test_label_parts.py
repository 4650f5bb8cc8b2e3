"""What is kept of a label set for the next request: how much, and what goes."""

from pathlib import Path

import numpy as np

from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.testing.served import write_served
from trygon_serving.labels import LabelSet, PartsCache
from trygon_serving.products import Products


def test_the_parts_used_least_lately_go_once_there_are_many(tmp_path: Path) -> None:
    """A field app asks for one species after the other: what is kept of them stays small."""
    bank = LabelBank.load(write_served(tmp_path).labels_folder)
    parts = PartsCache()
    for number in range(300):
        parts.put(number, Products(Classifier(bank.select(np.asarray([0])))), bank)
        assert parts.get(0), "it is asked for each time"
    kept = [number for number in range(300) if parts.get(number)]
    assert kept == [0, *range(45, 300)]


def test_a_list_of_names_is_looked_up_once(tmp_path: Path) -> None:
    served = write_served(tmp_path)
    labels = LabelSet.load("all", str(served.labels_folder), {}, served.model)
    names, vector_2D = ["red fox", "my dog"], served.model.encode_texts(["red fox", "my dog"])
    first, again, other = (labels.named(it, vector_2D) for it in (names, names, names[::-1]))
    assert first.classifier
    assert first.classifier is again.classifier
    assert (first.place_N.tolist(), other.place_N.tolist()) == ([0, -1], [-1, 0])
