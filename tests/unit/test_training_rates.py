"""How fast each layer learns: by how many blocks lie behind it, in towers of every make."""

from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.hf_model import HFTextEncoder

from trygon.errors import UserError
from trygon.models.model import as_model
from trygon.models.towers import build_network
from trygon.testing.tiny import TINY_CONFIG, write_tiny_sentence_model
from trygon.training.optimiser import freeze, optimiser_of
from trygon.training.settings import TrainSettings
from trygon.training.towers import Towers

_TIMM = {"timm_pool": "avg", "timm_proj": "linear", "image_size": 64}


def _towers(vision: dict[str, Any] | None = None, text: torch.nn.Module | None = None) -> Towers:
    config = TINY_CONFIG["model_cfg"] | ({"vision_cfg": vision} if vision else {})
    net: Any = build_network(config, None)
    net.visual.preprocess_cfg = {"size": 64} | TINY_CONFIG["preprocess_cfg"]
    if text:
        net.text = text
    return Towers(as_model(net, None, "", "", torch.device("cpu")))


def _settings(**changes: Any) -> TrainSettings:
    rates: dict[str, Any] = {"image_learning_rate": 1.0, "text_learning_rate": 1.0, "layer_decay": 0.5}
    return TrainSettings(**{"initial": "", "shards": (), "taxa": "", "metrics": ""} | rates | changes)


def _rates(towers: Towers) -> dict[str, float]:
    """Of each parameter, beside the peak of its tower."""
    groups = optimiser_of(towers, _settings()).param_groups
    peaks = {id(it): group["peak"] for group in groups for it in group["params"]}
    return {name: peaks[id(it)] for name, it in towers.named_parameters()}


def _steps_of(rates: dict[str, float], tower: str) -> list[float]:
    """The rates of a tower in the order of its layers, each once."""
    return list(dict.fromkeys(rate for name, rate in rates.items() if name.startswith(f"net.{tower}.")))


def test_blocks_of_stages_follow_each_other() -> None:
    """ConvNeXt: stages of 1, 2, 4 and 2 blocks, and what halves the picture before three of them."""
    rates = _rates(_towers({"timm_model_name": "test_convnext"} | _TIMM))
    assert _steps_of(rates, "visual") == [0.5**depth for depth in range(13, -1, -1)]
    trunk = "net.visual.trunk"
    assert rates[f"{trunk}.stem.0.weight"] == 0.5**13
    assert rates[f"{trunk}.stages.0.blocks.0.conv_dw.weight"] == 0.5**12
    assert rates[f"{trunk}.stages.3.downsample.1.weight"] == 0.5**3
    assert rates[f"{trunk}.stages.3.blocks.1.conv_dw.weight"] == 0.5
    assert rates["net.visual.head.proj.weight"] == 1


def test_blocks_of_open_clips_resnets_follow_each_other() -> None:
    rates = _rates(_towers({"layers": [1, 2, 1, 1], "width": 8, "head_width": 16, "image_size": 64}))
    assert rates["net.visual.conv1.weight"] == rates["net.visual.bn3.weight"] == 0.5**6
    assert rates["net.visual.layer1.0.conv1.weight"] == 0.5**5
    assert rates["net.visual.layer2.1.conv1.weight"] == 0.5**3
    assert rates["net.visual.layer4.0.bn1.weight"] == 0.5
    assert rates["net.visual.attnpool.positional_embedding"] == 1


def test_blocks_of_hugging_faces_text_towers_follow_each_other(tmp_path: Path) -> None:
    words = str(write_tiny_sentence_model(tmp_path))
    text = HFTextEncoder(words, 16, pooler_type="mean_pooler", proj_type="linear", pretrained=False)
    rates = _rates(_towers(text=text))
    assert _steps_of(rates, "text") == [0.5**3, 0.5**2, 0.5, 1]
    assert rates["net.text.transformer.embeddings.word_embeddings.weight"] == 0.5**3
    assert rates["net.text.transformer.encoder.layer.0.attention.self.query.weight"] == 0.5**2
    assert rates["net.text.proj.weight"] == 1


def test_what_learns_without_blocks_that_are_known_cannot_learn_by_depth() -> None:
    class Bag(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.EmbeddingBag(9, 16)

    towers = _towers(text=Bag())
    with pytest.raises(UserError, match="layer_decay: the blocks of this text tower are not known"):
        optimiser_of(towers, _settings())
    optimiser_of(towers, _settings(layer_decay=1.0))
    freeze(towers.net, frozen := _settings(freeze_text_tower=True))
    optimiser_of(towers, frozen)
