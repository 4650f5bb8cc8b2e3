"""A model folder that trygon wrote loads by open_clip alone, with the same weights."""

from pathlib import Path
from typing import Any

import open_clip
import torch

from trygon.models.model import save_model
from trygon.models.towers import build_network, read_architecture
from trygon.testing.tiny import write_tiny_model


def test_tiny_folder_loads_by_open_clip(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "tiny")
    loaded: Any = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    assert loaded[0].text.context_length == 77


def test_starter_folder_loads_by_open_clip_with_its_weights(tmp_path: Path) -> None:
    architecture = read_architecture("starter")
    network = build_network(architecture["model_cfg"], None)
    save_model(tmp_path / "starter", network, architecture)
    loaded: Any = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'starter'}")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, loaded[0].state_dict()[name]), name
