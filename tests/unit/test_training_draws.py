"""What layers draw at random: nothing where they are frozen, and the same in both passes over a batch in pieces."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CustomTextCLIP
from torch import Tensor
from torch.nn.functional import normalize

from trygon.models.model import load_model, save_model
from trygon.testing.tiny import SENTENCE_WORDS, TINY_CONFIG, TINY_SIDE, write_tiny_model, write_tiny_sentence_model
from trygon.training.learner import Learner
from trygon.training.settings import TrainSettings

_NUM = 4


def _settings(**changes: Any) -> TrainSettings:
    values: dict[str, Any] = {"initial": "", "shards": (), "taxa": "", "metrics": "", "batch_size": _NUM}
    return TrainSettings(**values | changes)


def _batch(num_tokens: int, context_length: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.randint(0, 255, (_NUM, 3, TINY_SIDE, TINY_SIDE), dtype=torch.uint8, generator=generator),
        "tokens": torch.randint(1, num_tokens, (_NUM, context_length), generator=generator),
        "clades": torch.arange(7 * _NUM).reshape(_NUM, 7) + 1,
    }


def test_a_frozen_text_tower_drops_nothing(tmp_path: Path) -> None:
    """Its vectors are kept: noise in them would stay."""
    words = str(write_tiny_sentence_model(tmp_path / "words"))
    net: Any = load_model(write_tiny_model(tmp_path / "tiny"), "cpu").net
    net.text = HFTextEncoder(words, 16, pooler_type="mean_pooler", proj_type="linear", pretrained=False)
    model = replace(load_model(tmp_path / "tiny", "cpu"), net=net)
    learner = Learner(model, _settings(freeze_text_tower=True))
    batch = _batch(len(SENTENCE_WORDS), 12)
    encoded, _, _ = learner.towers(batch)
    with torch.no_grad():
        wanted = normalize(net.text.eval()(batch["tokens"]), dim=-1)
    torch.testing.assert_close(encoded.text_BD, wanted)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.requires_gpu)])
def test_both_passes_over_a_batch_in_pieces_see_the_same_patches(tmp_path: Path, device: str) -> None:
    """open_clip draws those that it drops on the CPU, wherever the tower is."""
    parts = TINY_CONFIG["model_cfg"]
    config = TINY_CONFIG | {"model_cfg": parts | {"vision_cfg": parts["vision_cfg"] | {"patch_dropout": 0.5}}}
    save_model(tmp_path, CustomTextCLIP(**config["model_cfg"]), config, tokenizer=None)
    learner = Learner(load_model(tmp_path, device), _settings(micro_batch=2))
    batch, seen = _batch(49408, 77), list[Tensor]()
    learner.towers.register_forward_hook(lambda *call: seen.append(call[-1][0].image_BD.detach()))
    learner.backward(batch)
    first, second, first_again, second_again = seen
    torch.testing.assert_close(first_again, first)
    torch.testing.assert_close(second_again, second)
    anew, _, _ = learner.towers({name: column[:2] for name, column in batch.items()})
    assert not torch.allclose(anew.image_BD, first, atol=1e-3)
