"""A sentence encoder rebuilt as open_clip's text tower says of captions what the encoder says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.tokenizer import HFTokenizer
from torch.nn.functional import cosine_similarity, normalize

from trygon.errors import UserError
from trygon.models.model import encode_text, load_model
from trygon.models.sentence_tower import load_sentence_model, sentence_vectors, start_text_tower
from trygon.models.towers import build_network
from trygon.testing.tiny import SENTENCE_WORDS, tiny_sentence_architecture, write_tiny_sentence_model
from trygon.training.initial import SentenceStart, write_initial

CAPTIONS = [f"a photo of {a} {b}." for a in SENTENCE_WORDS[12:] for b in SENTENCE_WORDS[12:] if a != b]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sentence_model(tmp_path_factory.mktemp("sentences"))


def _network(context_length: int = 12) -> Any:
    architecture = tiny_sentence_architecture()["model_cfg"]
    return build_network(
        architecture | {"text_cfg": architecture["text_cfg"] | {"context_length": context_length}}, None
    )


def _tokenizer(folder: Path, context_length: int = 12) -> Any:
    return HFTokenizer(str(folder), context_length=context_length, strip_sep_token=True)


def _stage(title: str, total: int) -> Callable[[int], None]:
    return lambda number: None


def test_rebuilt_tower_agrees_with_the_encoder(sentences: Path) -> None:
    words, encoder = load_sentence_model(sentences)
    network = _network()
    start_text_tower(network.text, encoder, words, CAPTIONS[::2])
    with torch.inference_mode():
        given = network.text(_tokenizer(sentences)(CAPTIONS[1::2]))
    wanted = sentence_vectors(encoder, words, CAPTIONS)
    wanted = normalize(wanted - wanted.mean(0), dim=1)[1::2]
    assert torch.count_nonzero(given[:, 32:]) == 0
    assert cosine_similarity(given[:, :32], wanted).mean() > 0.9


@pytest.mark.parametrize("context_length", [7, 12])
def test_trimmed_captions_give_the_same_vectors_behind_a_class_token(sentences: Path, context_length: int) -> None:
    """Of one length and of several, with and without padding behind the longest."""
    torch.manual_seed(0)
    network = _network(context_length).eval()
    tokens = _tokenizer(sentences, context_length)(["a photo of lion.", "a photo of lion tree frog.", "lion"])
    with torch.inference_mode():
        for rows in (tokens, tokens[:1], tokens[2:]):
            torch.testing.assert_close(encode_text(network, rows), network.text(rows), atol=1e-5, rtol=1e-5)


def test_initial_model_learns_what_the_encoder_says(sentences: Path, tmp_path: Path) -> None:
    import json

    architecture = tmp_path / "architecture.json"
    architecture.write_text(json.dumps(tiny_sentence_architecture()))
    stages: list[str] = []

    def stage(title: str, total: int) -> Any:
        stages.append(f"{title} {total}")
        return lambda number: None

    start = SentenceStart(sentences, CAPTIONS, 12)
    cosine = write_initial(tmp_path / "initial", str(architecture), None, False, start, 0, stage)
    assert cosine
    assert cosine > 0.95
    assert stages == [
        f"the sentence model's vectors {len(CAPTIONS)}",
        f"the text tower learns them {12 * len(CAPTIONS)}",
    ]
    assert load_model(tmp_path / "initial").encode_texts(CAPTIONS[:3]).shape == (3, 40)


def test_what_does_not_fit_is_said(sentences: Path, tmp_path: Path) -> None:
    words, encoder = load_sentence_model(sentences)
    architecture = tiny_sentence_architecture()["model_cfg"]
    network: Any = build_network(architecture | {"text_cfg": architecture["text_cfg"] | {"layers": 2}}, None)
    with pytest.raises(UserError, match="width 32, heads 4, layers 3"):
        start_text_tower(network.text, encoder, words, CAPTIONS)
    with pytest.raises(UserError, match="trygon sample"):
        load_sentence_model(tmp_path)
    with pytest.raises(UserError, match=r"initial\.sentence_model"):
        write_initial(tmp_path / "x", "starter", None, False, None, 0, _stage)
    with pytest.raises(UserError, match="CLIP's tokenizer"):
        write_initial(tmp_path / "x", "ViT-B-16", None, False, SentenceStart(sentences, [], 1), 0, _stage)
