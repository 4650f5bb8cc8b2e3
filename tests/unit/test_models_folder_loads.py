"""A model folder that trygon wrote loads by open_clip alone, with the same weights."""

from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import HFTokenizer

from trygon.models.model import save_model
from trygon.models.towers import build_network, read_architecture
from trygon.testing.tiny import tiny_sentence_architecture, write_tiny_model, write_tiny_sentence_model


def test_tiny_folder_loads_by_open_clip(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "tiny")
    loaded: Any = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    assert loaded[0].text.context_length == 77


def test_folder_with_a_sentence_models_tokenizer_loads_by_open_clip(tmp_path: Path) -> None:
    words = HFTokenizer(str(write_tiny_sentence_model(tmp_path / "sentences")), context_length=12)
    architecture = tiny_sentence_architecture()
    network = build_network(architecture["model_cfg"], None)
    save_model(tmp_path / "model", network, architecture, words)
    name = f"local-dir:{tmp_path / 'model'}"
    loaded: Any = open_clip.create_model_from_pretrained(name)
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, loaded[0].state_dict()[key]), key
    tokenizer: Any = open_clip.get_tokenizer(name, context_length=12)
    assert torch.equal(tokenizer(["a photo of lion."])[0, :4], words(["a photo of lion."])[0, :4])


def test_the_starter_is_an_architecture_that_open_clip_builds() -> None:
    network: Any = build_network(read_architecture("starter")["model_cfg"], None)
    assert (network.text.width, network.text.pool_type, len(network.text.transformer.resblocks)) == (384, "last", 7)
