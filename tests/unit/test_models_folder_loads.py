"""A model folder that trygon wrote loads by open_clip and by pybioclip as it is, with the same weights."""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import HFTokenizer
from PIL import Image

from trygon.data.images import ResizeMode, square, to_array
from trygon.models.model import load_model, save_model
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


def test_pybioclip_names_pictures_with_a_folder_as_we_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._dynamo

    monkeypatch.setattr(torch._dynamo.config, "disable", True)  # it compiles whatever it loads, which takes a minute
    from bioclip import CustomLabelsClassifier
    from bioclip.predict import OPENA_AI_IMAGENET_TEMPLATE

    folder, names = write_tiny_model(tmp_path / "tiny"), ["lion", "oak", "Danaus plexippus"]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    theirs = CustomLabelsClassifier(names, model_str=f"local-dir:{folder}").predict([picture])
    model = load_model(folder)
    text_ND = np.stack(
        [model.encode_texts([say(name) for say in OPENA_AI_IMAGENET_TEMPLATE]).mean(0) for name in names]
    )
    text_ND /= np.linalg.norm(text_ND, axis=1, keepdims=True)
    pixels_CHW = to_array(square(picture, model.side, ResizeMode.SQUASH))
    logits_N = model.logit_scale * text_ND @ model.encode_images(pixels_CHW[None])[0]
    ours = dict(zip(names, np.exp(logits_N) / np.exp(logits_N).sum(), strict=True))
    assert {row["classification"]: row["score"] for row in theirs} == pytest.approx(ours, abs=1e-5)
