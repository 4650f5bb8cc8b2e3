"""The card of a model folder: what it is, what it was trained on, what it is not for."""

from typing import Any


def model_card(
    recipe: dict[str, Any],
    data: dict[str, Any],
    data_digest: str,
    num_steps: int,
    counts: dict[str, int],
    accuracy: dict[str, float],
) -> str:
    """Markdown for README.md in a model folder, from the training config, the shards' summary and digest, the counts
    of broken pictures and cut captions over all steps, and the last measurement on validation pictures."""
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
- of all that its steps saw, {counts["broken"]} pictures could not be read and their neighbours stood in for them, and
  {counts["cut_captions"]} captions were cut to the length of the context
- species held out of these samples: {species.get("unseen", "unknown")}. Towers that came with knowledge may have seen
  some of them before: an image tower from ImageNet knows its classes, and a sentence model knows their names.

{_measured(accuracy, num_steps, recipe["objective"])}

![loss, logit scale, gradient norm and samples a second over the steps](curves.png)

`config.json` is the whole recipe, `provenance.json` the digests of the shards, `metrics.jsonl` a line a step.
Load it with `open_clip.create_model_from_pretrained("local-dir:FOLDER")`.
"""


def _measured(accuracy: dict[str, float], num_steps: int, objective: str) -> str:
    """The last line of validation.jsonl, in words."""
    if objective.startswith("classes"):
        return "Its text tower did not learn: see `trygon evaluate`, which measures by a few pictures of each species."
    if not accuracy.get("species/n"):
        return "Not measured on validation pictures during training; see `trygon evaluate`."
    ranks = ("species", "genus", "family", "class")
    shares = ", ".join(f"{rank} {accuracy[f'{rank}/top1']:.1%}" for rank in ranks)
    when = "" if accuracy["step"] == num_steps else f" after step {accuracy['step']:.0f}, before its end"
    return (
        f"On {accuracy['species/n']:.0f} validation pictures of trained species, named among "
        f"{accuracy['candidates']:.0f} species by captions of all ranks, right at the first guess{when}: {shares}. "
        "`trygon evaluate` measures more."
    )
