"""The command line: `trygon JOB`, its config from flags, environment and a YAML file, in that order of strength."""

import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import App, Parameter
from pydantic import ValidationError
from rich.console import Console

from trygon.errors import TrygonError, UserError

app = App(name="trygon", help="Vision models of the tree of life: train them, label archives, serve them.")

# One line a job: its module is imported when it is called, so that `trygon --help` is instant.
for job in ("sample", "curate", "train", "evaluate", "build-labels", "label", "export", "serve", "submit", "demo"):
    app.command(f"trygon_jobs.{job.replace('-', '_')}:main", name=job)


def _config_file(config: str) -> Path:
    """A YAML file by path, or a recipe that ships with trygon by its name."""
    recipes = files("trygon_jobs") / "recipes"
    for path in (Path(config), Path(str(recipes / f"{config}.yaml"))):
        if path.is_file():
            return path
    names = ", ".join(sorted(Path(str(entry)).stem for entry in recipes.iterdir() if entry.name.endswith(".yaml")))
    raise UserError(f"--config {config}: no such file, nor a recipe of that name (recipes: {names})")


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[str | None, Parameter(help="A YAML file, or the name of a recipe.")] = None,
    debug: Annotated[bool, Parameter(help="Show the traceback of an error.", negative="")] = False,
) -> None:
    sources: list[object] = [cyclopts.config.Env("TRYGON_")]
    if config:
        sources.append(cyclopts.config.Yaml(_config_file(config), use_commands_as_keys=False))
    app.config = tuple(sources)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        app(tokens, exit_on_error=False, print_error=False)
    except Exception as error:
        if debug:
            raise
        sys.exit(_report(error))


def _report(error: Exception) -> int:
    """Print one line for an error; the exit code that goes with it."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    match error:
        case cyclopts.CycloptsError() if isinstance(error.__cause__, ValidationError):
            message, code = _first_problem(error.__cause__), 2
        case ValidationError():
            message, code = _first_problem(error), 2
        case cyclopts.CycloptsError():
            message, code = str(error).strip(), 2
        case TrygonError():
            message, code = str(error), error.exit_code
        case _:
            message, code = f"{type(error).__name__}: {error}".splitlines()[0], 1
            message += " (run again with --debug for the traceback)"
    console.print(f"error: {message}", style="red", markup=False)
    return code


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']} (given: {problem['input']!r})" if where else problem["msg"]


def main() -> None:
    """Entry point of `trygon` and of `python -m trygon_jobs`."""
    try:
        app.meta()
    except TrygonError as error:
        sys.exit(_report(error))
    except KeyboardInterrupt:
        sys.exit(130)
