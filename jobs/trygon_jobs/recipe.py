"""YAML as users give it to a job: read by path or by name, with the recipe that it extends. Knows nothing of jobs."""

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from trygon.errors import UserError

EXTENDS = "extends"
"""The key that names a recipe to take over. A key beside it stands in place of the recipe's, sections included."""


class Source(NamedTuple):
    """YAML as it was read, and its name for messages."""

    text: str
    name: str


def read_source(given: str, option: str = "--config", kind: str = "recipe") -> Source:
    """A file by path, or one that ships with trygon by name. `UserError` where there is neither."""
    path = Path(given)
    if path.is_file():
        return Source(path.read_text(), given)
    return _shipped(given, kind, f"{option} {given}: no such file, nor a {kind} of that name")


def _shipped(name: str, kind: str, problem: str) -> Source:
    folder = Path(str(files("trygon_jobs") / f"{kind}s"))
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"{problem} ({kind}s: {', '.join(sorted(it.stem for it in folder.glob('*.yaml')))})")
    return Source(path.read_text(), str(path))


def read_config(given: str) -> Source:
    """A config: a file by path, a recipe by name, or `-` for standard input."""
    return Source(sys.stdin.read(), "standard input") if given == "-" else read_source(given)


def parse(source: Source, option: str = "--config") -> Any:
    """What the YAML says."""
    import yaml

    try:
        return yaml.safe_load(source.text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{option} {source.name} is not YAML: {error}") from error


def extended(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with those of the recipe that they extend, and of the one that it extends."""
    if EXTENDS not in settings:
        return settings
    name = settings[EXTENDS]
    recipe = _shipped(name, "recipe", f"{EXTENDS} {name}: no such recipe")  # no file: it would not travel to a cluster
    return extended(parse(recipe)) | {key: value for key, value in settings.items() if key != EXTENDS}
