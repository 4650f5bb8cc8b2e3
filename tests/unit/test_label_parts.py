"""Parts of a label set that are kept for the next request: how many, and which go."""

from pathlib import Path

import numpy as np

from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.testing.served import write_served
from trygon_serving.labels import ClassifierCache


def test_the_parts_used_least_lately_go_once_there_are_many(tmp_path: Path) -> None:
    """A field app asks for one species after the other: what is kept of them stays small."""
    bank = LabelBank.load(write_served(tmp_path).labels_folder)
    parts = ClassifierCache()
    for number in range(300):
        parts.put(number, Classifier(bank.select(np.asarray([0]))), bank)
        assert parts.get(0), "it is asked for each time"
    kept = [number for number in range(300) if parts.get(number)]
    assert kept == [0, *range(45, 300)]
