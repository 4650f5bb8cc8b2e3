"""The card of a model folder: what it is, what it was trained on, what it is not for."""

from typing import Any


def model_card(recipe: dict[str, Any], data: dict[str, Any], num_steps: int) -> str:
    """Markdown for README.md in a model folder, from the training config and the shards' summary."""
    species, samples = data.get("num_species", {}), data.get("samples", {})
    trunk = "frozen" if recipe["freeze_image_trunk"] else "trained"
    return f"""---
library_name: open_clip
tags: [biology, zero-shot-image-classification]
---
# A contrastive image-text model of organisms

Trained with trygon: {num_steps} steps of {recipe["batch_size"]} samples, objective `{recipe["objective"]}`, captions
of the text types {", ".join(recipe["text_types"])}, image trunk {trunk}.

- training samples: {samples.get("train", "unknown")}, of {species.get("seen", "unknown")} species
- species held out of these samples: {species.get("unseen", "unknown")}. Towers that came with knowledge may have seen
  some of them before: an image tower from ImageNet knows its classes, and a sentence model knows their names.

`config.json` is the whole recipe, `provenance.json` the digests of the shards, `metrics.jsonl` a line a step.
Load it with `open_clip.create_model_from_pretrained("local-dir:FOLDER")`.
"""
