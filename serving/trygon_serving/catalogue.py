"""Which models are served, in which versions, and which share of the requests each version answers.

A version is a model folder with the label sets that were built with it: the two are taken in and given up together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.models.folder import CONFIG_NAME, WEIGHTS_NAME, describe, folder_of, model_key
from trygon.storage import digest_texts, is_remote, name_of, write_text

FIRST = "v1"
"""What a version is called where nobody calls it anything."""

WORD, WORD_LENGTH = r"^[A-Za-z0-9][A-Za-z0-9._-]*$", 64
Word = Annotated[str, Field(pattern=WORD, max_length=WORD_LENGTH)]


class VersionSpec(BaseModel):
    """A version as the file has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    """A model folder, on disk or at an s3:// address, or hf-hub:OWNER/NAME."""
    labels: dict[Word, str] = Field(min_length=1)
    """LabelBank folders made with that model, by the name that requests call them; the first is the default."""
    encoder: str = "torch"
    """What makes the vectors of images: see `trygon serve --encoder`."""
    share: float = Field(default=1, ge=0, allow_inf_nan=False)
    """Of the requests for the model, beside the shares of its other versions."""

    @property
    def told(self) -> str:
        """What clients are told of the model: a folder's own name, and not where on this machine it lies."""
        return self.model if self.model.startswith("hf-hub:") else name_of(self.model)

    def is_like(self, other: "VersionSpec") -> bool:
        """Whether both answer the same: only the share may differ."""
        mine, its = ((it.model, it.encoder, list(it.labels.items())) for it in (self, other))
        return mine == its


Catalogue = dict[Word, dict[Word, VersionSpec]]
"""By model and version. The first model is the default."""

_ADAPTER: TypeAdapter[Catalogue] = TypeAdapter(Catalogue)


@dataclass(frozen=True)
class Weights:
    """What a model is known by: the digest of its weights, or its name where it comes from the hub; and what runs its
    image tower."""

    ref: str
    digest: str
    encoder: str = "torch"
    """As it was named."""
    runs: str = "torch"
    """The encoder's identity: made anew, it is another."""

    @classmethod
    def of(cls, ref: str, encoder: str = "torch") -> "Weights":
        """`UserError` where the folder is missing or holds no model, or the encoder is not there. The weights are read
        once for each change."""
        runs = encoder
        if encoder != "torch":
            from trygon.models.triton_repository import served_encoder  # Triton's client: not for what needs none

            runs = served_encoder(encoder, describe(ref)).identity
        folder = folder_of(ref)
        if folder is None:
            return cls(ref, "", encoder, runs)
        files = [folder / name for name in (CONFIG_NAME, WEIGHTS_NAME)]
        found = [file.stat() for file in files if file.is_file()]
        return cls(ref, _digest(ref, tuple((it.st_mtime_ns, it.st_size, it.st_ino) for it in found)), encoder, runs)

    @property
    def key(self) -> str:
        """The same for the same weights and encoder."""
        return encoder_key(model_key(self), self.runs)

    @property
    def suffix(self) -> str:
        """What tells their encoders in Triton from those of other models."""
        plain = self.runs == "torch" and self.digest
        return f"-{(plain or digest_texts([self.key]))[:12]}"


def encoder_key(weights: str, encoder: str) -> str:
    """What encoders in Triton are told apart by."""
    return weights if encoder == "torch" else f"{weights} by {encoder}"


@lru_cache(maxsize=64)
def _digest(ref: str, state: tuple[tuple[int, int, int], ...]) -> str:
    return describe(ref).digest


def read_catalogue(path: Path) -> Catalogue:
    """The versions of a file; folders in it may be told as seen from the file. `UserError` where it is not sound."""
    try:
        found = _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        hint = f"make one: trygon models {path} --add NAME/{FIRST} --model FOLDER --labels FOLDER"
        raise UserError(f"--models {path}: {error.strerror}; {hint}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"--models {path}: {where or 'the file'}: {first['msg']}") from error
    require_shares(found, f"--models {path}")
    return located(found, path.absolute().parent)


def write_catalogue(path: Path, catalogue: Catalogue) -> None:
    """Write the file whole: a server that reads it meanwhile sees the old one or the new one."""
    write_text(path, _ADAPTER.dump_json(catalogue, indent=2).decode() + "\n")


def require_shares(catalogue: Catalogue, where: str) -> None:
    """`UserError` unless there is a model, and each has a version that requests go to."""
    if not catalogue:
        raise UserError(f"{where} names no model")
    for name, versions in catalogue.items():
        if not any(spec.share for spec in versions.values()):
            raise UserError(f"{where}: no version of {name} has a share above 0")


def leading(versions: Mapping[str, VersionSpec]) -> str:
    """The version with the largest share, the first of several."""
    return max(versions, key=lambda version: versions[version].share)


def one_version_each(models: Mapping[str, str], labels: Mapping[str, str], encoder: str = "torch") -> Catalogue:
    """A catalogue of models as they are given on the command line: each with the label sets built with it.

    `UserError` for a label set that fits none, and a model without any.
    """
    weights = {name: Weights.of(ref) for name, ref in models.items()}
    fitting: dict[str, dict[str, str]] = {name: {} for name in models}
    for name, folder in labels.items():
        bank = LabelBank.load(folder)
        hits = [model for model, it in weights.items() if model_key(it) == bank.model_key]
        if not hits:
            if len(models) == 1:
                bank.require_model(next(iter(weights.values())))
            raise UserError(f"--labels {folder} were built with {bank.model}, which is none of the models")
        for model in hits:
            fitting[model][name] = folder
    for name, sets in fitting.items():
        if not sets:
            raise UserError(f"--model {models[name]} has no --labels that were built with it: trygon build-labels")
    return {name: {FIRST: VersionSpec(model=models[name], labels=fitting[name], encoder=encoder)} for name in models}


def require_sound(spec: VersionSpec) -> None:
    """`UserError` unless the model is there, and its label sets are whole and built with it."""
    weights = Weights.of(spec.model, spec.encoder)
    for folder in spec.labels.values():
        LabelBank.load(folder, verify=True).require_model(weights)


def specs(catalogue: Catalogue) -> Iterable[tuple[str, str, VersionSpec]]:
    """Model, version and what it is, of all."""
    return ((name, version, spec) for name, versions in catalogue.items() for version, spec in versions.items())


def located(catalogue: Catalogue, folder: Path | None = None) -> Catalogue:
    """The same with whole paths, as seen from a folder, or else from where this process is."""
    return {
        name: {version: spec_at(spec, folder or Path.cwd()) for version, spec in versions.items()}
        for name, versions in catalogue.items()
    }


def spec_at(spec: VersionSpec, folder: Path) -> VersionSpec:
    """A version with whole paths."""
    labels = {name: _place(place, folder) for name, place in spec.labels.items()}
    name, colon, made = spec.encoder.partition(":")
    encoder = name + colon + (_place(made, folder) if made else "")
    return spec.model_copy(update={"model": _place(spec.model, folder), "labels": labels, "encoder": encoder})


def _place(place: str, folder: Path) -> str:
    if place.startswith("hf-hub:") or is_remote(place):
        return place
    return str(folder / place.removeprefix("local-dir:"))
