"""A model's card says what its run was trained on, which may be a part of the shards."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from trygon.data.shards import COUNTS, count_species, write_rows
from trygon.models.card import Seen, model_card
from trygon.schemas import COUNT
from trygon.taxonomy.taxon import RANKS
from trygon_jobs.recipe import extended, parse, read_source
from trygon_jobs.train import TrainConfig

FIGURES = {"step": 10, "candidates": 8} | {f"{rank}/top1": 0.5 for rank in ("species", "genus", "family", "class")}


def _card(seen: Seen, **changes: Any) -> str:
    given = {"batch_size": 4, "objective": "clip", "text_types": ["sci"], "shards": "s", "out": "o"} | changes
    recipe = TrainConfig.model_validate(given).model_dump(mode="json")
    return model_card(recipe, seen, 10, {"broken": 0, "cut_captions": 0}, FIGURES | {"species/n": 16})


def test_samples_and_species_are_those_of_the_run() -> None:
    card = _card(Seen("0" * 64, 900, 30, 12))
    assert "- training samples: 900 in an epoch, of 30 species\n" in card
    assert "On 16 validation pictures of trained species, named" in card
    assert "species held out of these samples: 12\n" in card
    assert "900 in an epoch\n" in _card(Seen("", 900, None, None))


@pytest.mark.parametrize("part", [{"split": "train_small"}, {"sources": {"eol": 1.0}}])
def test_of_a_part_validation_is_not_said_to_be_on_trained_species(part: dict[str, Any]) -> None:
    assert "validation pictures of species of all these shards, not all of them trained on" in _card(
        Seen("", 900, 30, 12), **part
    )


def test_of_a_part_of_a_source_species_are_at_most_so_many() -> None:
    assert "of at most 30 species" in _card(Seen("", 900, 30, 12), sources={"eol": 0.5, "inat21": 1.0})


def test_card_says_what_the_model_started_from_and_how_it_learned() -> None:
    seen = Seen("", 900, 30, 12)
    rates = {"image_learning_rate": 1e-5, "text_learning_rate": 3e-6, "precision": "bf16", "epochs": 3}
    card = _card(seen, initial={"model": "hf-hub:imageomics/bioclip", "sentence_model": "not used"}, **rates)
    assert "10 steps of 4 samples in 3 epochs, " in card
    assert ", precision bf16.\n" in card
    assert "- started from the model `hf-hub:imageomics/bioclip`\n" in card
    assert "- image tower trained at learning rates of up to 1e-05, text tower trained at 3e-06\n" in card
    assert "held out of these samples: 12; what it started from may have been trained on some of them\n" in card
    assert "ImageNet" not in card
    assert "sentence" not in card


def test_card_speaks_of_imagenet_and_the_sentence_model_where_they_were_parts() -> None:
    initial = extended(parse(read_source("starter")))["initial"]
    card = _card(Seen("", 900, 30, 12), initial=initial, freeze_image_trunk=True, freeze_text_tower=True)
    assert (
        "- started from the architecture `starter`, image trunk `sample:towers/mobilenet_v2.pth`, "
        "text tower `sample:towers/minilm`\n"
    ) in card
    assert (
        "- image trunk frozen, what follows it trained at learning rates of up to 0.0001, text tower frozen\n" in card
    )
    assert "12; an image trunk from ImageNet knows its classes, and a sentence model knows their names\n" in card
    nothing = _card(Seen("", 900, 30, 12), initial={"architecture": "ViT-B-16"})
    assert "- started from the architecture `ViT-B-16`, its weights drawn at random\n" in nothing


def test_species_are_counted_by_split_and_source(tmp_path: Path) -> None:
    assert count_species(tmp_path, "train", ()) is None
    rows = [
        ("train", "eol", "Panthera", "leo", "lion"), ("train", "eol", "Panthera", "leo", ""),
        ("train", "eol", "Panthera", "", ""), ("train", "inat21", "Bellis", "perennis", ""),
        ("train_small", "eol", "Panthera", "leo", ""),
    ]  # fmt: skip
    table = [
        dict.fromkeys(RANKS, "") | {"split": split, "source": source, "genus": genus, "species": species}
        | {"common": common, "num_samples": 1}
        for split, source, genus, species, common in rows
    ]  # fmt: skip
    table.append(table[0] | {"family": "Felidae"})  # the same species
    write_rows(tmp_path / COUNTS, pa.Table.from_pylist(table, schema=COUNT))
    assert count_species(tmp_path, "train", ()) == 2
    assert count_species(tmp_path, "train", {"eol": 1.0}) == 1
    assert count_species(tmp_path, "train_small", ()) == 1
    assert count_species(tmp_path, "train", {"bioscan": 1.0}) is None
