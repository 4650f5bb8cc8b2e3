"""Looks can be learnt, and they descend: the simplest classifier finds species again, and families of new species.

Nearest centroid on a colour histogram and a few moments of the silhouette; nothing is trained.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from trygon.data.synthetic.organism import PLANS, Setting, draw, encode
from trygon.data.synthetic.tree import Tree, grow
from trygon.taxonomy.taxon import Rank

pytestmark = pytest.mark.slow

SEED, FAMILIES, SPECIES, INDIVIDUALS, SUPPORT = 2, 20, 4, 8, 5


def _features(image: Image.Image) -> np.ndarray:
    """Colours and shape of what differs from the picture's border: (F,)."""
    pixels_HWC = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR), np.float64)
    border_N3 = np.concatenate([pixels_HWC[0], pixels_HWC[-1], pixels_HWC[:, 0], pixels_HWC[:, -1]])
    ground = np.median(border_N3, axis=0)
    away_HW = np.abs(pixels_HWC - ground).sum(axis=-1)
    body_HW = away_HW > 30 + 1.3 * np.percentile(np.abs(border_N3 - ground).sum(axis=-1), 90)
    if body_HW.sum() < 20:
        body_HW[:] = True
    hsv_N3 = np.asarray(Image.fromarray(pixels_HWC.astype(np.uint8)).convert("HSV"), np.int64)[body_HW]
    bins_N = hsv_N3[:, 0] // 16 * 16 + hsv_N3[:, 1] // 64 * 4 + hsv_N3[:, 2] // 64
    colours = np.sqrt(np.bincount(bins_N, minlength=256))
    y_N, x_N = np.nonzero(body_HW)
    place_N = (x_N - x_N.mean()) + 1j * (y_N - y_N.mean())
    radius_N = np.abs(place_N) / np.sqrt(np.mean(np.abs(place_N) ** 2))
    rings = np.sqrt(np.histogram(radius_N, bins=12, range=(0, 2.4))[0])
    # The strength of each symmetry tells arms and petals, however the body is turned.
    symmetry = np.abs([np.mean(radius_N * np.exp(1j * order * np.angle(place_N))) for order in range(1, 13)])
    return np.concatenate([colours / np.linalg.norm(colours), rings / np.linalg.norm(rings), 2 * symmetry])


@dataclass(frozen=True)
class Gallery:
    """Individuals of some species of some families: `features` (S, I, F), `family` and `phylum` (S,)."""

    features: np.ndarray
    family: np.ndarray
    phylum: np.ndarray


def _gallery(setting: Setting) -> Gallery:
    tree = grow(300, SEED)
    family = tree.ancestors[Rank.FAMILY]
    large = [node for node in np.unique(family) if (family == node).sum() >= SPECIES][:FAMILIES]
    species = np.concatenate([np.flatnonzero(family == node)[:SPECIES] for node in large])
    features = np.stack(
        [[_individual(tree, int(one), number, setting) for number in range(INDIVIDUALS)] for one in species]
    )
    return Gallery(features, family[species], tree.ancestors[Rank.PHYLUM][species])


def _individual(tree: Tree, species: int, number: int, setting: Setting) -> np.ndarray:
    rng = np.random.default_rng([SEED, species, number])
    return _features(draw(tree.lineage(species), tree.plan(species), SEED, rng, (200, 160), setting))


@pytest.fixture(scope="module", params=list(Setting), ids=lambda setting: setting.name.lower())
def gallery(request: pytest.FixtureRequest) -> Gallery:
    return _gallery(request.param)


def _nearest(queries_QF: np.ndarray, centroids_CF: np.ndarray) -> np.ndarray:
    return ((queries_QF[:, None] - centroids_CF[None]) ** 2).sum(axis=-1).argmin(axis=1)


def _held_out(gallery: Gallery, labels: np.ndarray) -> tuple[float, float]:
    """How often individuals of unseen species (the last of each family) get their label; and what guessing gets."""
    unseen = np.arange(len(labels)) % SPECIES == SPECIES - 1
    queries_QF = gallery.features[unseen].reshape(-1, gallery.features.shape[-1])
    found = labels[~unseen][_nearest(queries_QF, gallery.features[~unseen].mean(axis=1))]
    truth = labels[unseen].repeat(INDIVIDUALS)
    chance = np.mean([np.mean(labels[~unseen] == label) for label in truth])
    return float(np.mean(found == truth)), float(chance)


def test_unseen_individuals_are_told_apart_by_species(gallery: Gallery) -> None:
    queries_QF = gallery.features[:, SUPPORT:].reshape(-1, gallery.features.shape[-1])
    found = _nearest(queries_QF, gallery.features[:, :SUPPORT].mean(axis=1))
    truth = np.arange(len(gallery.features)).repeat(INDIVIDUALS - SUPPORT)
    assert np.mean(found == truth) > 10 / len(gallery.features)


def test_unseen_species_are_put_into_their_family_and_phylum(gallery: Gallery) -> None:
    right, chance = _held_out(gallery, gallery.family)
    assert right > 4 * chance
    right, chance = _held_out(gallery, gallery.phylum)
    assert right > chance + 0.2


def test_families_that_do_not_descend_are_not_found(gallery: Gallery) -> None:
    """The control: species dealt out to families by chance."""
    order = np.random.default_rng(3).permutation(len(gallery.family))
    dealt = Gallery(gallery.features[order], gallery.family, gallery.phylum)
    right, chance = _held_out(dealt, gallery.family)
    assert right < 2.5 * chance


def test_a_picture_is_decided_by_its_seed() -> None:
    lineage = ("Animalia", "Aozoa", "Bida", "Ciformes", "Didae", "Eus", "fus")
    for plan in PLANS:
        for setting in Setting:
            first, again, other = (
                encode(draw(lineage, plan, 4, np.random.default_rng(seed), (200, 150), setting)) for seed in (1, 1, 2)
            )
            assert first == again
            assert first != other


@pytest.mark.parametrize("plan", PLANS)
def test_every_body_plan_draws_every_genome(plan: str) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        lineage = ("K", f"P{number}", "C", "O", "F", "G", "s")
        image = draw(lineage, plan, number, rng, (120, 90), Setting.SPECIMEN)
        assert image.size == (120, 90)
        ground = np.median(np.asarray(image, np.int64)[:4], axis=(0, 1))
        share = np.mean(np.abs(np.asarray(image, np.int64) - ground).sum(axis=-1) > 60)
        assert 0.01 < share < 0.95
