"""The card of a model folder: what it is, what it was trained on, what it is not for."""

from typing import Any


def model_card(
    recipe: dict[str, Any], data: dict[str, Any], data_digest: str, num_steps: int, accuracy: dict[str, float]
) -> str:
    """Markdown for README.md in a model folder, from the training config, the shards' summary and digest, and the last
    measurement on validation pictures."""
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
- digest of the shards: `{data_digest[:16]}`
- species held out of these samples: {species.get("unseen", "unknown")}. Towers that came with knowledge may have seen
  some of them before: an image tower from ImageNet knows its classes, and a sentence model knows their names.

{_measured(accuracy)}

![loss, logit scale, gradient norm and samples a second over the steps](curves.png)

`config.json` is the whole recipe, `provenance.json` the digests of the shards, `metrics.jsonl` a line a step.
Load it with `open_clip.create_model_from_pretrained("local-dir:FOLDER")`.
"""


def _measured(accuracy: dict[str, float]) -> str:
    """The last line of validation.jsonl, in words."""
    if not accuracy.get("species/n"):
        return "Not measured on validation pictures during training; see `trygon evaluate`."
    ranks = ("species", "genus", "family", "class")
    shares = ", ".join(f"{rank} {accuracy[f'{rank}/top1']:.1%}" for rank in ranks)
    return (
        f"On {accuracy['species/n']:.0f} validation pictures of trained species, named among all of these, right at "
        f"the first guess: {shares}. `trygon evaluate` measures more."
    )
