"""What examples bring beside texts, on photos that the model never saw.

    python tests/benchmarks/examples.py MODEL LABELS [--shots 1 2 5] [--folds 10]

LABELS is a bank of the species of the sample photos, MODEL what made it: the initial model of `trygon train`, as the
trained one has seen the photos. Of each species with several photos one is named in each fold, and up to so many of
the others are its examples. Species with one photo have no examples: what they lose is what joining costs. Under a
minute.
"""

import argparse
import csv
from dataclasses import replace

import numpy as np

from trygon.cache import sample_folder
from trygon.data.images import preprocess
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.labelling.examples import text_scores
from trygon.labelling.few_shot import Prototypes
from trygon.models.model import load_model
from trygon.taxonomy.taxon import Taxon

_BATCH = 32


def read_photos(model_ref: str, bank: LabelBank) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (P, D) of the sample photos whose species the bank holds, and its position (P,)."""
    root, model = sample_folder() / "photos", load_model(model_ref, "cpu")
    with (root / "labels.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["rank"] == "species"]
    taxon_P = bank.tree.locate([Taxon.from_row(row) for row in rows])
    rows = [row for row, at in zip(rows, taxon_P.tolist(), strict=True) if at >= 0]
    images = [preprocess((root / row["path"]).read_bytes(), model.side, model.resize_mode) for row in rows]
    batches = [np.stack(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return np.concatenate([model.encode_images(batch) for batch in batches]), taxon_P[taxon_P >= 0]


def draw(taxon_P: np.ndarray, shots: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A photo to be named of each species with several, and its examples."""
    shown, named = [], []
    for taxon in np.flatnonzero(np.bincount(taxon_P) > 1):
        photos = rng.permutation(np.flatnonzero(taxon_P == taxon))
        named.append(photos[0])
        shown.extend(photos[1 : 1 + shots])
    return np.asarray(named), np.asarray(shown)


def judged(classifier: Classifier, vector_BD: np.ndarray, taxon_B: np.ndarray) -> tuple[float, float]:
    """Share named right, and the mean surprise at the truth, in nats."""
    probability_BN = classifier.probabilities(vector_BD)
    truth_B = probability_BN[np.arange(len(taxon_B)), taxon_B]
    return float((probability_BN.argmax(1) == taxon_B).mean()), float(-np.log(np.maximum(truth_B, 1e-30)).mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("labels")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 2, 5])
    parser.add_argument("--folds", type=int, default=10)
    options = parser.parse_args()
    bank = LabelBank.load(options.labels)
    vector_PD, taxon_P = read_photos(options.model, bank)
    lone_P = np.bincount(taxon_P)[taxon_P] == 1
    print(f"{len(taxon_P)} photos of {len(bank.tree)} species, {lone_P.sum()} of which have one")
    print("| examples a species | weight | right, with examples | surprise | right, without any | surprise |")
    print("|---|---|---|---|---|---|")
    for shots in (0, *options.shots):
        rng, rows = np.random.default_rng(0), []
        for _ in range(options.folds):
            named, shown = draw(taxon_P, max(shots, 1), rng)
            classifier, weight = Classifier(bank), 0.0
            if shots:
                prototypes = Prototypes.of(
                    *(vector_PD[shown], taxon_P[shown], shown, vector_PD.mean(0), len(bank.tree), text_scores(bank))
                )
                classifier, weight = replace(classifier, prototypes=prototypes), prototypes.weight
            with_examples = judged(classifier, vector_PD[named], taxon_P[named])
            rows.append([weight, *with_examples, *judged(classifier, vector_PD[lone_P], taxon_P[lone_P])])
        weight, *means = np.mean(rows, axis=0)
        print(f"| {shots} | {weight:.1f} | {means[0]:.1%} | {means[1]:.2f} | {means[2]:.1%} | {means[3]:.2f} |")


if __name__ == "__main__":
    main()
