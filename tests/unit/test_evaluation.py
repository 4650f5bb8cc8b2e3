"""Metrics per rank, intervals, and the page, on predictions that are known."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trygon.data.images import encode_jpeg
from trygon.data.shards import shard_path, write_shard
from trygon.evaluation.few_shot import few_shot_metrics
from trygon.evaluation.metrics import rank_metrics, wilson
from trygon.evaluation.page import render
from trygon.evaluation.ranking import rank_clades
from trygon.evaluation.species import joined, joint_lineages
from trygon.evaluation.zero_shot import evaluate, seen_task, tasks_of
from trygon.models.model import load_model
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.tiny import write_tiny_model

CAT_FAMILY = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae")
LION = Taxon((*CAT_FAMILY, "Panthera", "leo"), "lion")
TIGER = Taxon((*CAT_FAMILY, "Panthera", "tigris"), "tiger")
CAT = Taxon((*CAT_FAMILY, "Felis", "catus"), "cat")
ROBIN = Taxon(("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Erithacus", "rubecula"), "robin")


def _ranked(samples: Sequence[tuple[Taxon, Sequence[Taxon]]]) -> dict[str, float]:
    """The metrics of samples, each with the candidates in the order of their scores."""
    tree = TaxonTree.from_taxa(samples[0][1])
    score_BN = [[-ranking.index(taxon) for taxon in tree.taxa] for _, ranking in samples]
    truths = [truth for truth, _ in samples]
    ranking = rank_clades(np.asarray(score_BN, np.float32), np.eye(len(tree)), truths, tree)
    return rank_metrics(truths, ranking, tree)


def test_wilson_interval_is_the_published_one() -> None:
    low, high = wilson(0.5, 10)
    assert (round(low, 3), round(high, 3)) == (0.237, 0.763)
    assert wilson(0, 0) == (0, 1)


def test_a_rank_is_right_where_the_lineage_agrees() -> None:
    metrics = _ranked([(LION, (TIGER, CAT, LION, ROBIN)), (ROBIN, (ROBIN, CAT, LION, TIGER))])
    assert metrics["species/top1"] == 0.5
    assert metrics["species/top5"] == 1
    assert metrics["genus/top1"] == 1
    assert metrics["species/n"] == 2
    assert metrics["species/chance"] == 0.25
    assert metrics["family/chance"] == pytest.approx((0.75 + 0.25) / 2)
    assert metrics["species/top1_low"] < 0.5 < metrics["species/top1_high"]


def _write(shards: Path, split: str, *taxa: Taxon) -> None:
    image = encode_jpeg(Image.new("RGB", (40, 40)))
    rows = [
        {"sample_id": n, "image": image, **dict(zip(RANKS, taxon.lineage, strict=True)), "common": taxon.common,
         "split": split, "source": "t", "source_id": str(n)}
        for n, taxon in enumerate(taxa)
    ]  # fmt: skip
    write_shard(shard_path(shards, split, 0), rows)


def test_one_species_under_two_common_names_is_one_candidate(tmp_path: Path) -> None:
    _write(tmp_path, "unseen", *(replace(LION, common=common) for common in ("", "lion", "cat of prey")))
    (task,) = (task for task in tasks_of(tmp_path) if task.name == "unseen")
    assert [taxon.common for taxon in task.candidates] == ["cat of prey"]


LION_ELSEWHERE = Taxon(("Animalia", "", "Mammalia", "", "Pantheridae", "Panthera", "leo"))


def test_one_species_under_two_lineages_is_one_candidate_and_one_class(tmp_path: Path) -> None:
    for split in ("train", "val", "unseen"):
        _write(tmp_path, split, LION, LION_ELSEWHERE, TIGER, LION)
    for task in tasks_of(tmp_path):
        assert [taxon.label for taxon in task.candidates] == ["lion (Panthera leo)", "tiger (Panthera tigris)"]
        assert [truth.lineage for truth in task.truths] == [(LION, TIGER)[n == 2].lineage for n in range(4)]
        assert few_shot_metrics(np.eye(4), task.truths)["1/left_out"] == 1
    assert seen_task(tmp_path, 9, 9) == tasks_of(tmp_path)[0]


def test_the_fullest_lineage_stands_for_a_species_within_its_kingdom() -> None:
    blank = Taxon(("", "", "", "", "", "Oenanthe", "oenanthe"))
    bird = Taxon(("Animalia", "Chordata", "", "", "", "Oenanthe", "oenanthe"))
    poor = Taxon(("Animalia", "", "", "", "", "Oenanthe", "oenanthe"))
    plant = Taxon(("Plantae", "", "", "", "", "Oenanthe", "oenanthe"))
    homeless = [Taxon(("Animalia", "", "", "", family, "", "albus")) for family in ("Aidae", "Bidae")]

    def joint(*taxa: Taxon) -> list[Taxon]:
        return joined(taxa, joint_lineages(taxon.lineage for taxon in taxa))

    assert joint(blank, bird, poor) == [bird] * 3
    assert joint(blank, bird, poor, plant) == [blank, bird, bird, plant]
    assert joint(*homeless) == homeless


def test_seen_are_species_that_were_trained(tmp_path: Path) -> None:
    _write(tmp_path, "train", LION, TIGER)
    _write(tmp_path, "val", CAT, LION_ELSEWHERE)
    (task,) = tasks_of(tmp_path)
    assert (task.name, task.truths, task.candidates) == ("seen", (replace(LION, common=""),), (LION, TIGER))
    assert len(task.images) == len(task.credits) == 1
    assert seen_task(tmp_path, 9, 9) == task


def test_five_guesses_reach_what_counting_says() -> None:
    robins = [Taxon((*ROBIN.lineage[:5], f"G{i}", "x")) for i in range(18)]
    metrics = _ranked([(LION, (LION, TIGER, *robins))])
    assert metrics["species/chance_top5"] == pytest.approx(5 / 20, abs=0.02)
    assert metrics["class/chance_top5"] == 1
    # Missed where none of the first five draws is one of the genus' two species: C(18, 5) / C(20, 5).
    assert metrics["genus/chance_top5"] == pytest.approx(1 - 8568 / 15504, abs=0.03)


def test_five_best_clades_are_distinct() -> None:
    many_cats = [Taxon((*CAT_FAMILY, "Panthera", f"x{letter}"), "") for letter in "abcde"]
    metrics = _ranked([(ROBIN, (*many_cats, ROBIN))])
    assert metrics["species/top5"] == 0
    assert metrics["class/top5"] == 1


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, taxa in {"train": (LION, TIGER), "val": (LION, TIGER), "unseen": (CAT, ROBIN)}.items():
        rows = [
            {
                "sample_id": number,
                "image": encode_jpeg(Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))),
                **dict(zip(RANKS, taxon.lineage, strict=True)),
                "common": taxon.common,
                "split": split,
                "source": "test",
                "source_id": str(number),
                "license": "CC-BY-4.0",
                "rights_holder": f"Photographer <{number}>" if split == "val" else None,
            }
            for number, taxon in enumerate(taxa)
        ]
        write_shard(shard_path(tmp_path, split, 0), rows)
    return tmp_path


def test_evaluation_of_a_real_model_and_its_page(shards: Path, tmp_path: Path) -> None:
    tasks = tasks_of(shards)
    assert {task.name: len(task.candidates) for task in tasks} == {"seen": 2, "unseen": 2, "unseen_among_all": 4}
    assert tasks[1].images is tasks[2].images
    model = load_model(write_tiny_model(tmp_path / "model"))
    metrics, shown = evaluate(model, tasks)
    assert metrics["zero_shot/unseen/taxon/family/n"] == 2
    assert metrics["zero_shot/unseen/com/kingdom/top1"] == 1
    page = render("model", "", metrics, tasks, shown)
    assert "held out of the training samples" in page
    assert page.count("data:image/jpeg") == 6
    assert page.count("<small>CC-BY-4.0</small>") == 4
    assert "<small>Photographer &lt;1&gt;, CC-BY-4.0</small>" in page
