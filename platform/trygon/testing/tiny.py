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


def write_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Write a model folder: two-layer towers of random weights, 32 pixels, 16 dimensions. The folder itself."""
    import torch
    from open_clip.model import CustomTextCLIP

    from trygon.models.model import save_model

    torch.manual_seed(seed)
    save_model(folder, CustomTextCLIP(**TINY_CONFIG["model_cfg"]), TINY_CONFIG)
    return folder
