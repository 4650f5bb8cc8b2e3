"""A grid of training configs: a base and axes, to cells. Knows nothing of how they are trained."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ValidationError

from trygon.errors import UserError
from trygon_jobs.config import first_problem
from trygon_jobs.recipe import EXTENDS, extended, parse, read_source
from trygon_jobs.train import TrainConfig

_NAME = re.compile(r"\w[\w.-]*")
_OF_THE_COMMAND = ("shards", "out")


@dataclass(frozen=True)
class Cell:
    """One training of a grid."""

    choices: dict[str, str]
    """The name of the value on each axis."""
    settings: dict[str, Any]
    """Of `trygon train`, as YAML has them."""

    @property
    def name(self) -> str:
        """The names of its values: that of its folder too."""
        return "-".join(self.choices.values())

    def config(self, shards: str, out: str) -> TrainConfig:
        """The whole config. `UserError` where `trygon train` would not take it."""
        try:
            return TrainConfig.model_validate(self.settings | {"shards": shards, "out": out})
        except ValidationError as error:
            raise UserError(f"cell {self.name}: {first_problem(error)}") from error


def read_cells(grid: str) -> list[Cell]:
    """The cells of a grid, by its file or its name, the last axis fastest. `UserError` where it says something else
    than settings of `trygon train`."""
    source = read_source(grid, "grid", "grid")
    try:
        return _cells(parse(source, "grid"))
    except UserError as error:
        raise UserError(f"{source.name}: {error}") from error


def _cells(content: Any) -> list[Cell]:
    if not isinstance(content, dict) or content.keys() - {"base", "axes"} or not content.get("axes"):
        raise UserError("a grid has `axes`, each a setting with its values, and a `base`, and no other keys")
    base, axes = content.get("base") or {}, content["axes"]
    if isinstance(base, str):
        base = {EXTENDS: base}
    if not isinstance(base, dict) or not isinstance(axes, dict):
        raise UserError("`base` is the name of a recipe or settings, and `axes` are settings with their values")
    base = extended(base)
    _check_keys(base, "base")
    values = {str(axis): _values(str(axis), given) for axis, given in axes.items()}
    cells = []
    for names in product(*values.values()):
        choices = dict(zip(values, names, strict=True))
        settings = dict(base)
        for axis, name in choices.items():
            settings |= values[axis][name]
        cells.append(Cell(choices, settings))
    seen: set[str] = set()
    for cell in cells:
        if cell.name in seen:
            raise UserError(f"axes: two cells would be called {cell.name}: give values other names")
        seen.add(cell.name)
    return cells


def _values(axis: str, given: Any) -> dict[str, dict[str, Any]]:
    """The settings that each value of an axis stands for, by the value's name."""
    if isinstance(given, list):
        if any(isinstance(value, list | dict) or value is None for value in given):
            raise UserError(f"axes.{axis}: values that are no single words or numbers need names: {{NAME: VALUE, …}}")
        given = {str(value): value for value in given}
    if not isinstance(given, dict) or not given:
        raise UserError(f"axes.{axis}: give a list of values, or values by name: {{NAME: VALUE, …}}")
    values = {}
    for name, value in given.items():
        if not _NAME.fullmatch(str(name)):
            raise UserError(f"axes.{axis}: {name!r} is to be the name of a folder: letters, digits, '.', '-' and '_'")
        if axis in TrainConfig.model_fields:
            value = {axis: value}
        elif not isinstance(value, dict):
            raise UserError(
                f"axes.{axis}: {axis} is no setting of `trygon train`; an axis of another name has settings for each "
                "of its values: {NAME: {SETTING: VALUE, …}, …}"
            )
        _check_keys(value, f"axes.{axis}")
        values[str(name)] = value
    return values


def _check_keys(settings: Mapping[Any, Any], where: str) -> None:
    for key in settings:
        if key in _OF_THE_COMMAND:
            raise UserError(f"{where}: {key} is given on the command line, as --{key}")
        if key not in TrainConfig.model_fields:
            raise UserError(f"{where}: {key} is no setting of `trygon train` (its --help lists them)")
