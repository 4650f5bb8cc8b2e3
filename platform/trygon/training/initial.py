"""The model that training starts from: an architecture, its towers started from pretrained ones, or what another run
had come to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip import SimpleTokenizer
from open_clip.tokenizer import HFTokenizer

from trygon.errors import UserError
from trygon.mirror import local_folder
from trygon.models.classifier_start import imagenet_names, name_vectors, start_head
from trygon.models.distillation import distil, teach
from trygon.models.folder import CONFIG_NAME, read_config
from trygon.models.model import encode_text, load_model, save_model
from trygon.models.sentence_tower import load_sentence_model, sentence_vectors, start_text_tower
from trygon.models.towers import build_network, classifier_weights, load_pretrained, read_architecture
from trygon.storage import exists, join, read_json
from trygon.training.checkpoint import put_weights

Stage = Callable[[str, int], Callable[[int], None]]
"""Begins a stage of a title and a number of things to do; what it returns is told how many more are done."""

_FIT_CAPTIONS = 300


@dataclass(frozen=True)
class SentenceStart:
    """A sentence encoder's folder, the captions that its text tower learns from it, and the passes over them."""

    folder: Path
    captions: Sequence[str]
    epochs: int


def write_initial(
    folder: Path,
    architecture: str,
    image_weights: Path | None,
    head_from_classes: bool,
    sentence: SentenceStart | None,
    seed: int,
    stage: Stage,
    pretrained: str = "",
) -> float | None:
    """Write the model folder; the cosine between the text tower's vectors and the sentence encoder's, if there is one.

    Raises `UserError` where weights are missing or do not fit the architecture.
    """
    torch.manual_seed(seed)
    config = read_architecture(architecture, pretrained)
    network = build_network(config["model_cfg"], image_weights)
    if pretrained:
        load_pretrained(network, architecture, pretrained)
    tokenizer = _tokenizer(config["model_cfg"]["text_cfg"], network.context_length, sentence, pretrained)
    cosine = _start_text(network, tokenizer, sentence, stage) if sentence else None
    if head_from_classes:
        if image_weights is None:
            raise UserError("initial.image_head_from_classes needs initial.image_weights with a classifier")
        vector_CD = name_vectors(imagenet_names(), lambda texts: encode_text(network, tokenizer(texts)))
        start_head(network.visual.head.mlp, *classifier_weights(image_weights), vector_CD)  # pyright: ignore[reportAttributeAccessIssue]
    save_model(folder, network, config, tokenizer)
    return cosine


def write_checkpoint_model(folder: Path, place: str, checkpoint: str) -> int:
    """Write the model of a run's checkpoint as a model folder; the step it is of. `place` is the run's folder."""
    made = join(place, "initial")
    start = made if exists(join(made, CONFIG_NAME)) else read_json(join(place, "config.json"))["initial"]["model"]
    model = load_model(start, "cpu")
    position = put_weights(model.net, local_folder(checkpoint))
    save_model(folder, model.net, read_config(start), model.tokenizer)
    return position.step


def _tokenizer(text_cfg: dict[str, Any], context_length: int, sentence: SentenceStart | None, pretrained: str) -> Any:
    if not text_cfg.get("hf_tokenizer_name"):
        if sentence:
            raise UserError("the architecture has CLIP's tokenizer; a sentence model needs its own")
        return SimpleTokenizer(context_length=context_length)
    if not sentence and not pretrained:
        raise UserError("the architecture reads a sentence model's tokens: give initial.sentence_model")
    name = str(sentence.folder) if sentence else text_cfg["hf_tokenizer_name"]
    try:
        return HFTokenizer(name, context_length=context_length, **text_cfg.get("tokenizer_kwargs", {}))
    except OSError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"the tokenizer {name} cannot be loaded: {reason}") from error


def _start_text(network: Any, tokenizer: Any, sentence: SentenceStart, stage: Stage) -> float:
    words, encoder = load_sentence_model(sentence.folder)
    captions = sentence.captions
    start_text_tower(network.text, encoder, words, captions[:: max(1, len(captions) // _FIT_CAPTIONS)])
    progress = stage("the sentence model's vectors", len(captions))
    vector_BD = teach(lambda texts: sentence_vectors(encoder, words, texts), captions, progress)
    progress = stage("the text tower learns them", sentence.epochs * len(captions))
    return distil(network, tokenizer, captions, vector_BD, sentence.epochs, progress)
