"""What training starts from: as a config, and as the model folder that is made of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from trygon.errors import UserError
from trygon.models.folder import CONFIG_NAME, WEIGHTS_NAME, absolute_ref, folder_of
from trygon.storage import absolute, digest_file, exists, is_remote, join, read_json
from trygon.training.checkpoints import unfinished_run
from trygon_jobs.config import JobConfig, Ref
from trygon_jobs.progress import bars, stage

if TYPE_CHECKING:
    from trygon.lease import Hold
    from trygon.training.initial import SentenceStart
    from trygon_jobs.train import TrainConfig


class InitialConfig(JobConfig):
    """The model that training starts from: a folder, or an architecture with pretrained towers."""

    model: Ref = ""
    """A model folder (on disk or S3) or hf-hub:OWNER/NAME to go on from; the rest of this section is then not used.
    Of a run that did not come to its end, its last checkpoint."""
    architecture: Ref = ""
    """A file in the form of open_clip_config.json, `starter`, or an architecture that open_clip knows by name."""
    pretrained: Ref = ""
    """Weights that open_clip knows of that architecture: `openai`, `laion2b_s34b_b88k` and so on; or a file of such
    weights, where all that open_clip knows of the architecture take pictures prepared alike."""
    image_weights: Ref = ""
    """A torchvision checkpoint for the image trunk; `sample:` stands for the sample data's folder."""
    image_head_from_classes: bool = False
    """Start a two-layer image head from the ImageNet classifier in `image_weights`, its classes said in words."""
    sentence_model: Ref = ""
    """A sentence encoder's folder that the text tower starts from, in weights and in what it says of captions."""
    sentence_taxa: Ref = ""
    """A Parquet file of taxa whose captions the text tower learns, beside those of the shards."""
    sentence_captions: int = Field(default=3000, ge=1)
    """Captions to learn."""
    sentence_epochs: int = Field(default=2, ge=1)
    """Passes over these captions."""


def _unfinished(ref: str) -> str | None:
    """The checkpoint to start from where a name is that of a run without a model yet."""
    return None if ref.startswith("hf-hub:") else unfinished_run(absolute_ref(ref))


def digest_of_unfinished(ref: str) -> str | None:
    """What tells that checkpoint from another one."""
    checkpoint = _unfinished(ref)
    return digest_file(join(checkpoint, "seal.json")) if checkpoint else None  # it holds the checksum of the state


def _kept_digests(config: "TrainConfig") -> dict[str, str]:
    """Of a run that has begun with what another one had come to: what it noted of that. The other one may have gone on
    since, or be gone."""
    plan = join(config.out, "plan.json")
    if not config.initial.model or not exists(plan) or not exists(join(config.out, "initial", CONFIG_NAME)):
        return {}
    before = read_json(plan)
    model = before["initial"]["model"]
    is_same = model and absolute_ref(model) == absolute_ref(config.initial.model)
    return before.get("initial_digests", {}) if is_same else {}


def initial_digests(config: "TrainConfig") -> dict[str, str]:
    """Digests of the weights that the initial model is made of, as far as they are files."""
    if kept := _kept_digests(config):
        return kept
    initial = config.initial
    if initial.model:
        if digest := digest_of_unfinished(initial.model):
            return {"model": digest}
        folder = folder_of(initial.model)
        files = {"model": folder / WEIGHTS_NAME if folder else None}
    else:
        sentence_model = _sample_path(initial.sentence_model)
        files = {
            "pretrained": Path(initial.pretrained) if initial.pretrained else None,
            "image_weights": _sample_path(initial.image_weights),
            "sentence_taxa": _sample_path(initial.sentence_taxa),
            "sentence_model": sentence_model / "model.safetensors" if sentence_model else None,
        }
    return {name: digest_file(path) for name, path in files.items() if path and path.is_file()}


def initial_model(config: "TrainConfig", hold: "Hold", console: Any) -> str:
    """The model that training starts from, by a name that holds everywhere; it is made unless it is there."""
    from trygon.mirror import made_here
    from trygon.models.model import load_model
    from trygon.training.initial import write_checkpoint_model

    initial = config.initial
    made = join(absolute(config.out), "initial")
    if initial.model and exists(join(made, CONFIG_NAME)):  # of a run that may be finished by now
        return made
    if initial.model and (checkpoint := _unfinished(initial.model)):
        with made_here(made, CONFIG_NAME, hold) as folder:
            step = write_checkpoint_model(folder, absolute_ref(initial.model), checkpoint)
        console.print(f"starting from step {step} of the run in {initial.model}", soft_wrap=True)
        return made
    if initial.model:
        load_model(initial.model, "cpu")
        return absolute_ref(initial.model)
    if not initial.architecture:
        raise UserError("train needs a model to start from: --config starter, or --initial.model FOLDER")
    if not exists(join(made, CONFIG_NAME)):
        from trygon.training.initial import write_initial

        weights, start = _sample_path(initial.image_weights), _sentence_start(config)
        with bars(console) as progress, made_here(made, CONFIG_NAME, hold) as folder:
            cosine = write_initial(
                folder, initial.architecture, weights, initial.image_head_from_classes, start, config.seed,
                lambda title, total: stage(progress, title, total), initial.pretrained,
            )  # fmt: skip
        if cosine is not None:
            console.print(f"the text tower gives the sentence model's vectors with a mean cosine of {cosine:.3f}")
    return made


def _sentence_start(config: "TrainConfig") -> "SentenceStart | None":
    from trygon.taxonomy.tree import TaxonTree
    from trygon.training.curriculum import caption_curriculum
    from trygon.training.initial import SentenceStart

    initial = config.initial
    folder, taxa = _sample_path(initial.sentence_model), _sample_path(initial.sentence_taxa)
    if folder is None:
        return None
    own = TaxonTree.load(join(config.shards, "taxa.parquet")).taxa
    captions = caption_curriculum(own, taxa, initial.sentence_captions, config.text_types, config.seed)
    return SentenceStart(folder, captions, initial.sentence_epochs)


def _sample_path(text: str) -> Path | None:
    from trygon.cache import sample_folder

    if is_remote(text):
        raise UserError(f"{text} is a URL; what a new model starts from is read on this machine: copy it here")
    if text.startswith("sample:"):
        return sample_folder() / text.removeprefix("sample:")
    return Path(text) if text else None
