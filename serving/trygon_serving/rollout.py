"""`trygon models`: adds and removes versions of models in the file that `trygon serve --models` reads again by itself,
and says which share of the requests each of them gets."""

import re
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trygon.errors import UserError, report
from trygon_serving.catalogue import (
    WORD,
    WORD_LENGTH,
    Catalogue,
    VersionSpec,
    read_catalogue,
    require_shares,
    require_sound,
    spec_at,
    specs,
    write_catalogue,
)


class Command(BaseModel):
    """What to do with a file; without `add`, `remove` and `share`, list its versions."""

    model_config = ConfigDict(extra="forbid")

    file: Path
    add: str | None = None
    model: str | None = None
    labels: dict[str, str] = {}
    encoder: str = "torch"
    remove: str | None = None
    share: str | None = None


def add_version(path: Path, target: str, spec: VersionSpec) -> None:
    """Add MODEL/VERSION: the first of a model gets all requests, later ones none yet. `UserError` where it is there,
    or is not sound."""
    model, version = _split(target, "--add")
    require_sound(spec)  # which takes its time: the file is read after it, so that no change made meanwhile is undone
    catalogue = read_catalogue(path) if path.exists() else {}
    versions = catalogue.setdefault(model, {})
    if version in versions:
        raise UserError(f"--add {target}: {path} has it already; give the new version a name of its own")
    spec = spec_at(spec, Path.cwd())  # the file may lie elsewhere
    versions[version] = spec.model_copy(update={"share": 0.0 if versions else 1.0})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_catalogue(path, catalogue)


def remove_version(path: Path, target: str) -> None:
    """Take MODEL/VERSION out, and the model with its last version. `UserError` where it gets all requests yet."""
    catalogue = read_catalogue(path)
    model, version = _found(catalogue, target, "--remove", path)
    del catalogue[model][version]
    if not catalogue[model]:
        del catalogue[model]
    require_shares(catalogue, f"--remove {target}: without it {path}")
    write_catalogue(path, catalogue)


def set_share(path: Path, given: str) -> None:
    """MODEL/VERSION=SHARE, from 0 to 1: the other versions have the rest, in the proportions that they had."""
    target, _, text = given.partition("=")
    catalogue = read_catalogue(path)
    model, version = _found(catalogue, target, "--share", path)
    share = _share(text, given)
    versions = catalogue[model]
    rest = sum(spec.share for other, spec in versions.items() if other != version)
    if share < 1 and not rest and len(versions) > 1:
        raise UserError(f"--share {given}: no other version has a share to take the rest; raise one of theirs instead")
    catalogue[model] = {
        other: spec.model_copy(
            update={"share": share if other == version else round((1 - share) * (spec.share / (rest or 1)), 6)}
        )
        for other, spec in versions.items()
    }
    require_shares(catalogue, f"--share {given}")
    write_catalogue(path, catalogue)


def _share(text: str, given: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UserError(f"--share {given}: give MODEL/VERSION=SHARE with a share from 0 to 1")
    return share


def _split(target: str, flag: str) -> tuple[str, str]:
    model, slash, version = target.partition("/")
    if not slash or not (_is_word(model) and _is_word(version)):
        raise UserError(f"{flag} {target}: give MODEL/VERSION, such as starter/v2, in letters, digits, . _ -")
    return model, version


def _is_word(text: str) -> bool:
    return len(text) <= WORD_LENGTH and re.fullmatch(WORD, text) is not None


def _found(catalogue: Catalogue, target: str, flag: str, path: Path) -> tuple[str, str]:
    model, version = _split(target, flag)
    if version not in catalogue.get(model, {}):
        known = ", ".join(f"{name}/{each}" for name, each, _ in specs(catalogue))
        raise UserError(f"{flag} {target}: {path} has {known}")
    return model, version


def run(command: Command) -> None:
    """Change the file or list it, and say so. `UserError` where it is told to do two things at once."""
    if sum(map(bool, (command.add, command.remove, command.share))) > 1:
        raise UserError("--add, --remove and --share are a command each: give them one after the other")
    if (command.model or command.labels) and not command.add:
        raise UserError("--model and --labels say what a new version is: name it with --add MODEL/VERSION")
    if command.add:
        if not command.model or not command.labels:
            raise UserError(f"--add {command.add}: say what it is, with --model FOLDER and --labels FOLDER")
        spec = VersionSpec(model=command.model, labels=command.labels, encoder=command.encoder)
        add_version(command.file, command.add, spec)
    elif command.remove:
        remove_version(command.file, command.remove)
    elif command.share:
        set_share(command.file, command.share)
    for model, version, spec in specs(read_catalogue(command.file)):
        labels = ", ".join(f"{name}={place}" for name, place in spec.labels.items())
        print(f"{model}/{version}  share {spec.share:g}  {spec.model}  encoder {spec.encoder}  labels {labels}")


if __name__ == "__main__":
    try:
        run(Command.model_validate_json(sys.argv[1]))
    except UserError as error:
        sys.exit(report(error))
