"""The plan of a run, the objectives and what is drawn at random: pure functions, no Ray."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import normalize

from trygon.data.images import ResizeMode
from trygon.data.ingest import Preparation, augment, draw_text_type
from trygon.errors import TrygonError, UserError
from trygon.models.distillation import distil
from trygon.models.model import Model, encode_text, load_model
from trygon.models.towers import build_network, read_architecture, same_order_weights
from trygon.taxonomy.captions import MIXED, TextType, caption
from trygon.taxonomy.taxon import Taxon
from trygon.testing.tiny import TINY_CONFIG, TINY_SIDE, write_tiny_model
from trygon.training.checkpoint import Position, load_state, save_state
from trygon.training.curriculum import caption_curriculum
from trygon.training.objective import OBJECTIVES, clip, clip_taxa
from trygon.training.plan import RowGroup, plan_legs
from trygon.training.settings import TrainSettings
from trygon.training.step import Towers, freeze, optimiser_of, set_learning_rate, take_step

LION = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo"), "lion")
DAISY = Taxon(("Plantae", "Tracheophyta", "Magnoliopsida", "Asterales", "Asteraceae", "Bellis", "perennis"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@given(
    rows=st.lists(st.integers(1, 64), min_size=1, max_size=20),
    epochs=st.integers(1, 5),
    epochs_per_leg=st.integers(1, 5),
    world_size=st.integers(1, 4),
    seed=st.integers(0, 3),
)
def test_each_row_group_is_visited_once_an_epoch(
    rows: list[int], epochs: int, epochs_per_leg: int, world_size: int, seed: int
) -> None:
    groups = [RowGroup("shard", index, number) for index, number in enumerate(rows)]
    legs = plan_legs(groups, epochs, epochs_per_leg, world_size, 4, seed)
    visits = [visit for leg in legs for mine in leg.visits for visit in mine]
    assert sorted((visit.epoch, visit.row_group.index) for visit in visits) == [
        (epoch, index) for epoch in range(epochs) for index in range(len(rows))
    ]
    for leg in legs:
        for mine in leg.visits:
            assert leg.num_steps * 4 <= sum(visit.row_group.num_rows for visit in mine)
    assert legs == plan_legs(groups[::-1], epochs, epochs_per_leg, world_size, 4, seed)


def test_epochs_differ_in_their_order() -> None:
    groups = [RowGroup("shard", index, 8) for index in range(16)]
    first, second = plan_legs(groups, 2, 1, 1, 4, seed=0)
    assert [v.row_group for v in first.visits[0]] != [v.row_group for v in second.visits[0]]


def _batch(num: int, dim: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return normalize(torch.randn(num, dim), dim=1), normalize(torch.randn(num, dim), dim=1), torch.tensor(10.0)


def test_clip_is_open_clips_loss() -> None:
    image, text, scale = _batch(6)
    expected = open_clip.ClipLoss()(image, text, scale)
    torch.testing.assert_close(clip(image, text, scale, torch.arange(6)), expected)


def test_taxa_of_one_sample_each_are_plain_clip() -> None:
    image, text, scale = _batch(6)
    torch.testing.assert_close(
        clip_taxa(image, text, scale, torch.arange(6)), clip(image, text, scale, torch.arange(6))
    )


def test_samples_of_one_taxon_do_not_push_each_other_apart() -> None:
    vectors = normalize(torch.eye(2).repeat_interleave(2, 0), dim=1)
    taxa = torch.tensor([7, 7, 9, 9])
    scale = torch.tensor(50.0)
    assert clip_taxa(vectors, vectors, scale, taxa) == pytest.approx(np.log(2), abs=1e-4)
    assert OBJECTIVES["clip_taxa"] is clip_taxa


def test_draws_depend_on_sample_and_epoch_alone() -> None:
    preparation = Preparation(8, ResizeMode.SQUASH, 77, MIXED, seed=3)
    drawn = [draw_text_type(preparation, epoch, sample) for epoch in range(20) for sample in range(20)]
    assert drawn == [draw_text_type(preparation, epoch, sample) for epoch in range(20) for sample in range(20)]
    assert set(drawn) == set(MIXED)


def test_augmentation_keeps_to_its_scale() -> None:
    import random

    image = Image.new("RGB", (100, 60))
    for seed in range(20):
        cropped = augment(image, (0.25, 1.0), random.Random(seed))
        assert 0.2 <= cropped.width * cropped.height / 6000 <= 1


def test_trimmed_captions_give_the_same_vectors(tiny: Path) -> None:
    model = load_model(tiny)
    tokens = model.tokenizer([caption(LION, TextType.TAXON_COM), caption(DAISY, TextType.SCI)])
    with torch.inference_mode():
        whole = model.net.encode_text(tokens)  # pyright: ignore[reportCallIssue]
        torch.testing.assert_close(encode_text(model.net, tokens), whole, atol=1e-5, rtol=1e-5)


def _settings(initial: Path, **changes: object) -> TrainSettings:
    values = {
        "initial": str(initial), "shards": (), "metrics": "", "objective": "clip", "text_types": MIXED, "epochs": 1,
        "epochs_per_leg": 1, "batch_size": 4, "image_learning_rate": 1e-3, "text_learning_rate": 1e-3,
        "weight_decay": 0.1, "warmup_steps": 2, "feature_dropout": 0.0, "freeze_image_trunk": False,
        "freeze_text_tower": False, "shuffle_rows": 0, "seed": 0,
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
    cosine = distil(model.net, model.tokenizer, captions, targets, 40, counted.append, batch_size=8)
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
