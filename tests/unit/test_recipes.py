"""Every recipe and grid that ships is complete: its job takes it, and open_clip knows the model it starts from."""

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from trygon.errors import UserError
from trygon.models.model import load_model
from trygon.models.towers import read_architecture
from trygon.testing.tiny import TINY_SIDE, write_tiny_model
from trygon.training.learner import Learner
from trygon.training.settings import RunSettings, TrainSettings
from trygon.training.towers import trunk_of
from trygon_jobs.cli import check_command
from trygon_jobs.curate import CurateConfig
from trygon_jobs.recipe import extended, parse, read_config, read_source
from trygon_jobs.train import TrainConfig

JOBS = Path(__file__).parents[2] / "jobs/trygon_jobs"
CURATION = ("photos", "treeoflife")
TRAINING = sorted(path.stem for path in (JOBS / "recipes").glob("*.yaml") if path.stem not in CURATION)


def _settings(recipe: str) -> dict[str, Any]:
    return extended(parse(read_source(recipe)))


def _train(recipe: str) -> TrainConfig:
    return TrainConfig.model_validate(_settings(recipe) | {"shards": "s", "out": "o"})


@pytest.mark.parametrize("recipe", CURATION)
def test_curation_takes_its_recipe(recipe: str) -> None:
    assert CurateConfig.model_validate(_settings(recipe) | {"out": "o"})
    assert check_command(["curate", "o", "--config", recipe])[1]


@pytest.mark.parametrize("recipe", TRAINING)
def test_training_takes_its_recipe(recipe: str) -> None:
    config = _train(recipe)
    assert config.batch_size % config.workers == 0
    # As the command line reads it.
    assert check_command(["train", "--shards", "s", "--out", "o", "--config", recipe])[1]


@pytest.mark.parametrize("recipe", TRAINING)
def test_open_clip_knows_the_model_of_a_recipe(recipe: str) -> None:
    initial = _train(recipe).initial
    assert read_architecture(initial.architecture)["model_cfg"]["embed_dim"]
    if initial.pretrained:
        assert initial.pretrained in open_clip.list_pretrained_tags_by_model(initial.architecture)


def test_pretrained_weights_bring_the_preprocessing_that_they_were_trained_with() -> None:
    initial = _train("bioclip2").initial
    cfg = read_architecture(initial.architecture, initial.pretrained)["preprocess_cfg"]
    assert tuple(cfg["mean"]) == tuple(cfg["std"]) == (0.5, 0.5, 0.5)  # other weights of this architecture have others
    assert read_architecture(initial.architecture, "openai")["preprocess_cfg"]["mean"][0] != 0.5
    assert read_architecture(initial.architecture)["preprocess_cfg"] == {}
    siglip = _train("siglip").initial
    assert read_architecture(siglip.architecture, siglip.pretrained)["preprocess_cfg"]["resize_mode"] == "squash"


def test_a_file_of_weights_brings_the_preprocessing_that_all_of_its_architecture_share(tmp_path: Path) -> None:
    file = tmp_path / "open_clip_model.safetensors"
    file.touch()
    for recipe in ("bioclip", "siglip"):
        initial = _train(recipe).initial
        wanted = read_architecture(initial.architecture, initial.pretrained)
        assert wanted["preprocess_cfg"]["mean"]
        assert read_architecture(initial.architecture, str(file)) == wanted
    with pytest.raises(UserError, match=r"weights of ViT-L-14 differ in that: give their tag .* or --initial\.model"):
        read_architecture(_train("bioclip2").initial.architecture, str(file))
    assert read_architecture("ViT-M-16", str(file))["preprocess_cfg"] == {}  # none of them are known


def test_a_recipe_differs_from_the_one_it_extends_only_in_what_it_says() -> None:
    base, config = _train("bioclip").model_dump(), _train("inat21").model_dump()
    assert {name for name in base if base[name] != config[name]} == {"sources", "workers", "batch_size"}


@pytest.mark.parametrize(
    ("recipe", "global_batch", "epochs", "warmup"),
    [("bioclip", 32768, 100, 1000), ("tol1m", 16384, 100, 1000), ("bioclip2", 90112, 30, 1875)],
)
def test_recipes_of_published_models_are_as_published(
    recipe: str, global_batch: int, epochs: int, warmup: int
) -> None:
    config = _train(recipe)
    assert (config.batch_size, config.epochs, config.warmup_steps) == (global_batch, epochs, warmup)
    assert config.image_learning_rate == config.text_learning_rate == 1e-4
    assert (config.weight_decay, config.beta2, config.objective, config.seed) == (0.2, 0.98, "clip", 42)
    # RandomResizedCrop's ratios, and nothing that is mirrored.
    assert (config.crop_ratio, config.mirror) == ((3 / 4, 4 / 3), False)
    # In the order that `--text-draw step` draws from as BioCLIP did.
    assert config.text_types == ("sci", "com", "taxon", "sci_com", "taxon_com")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["bioclip", "bioclip2", "inat21", "lit", "siglip", "tol1m"])
def test_a_model_learns_with_all_that_a_recipe_says(recipe: str, tmp_path: Path) -> None:
    """Two steps of a small model, in the recipe's precision, compiled, with checkpointing and replay if it says so."""
    given = _train(recipe).model_dump(include=set(RunSettings.model_fields)) | {"batch_size": 4}
    if given["replay_batch_size"]:
        given |= {"replay_batch_size": 4, "replay": ("pairs.parquet",)}
    model = load_model(write_tiny_model(tmp_path), "cpu")
    places = {"initial": str(tmp_path), "shards": (), "taxa": "", "metrics": ""}
    learner = Learner(model, TrainSettings.model_validate(given | places | {"warmup_steps": 0}))
    batch = {
        "image": torch.randint(0, 255, (4, 3, TINY_SIDE, TINY_SIDE), dtype=torch.uint8),
        "tokens": model.tokenizer(["a lion", "a daisy", "an oak", "a moth"]),
        "clades": torch.arange(28).reshape(4, 7) + 1,
    }
    if learner.settings.freeze_image_trunk:
        with torch.no_grad():
            batch["feature"] = trunk_of(model.net.visual)(model.normalise(batch.pop("image")))
    replayed = {f"replay_{name}": column for name, column in batch.items() if name != "clades"}
    steps = [learner.step(batch | (replayed if learner.settings.replay else {}), step, 3) for step in range(2)]
    assert steps[1]["loss"] < steps[0]["loss"]
    assert ("replay_loss" in steps[0]) == (recipe == "bioclip2")


def test_own_keys_stand_in_place_of_those_of_the_extended_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: bioclip2\ninitial: {model: my-model}\nepochs: 3\n")
    settings = extended(parse(read_config(str(tmp_path / "mine.yaml"))))
    assert settings["initial"] == {"model": "my-model"}
    assert (settings["epochs"], settings["warmup_steps"], settings["beta2"]) == (3, 1875, 0.98)
    assert "extends" not in settings
    sent = check_command(["train", "--shards", "s", "--out", "o", "--config", str(tmp_path / "mine.yaml")])[1]
    assert sent == (tmp_path / "mine.yaml").read_text()  # the cluster has the same recipes


def test_only_recipes_that_ship_are_extended(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("epochs: 3\n")
    for name in ("nope", str(tmp_path / "base.yaml")):
        with pytest.raises(UserError, match=f"extends {name}: no such recipe \\(recipes: bioclip, "):
            extended({"extends": name})
