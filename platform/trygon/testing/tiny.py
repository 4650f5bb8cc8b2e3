"""A model that is small but real: open_clip builds, saves and loads it like any other."""

from pathlib import Path
from typing import Any

TINY_SIDE = 32

TINY_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": TINY_SIDE, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "resize_mode": "squash",
    },
}


def write_tiny_model(folder: Path, seed: int = 0, side: int = TINY_SIDE) -> Path:
    """Write a model folder: two-layer towers of random weights, 16 patches, 16 dimensions. The folder itself."""
    import torch
    from open_clip.model import CustomTextCLIP

    from trygon.models.model import save_model

    model_cfg: dict[str, Any] = TINY_CONFIG["model_cfg"]
    sizes = {"image_size": side, "patch_size": side // 4}
    config = TINY_CONFIG | {"model_cfg": model_cfg | {"vision_cfg": model_cfg["vision_cfg"] | sizes}}
    torch.manual_seed(seed)
    save_model(folder, CustomTextCLIP(**config["model_cfg"]), config, tokenizer=None)  # open_clip's own
    return folder


SENTENCE_WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", ".", "with", "common", "name"),
    *("lion", "leo", "panthera", "felidae", "carnivora", "tree", "frog", "oak", "moth", "fern", "owl", "trout"),
)


def write_tiny_sentence_model(folder: Path) -> Path:
    """Write a sentence encoder of BERT's family: two layers of random weights that differ from token to token as a
    trained one's do, and a vocabulary of a few words. The folder itself."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast  # pyright: ignore[reportAttributeAccessIssue]

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(SENTENCE_WORDS) + "\n")
    config = BertConfig(
        vocab_size=len(SENTENCE_WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def tiny_sentence_architecture() -> dict[str, Any]:
    """An architecture whose text tower can start from the tiny sentence encoder."""
    text_cfg = {
        "context_length": 12, "vocab_size": len(SENTENCE_WORDS), "hf_tokenizer_name": "tiny",
        "tokenizer_kwargs": {"strip_sep_token": True}, "width": 32, "heads": 4, "layers": 3, "mlp_ratio": 2.0,
        "embed_cls": True, "no_causal_mask": True, "pool_type": "last",
    }  # fmt: skip
    return TINY_CONFIG | {"model_cfg": TINY_CONFIG["model_cfg"] | {"embed_dim": 40, "text_cfg": text_cfg}}
