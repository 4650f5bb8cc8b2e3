"""What training starts from: the captions that a text tower learns first, and weights that come from elsewhere."""

from pathlib import Path

import pytest
import torch
from open_clip.model import CustomTextCLIP
from torch.nn.functional import normalize

from trygon.errors import UserError
from trygon.models.distillation import distil
from trygon.models.model import load_model
from trygon.models.towers import build_network, load_pretrained, read_architecture, same_order_weights
from trygon.taxonomy.captions import MIXED, TextType, caption
from trygon.taxonomy.taxon import Taxon
from trygon.testing.tiny import TINY_CONFIG, write_tiny_model
from trygon.training.curriculum import caption_curriculum

LION = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo"), "lion")
DAISY = Taxon(("Plantae", "Tracheophyta", "Magnoliopsida", "Asterales", "Asteraceae", "Bellis", "perennis"))


def test_curriculum_starts_with_the_own_taxa_and_never_repeats() -> None:
    captions = caption_curriculum([LION, DAISY], None, 100, MIXED, seed=0)
    assert len(captions) == len(set(captions))
    assert caption(LION, TextType.COM) in captions


def test_distillation_brings_the_text_tower_to_its_targets(tmp_path: Path) -> None:
    model = load_model(write_tiny_model(tmp_path / "tiny"))
    captions = [f"a photo of a {word}." for word in ("lion", "daisy", "trout", "moth", "oak", "fern", "owl", "toad")]
    torch.manual_seed(0)
    targets = normalize(torch.randn(len(captions), model.dim), dim=1)
    counted: list[int] = []
    cosine = distil(model.net, model.tokenizer, captions, targets, 40, counted.append, 8, learning_rate=3e-3)
    assert cosine > 0.9
    assert sum(counted) == 40 * len(captions)
    distil(model.net, model.tokenizer, captions, targets, 10, counted.append, 8)  # the rates rise for one step


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
    torch.save(CustomTextCLIP(**TINY_CONFIG["model_cfg"]).state_dict(), tmp_path / "other.pt")
    for name in ("damaged.pt", "damaged.safetensors"):
        (tmp_path / name).write_bytes(b"no weights at all")
    network = CustomTextCLIP(**(TINY_CONFIG["model_cfg"] | {"embed_dim": 24}))
    for name in ("other.pt", "damaged.pt", "damaged.safetensors"):
        with pytest.raises(UserError, match="cannot be loaded into ViT-B-16"):
            load_pretrained(network, "ViT-B-16", str(tmp_path / name))


def test_tiny_config_is_open_clips_form() -> None:
    assert TINY_CONFIG["model_cfg"]["embed_dim"] == 16
