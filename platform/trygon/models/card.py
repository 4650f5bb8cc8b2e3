"""The card of a model folder: what it is, what it was trained on, what it is not for."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Seen:
    """What a run was trained on: the digest of its shards, samples in an epoch, their species, and the number of those
    that were kept from all training; None for what the shards do not say."""

    digest: str
    num_samples: int
    num_species: int | None
    num_unseen: int | None


def model_card(
    recipe: dict[str, Any],
    seen: Seen,
    num_steps: int,
    counts: dict[str, int],
    accuracy: dict[str, float],
) -> str:
    """Markdown for README.md in a model folder, from the training config, what was seen, the counts of broken
    pictures and cut captions over all steps, and the last measurement on validation pictures."""
    unseen = "unknown" if seen.num_unseen is None else seen.num_unseen
    return f"""---
library_name: open_clip
tags: [biology, zero-shot-image-classification]
---
# A contrastive image-text model of organisms

Trained with trygon: {num_steps} steps of {recipe["batch_size"]} samples in {recipe["epochs"]} epochs, objective
`{recipe["objective"]}`, captions of the text types {", ".join(recipe["text_types"])}, precision {recipe["precision"]}.

- started from {_start(recipe["initial"])}
- {_towers(recipe)}
- training samples: {seen.num_samples} in an epoch{_species(recipe, seen)}
- digest of the shards: `{seen.digest[:16]}`
- of all that its steps saw, {counts["broken"]} pictures could not be read and their neighbours stood in for them, and
  {counts["cut_captions"]} captions were cut to the length of the context
- species held out of these samples: {unseen}{_known_before(recipe["initial"])}

{_measured(accuracy, num_steps, recipe)}

![loss, logit scale, gradient norm and samples a second over the steps](curves.png)

`config.json` is the whole recipe, `provenance.json` the digests of the shards, `metrics.jsonl` a line a step.
Load it with `open_clip.create_model_from_pretrained("local-dir:FOLDER")`.
"""


def _start(initial: dict[str, Any]) -> str:
    """What the model was before, in words."""
    if initial["model"]:
        return f"the model `{initial['model']}`"
    parts = {"weights": "pretrained", "image trunk": "image_weights", "text tower": "sentence_model"}
    given = [f"{part} `{initial[name]}`" for part, name in parts.items() if initial[name]]
    return f"the architecture `{initial['architecture']}`, {', '.join(given) or 'its weights drawn at random'}"


def _towers(recipe: dict[str, Any]) -> str:
    """Which towers learned, and how fast at most."""
    is_text_frozen = recipe["freeze_text_tower"] or recipe["objective"].startswith("classes")
    trunk = "image trunk frozen, what follows it" if recipe["freeze_image_trunk"] else "image tower"
    text = "frozen" if is_text_frozen else f"trained at {recipe['text_learning_rate']:g}"
    return f"{trunk} trained at learning rates of up to {recipe['image_learning_rate']:g}, text tower {text}"


def _known_before(initial: dict[str, Any]) -> str:
    """What of held-out species the model may have known before it was trained."""
    known = []
    if initial["model"] or initial["pretrained"]:
        known.append("what it started from may have been trained on some of them")
    elif initial["image_weights"]:
        known.append("an image trunk from ImageNet knows its classes")
    if initial["sentence_model"] and not initial["model"]:
        known.append("a sentence model knows their names")
    return f"; {', and '.join(known)}" if known else ""


def _species(recipe: dict[str, Any], seen: Seen) -> str:
    """How many species the samples are of, as far as that is known: of a part of a source some may be left out."""
    if seen.num_species is None:
        return ""
    most = "at most " if any(weight < 1 for weight in recipe["sources"].values()) else ""
    return f", of {most}{seen.num_species} species"


def _measured(accuracy: dict[str, float], num_steps: int, recipe: dict[str, Any]) -> str:
    """The last line of validation.jsonl, in words."""
    if recipe["objective"].startswith("classes"):
        return "Its text tower did not learn: see `trygon evaluate`, which measures by a few pictures of each species."
    if not accuracy.get("species/n"):
        return "Not measured on validation pictures during training; see `trygon evaluate`."
    ranks = ("species", "genus", "family", "class")
    shares = ", ".join(f"{rank} {accuracy[f'{rank}/top1']:.1%}" for rank in ranks)
    when = "" if accuracy["step"] == num_steps else f" after step {accuracy['step']:.0f}, before its end"
    in_part = recipe["split"] != "train" or recipe["sources"]
    whose = "species of all these shards, not all of them trained on" if in_part else "trained species"
    return (
        f"On {accuracy['species/n']:.0f} validation pictures of {whose}, named among "
        f"{accuracy['candidates']:.0f} species by captions of all ranks, right at the first guess{when}: {shares}. "
        "`trygon evaluate` measures more."
    )
