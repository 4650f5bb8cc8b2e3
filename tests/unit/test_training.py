"""What is drawn at random, steps, checkpoints, and what a text tower learns first: without Ray."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from trygon.data.images import ResizeMode
from trygon.data.ingest import Preparation, draw_text_type
from trygon.errors import TrygonError, UserError
from trygon.models.distillation import distil
from trygon.models.model import Model, encode_text, load_model
from trygon.models.towers import build_network, read_architecture, same_order_weights
from trygon.taxonomy.captions import MIXED, PUBLISHED, TextType, caption
from trygon.taxonomy.taxon import Taxon
from trygon.testing.tiny import TINY_CONFIG, TINY_SIDE, write_tiny_model
from trygon.training.checkpoint import Position, blend, load_state, save_state
from trygon.training.curriculum import caption_curriculum
from trygon.training.settings import TrainSettings
from trygon.training.step import Towers, freeze, optimiser_of, set_learning_rate, take_step

LION = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo"), "lion")
DAISY = Taxon(("Plantae", "Tracheophyta", "Magnoliopsida", "Asterales", "Asteraceae", "Bellis", "perennis"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def test_draws_depend_on_sample_and_epoch_alone() -> None:
    preparation = Preparation("", 8, ResizeMode.SQUASH, MIXED, seed=3)
    drawn = [draw_text_type(preparation, epoch, sample) for epoch in range(20) for sample in range(20)]
    assert drawn == [draw_text_type(preparation, epoch, sample) for epoch in range(20) for sample in range(20)]
    assert set(drawn) == set(MIXED)


def test_trimmed_captions_give_the_same_vectors(tiny: Path) -> None:
    model = load_model(tiny)
    tokens = model.tokenizer([caption(LION, TextType.TAXON_COM), caption(DAISY, TextType.SCI)])
    with torch.inference_mode():
        whole = model.net.encode_text(tokens)  # pyright: ignore[reportCallIssue]
        torch.testing.assert_close(encode_text(model.net, tokens), whole, atol=1e-5, rtol=1e-5)


def _settings(initial: Path, **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "initial": str(initial), "shards": (), "metrics": "", "objective": "clip", "text_types": MIXED, "epochs": 1,
        "steps_per_leg": 1, "batch_size": 4, "image_learning_rate": 1e-3, "text_learning_rate": 1e-3,
        "weight_decay": 0.1, "warmup_steps": 2, "feature_dropout": 0.0, "freeze_image_trunk": False,
        "freeze_text_tower": False, "shuffle_rows": 0, "readers": 1, "seed": 0,
        "text_draw": "sample", "template": PUBLISHED,
    }  # fmt: skip
    return TrainSettings(**(values | changes))


def _samples(model: Model) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    texts = [caption(taxon, TextType.TAXON) for taxon in (LION, DAISY, LION, DAISY)]
    image = torch.randint(0, 255, (4, 3, TINY_SIDE, TINY_SIDE), dtype=torch.uint8)
    return {"image": image, "tokens": model.tokenizer(texts), "taxon": torch.tensor([1, 2, 1, 2])}


def test_steps_lower_the_loss_and_a_checkpoint_goes_on(tiny: Path, tmp_path: Path) -> None:
    settings = _settings(tiny, objective="clip_taxa")
    model = load_model(tiny)
    optimiser = optimiser_of(model.net, settings)
    towers = Towers(model, 0.0)
    batch = _samples(model)
    losses = [take_step(towers, optimiser, batch, "clip_taxa")["loss"] for _ in range(8)]
    assert losses[-1] < losses[0]
    save_state(tmp_path, model.net, optimiser, Position(2, 8))
    other = load_model(tiny)
    second = optimiser_of(other.net, settings)
    assert load_state(tmp_path, other.net, second) == Position(2, 8)
    next_loss = take_step(towers, optimiser, batch, "clip_taxa")["loss"]
    assert take_step(Towers(other, 0.0), second, batch, "clip_taxa")["loss"] == pytest.approx(next_loss, abs=1e-5)


def test_a_frozen_tower_stays(tiny: Path) -> None:
    settings = _settings(tiny, freeze_text_tower=True)
    model = load_model(tiny)
    freeze(model.net, settings)
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    take_step(Towers(model, 0.0), optimiser_of(model.net, settings), _samples(model), "clip")
    changed = {name for name, tensor in model.net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not any(name.startswith("text.") for name in changed)


def test_a_loss_that_is_not_finite_ends_training(tiny: Path) -> None:
    model = load_model(tiny)
    with torch.no_grad():
        model.net.logit_scale.fill_(float("nan"))  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    with pytest.raises(TrygonError, match="not finite"):
        take_step(Towers(model, 0.0), optimiser_of(model.net, _settings(tiny)), _samples(model), "clip")


def test_learning_rate_rises_then_falls() -> None:
    optimiser = torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))], "peak": 2.0}], lr=1.0)
    shares = [set_learning_rate(optimiser, step, 10, 2) for step in range(10)]
    assert shares[0] == 0.5
    assert max(shares) == 1
    assert shares[-1] < 0.1
    assert optimiser.param_groups[0]["lr"] == 2 * shares[-1]


def test_blended_weights_lie_between_initial_and_trained() -> None:
    trained, initial = {"w": torch.ones(2), "n": torch.tensor(7)}, {"w": torch.zeros(2), "n": torch.tensor(0)}
    blended = blend(trained, initial, 0.25)
    assert torch.equal(blended["w"], torch.full((2,), 0.75))
    assert blended["n"] == 7
    assert torch.equal(blend(trained, initial, 0.0)["w"], trained["w"])


def test_curriculum_starts_with_the_own_taxa_and_never_repeats() -> None:
    captions = caption_curriculum([LION, DAISY], None, 100, MIXED, seed=0)
    assert len(captions) == len(set(captions))
    assert caption(LION, TextType.COM) in captions


def test_distillation_brings_the_text_tower_to_its_targets(tiny: Path) -> None:
    model = load_model(tiny)
    captions = [f"a photo of a {word}." for word in ("lion", "daisy", "trout", "moth", "oak", "fern", "owl", "toad")]
    torch.manual_seed(0)
    targets = normalize(torch.randn(len(captions), model.dim), dim=1)
    counted: list[int] = []
    cosine = distil(model.net, model.tokenizer, captions, targets, 40, counted.append, 8, learning_rate=3e-3)
    assert cosine > 0.9
    assert sum(counted) == 40 * len(captions)


def test_torchvision_weights_fit_the_starters_trunk(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(0)
    source = torchvision.models.mobilenet_v2().eval()
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    network = build_network(read_architecture("starter")["model_cfg"], tmp_path / "weights.pth").eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = source.features(image).mean((2, 3))
        torch.testing.assert_close(network.visual.trunk(image), expected, atol=1e-4, rtol=1e-4)  # pyright: ignore[reportCallIssue]


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="does not hold"):
        same_order_weights({"x": torch.zeros(4)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="no architecture"):
        read_architecture("no-such-model")


def test_tiny_config_is_open_clips_form() -> None:
    assert TINY_CONFIG["model_cfg"]["embed_dim"] == 16
