"""The command line: `trygon JOB`, its config from flags, environment and a YAML file, in that order of strength."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Annotated, Any

import cyclopts
from cyclopts import App, Parameter
from pydantic import ValidationError

import trygon
from trygon.errors import UserError, report
from trygon_jobs.config import first_problem
from trygon_jobs.recipe import Source, extended, parse, read_config

JOBS = {
    "demo": "Run the whole chain here, from sample data to an answering endpoint.",
    "sample": "Fetch the sample data: real photos, taxonomies, a detector and small pretrained towers.",
    "curate": "Turn photos with their labels into shards.",
    "synthesize": "Make a synthetic tree of life, of any size, in the formats of the real sources.",
    "train": "Train a model on shards.",
    "evaluate": "Measure how well a model names what it sees.",
    "ablate": "Train and evaluate a grid of settings, and compare them in one table.",
    "build-labels": "Encode the names of taxa once, as a LabelBank.",
    "build-gallery": "Make a gallery of reference pictures, which the online classifier shows as examples.",
    "export-model": "Export a model's image encoder: for OpenVINO, in fp32 or INT8, or as ONNX.",
    "export-triton": "Write the model repository of a Triton server of your own.",
    "label": "Label a camera-trap archive.",
    "export": "Export a labelled archive: Camtrap DP, CSV, MegaDetector, Timelapse and others.",
    "search": "Find observations of a labelled archive that look like a picture, a text or another one.",
    "review": "Confirm or correct the names of a labelled archive in a browser.",
    "serve": "Answer classification requests over HTTP.",
    "models": "Say which versions of models the online classifier serves, and with which share.",
    "keys": "Say who may ask the online classifier.",
    "submit": "Run a job on a Ray cluster.",
}
"""What each job does, in the order of help. Its module is imported when it is called: `trygon --help` is instant."""

_USAGE = {
    "label": "Usage: trygon label ARCHIVE --model MODEL --labels LABELS --out OUT [OPTIONS]\n"
    "       trygon label --from RUN --out OUT [OPTIONS]",
    "submit": "Usage: trygon submit [--address URL] [--no-wait] JOB [OPTIONS OF THE JOB]",
}
"""Of jobs whose first words may be missing: cyclopts would name the first one that may not be."""
_HERE_ALONE = ("sample", "review", "serve", "models", "keys", "submit", "demo")
"""What serves, asks or prepares the machine on which it is called."""


def _told_default(value: Any) -> str | None:
    """A default as a user would type it; nothing for one that says nothing."""
    if value is None or value in ("", (), {}):
        return None
    words = value if isinstance(value, tuple) else (value,)
    return " ".join(cyclopts.default_name_transform(it.name) if isinstance(it, Enum) else str(it) for it in words)


app = App(
    name="trygon",
    help="Vision models of the tree of life: train them, label archives, serve them. "
    "`trygon JOB --help` has the settings of a job.",
    version=trygon.__version__,
    default_parameter=Parameter(show_default=_told_default, negative_iterable=()),
)
for _number, (_job, _help) in enumerate(JOBS.items()):
    _module = f"trygon_jobs.{_job.replace('-', '_')}:main"
    app.command(_module, name=_job, help=_help, usage=_USAGE.get(_job), sort_key=_number)


@contextmanager
def _config_from(config: Source | None) -> Iterator[None]:
    """Let the jobs read their configs from the environment and, below it, from a YAML file, until the end of the
    block."""
    sources: list[Any] = [cyclopts.config.Env("TRYGON_")]
    if config:
        content = parse(config)
        if isinstance(content, dict):
            content = extended(content)
            if "config" in content:  # it would pass as the name of the whole
                raise UserError(f"--config {config.name}: unknown key: config")
        sources.append(cyclopts.config.Dict(content, source=config.name, use_commands_as_keys=False))
    before = app.config
    app.config = tuple(sources)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        app.config = before  # pyright: ignore[reportAttributeAccessIssue]


def split_config(tokens: Sequence[str]) -> tuple[list[str], str | None]:
    """Take `--config VALUE` or `--config=VALUE` out of a job's command."""
    rest, config = [], None
    iterator = iter(tokens)
    for token in iterator:
        if token == "--config":
            config = next(iterator, None)
        elif token.startswith("--config="):
            config = token.removeprefix("--config=")
        else:
            rest.append(token)
    return rest, config


def check_submitted(command: Sequence[str]) -> tuple[list[str], str | None]:
    """As `check_command`, for one that is to run on a cluster."""
    tokens, _ = split_config(command)
    jobs = [job for job in JOBS if job not in _HERE_ALONE]
    if not tokens or tokens[0] not in jobs:
        wrong = f"trygon {tokens[0]} is for this machine alone; " if tokens and tokens[0] in JOBS else ""
        raise UserError(f"submit: {wrong}name a job after the options ({', '.join(jobs)})")
    return check_command(command)


def check_command(command: Sequence[str]) -> tuple[list[str], str | None]:
    """Parse a job's command as if to run it here: what is wrong with it shows before anything is sent anywhere.

    Returns the command without `--config`, and the config's text.
    """
    tokens, config = split_config(command)
    read = read_config(config) if config else None  # once: standard input has it only once
    with _config_from(read):
        app.parse_args([token for token in tokens if token != "--debug"], exit_on_error=False, print_error=False)
    return tokens, read.text if read else None


_CONFIG = "A YAML file of settings, or the name of a recipe (train, curate); --config=- reads YAML from stdin."


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[str | None, Parameter(help=_CONFIG)] = None,
    debug: Annotated[bool, Parameter(help="Show the traceback of an error.", negative="")] = False,
) -> None:
    if tokens[:1] == ("submit",):
        # They belong to the job that is submitted.
        tokens = (*tokens, *(("--config", config) if config else ()), *(("--debug",) if debug else ()))
        config = None
    with _config_from(read_config(config) if config else None):
        app(tokens, exit_on_error=False, print_error=False)


def _problem(error: Exception) -> Exception:
    """Mistakes in a command or a config as errors of the user; other errors as they are."""
    match error:
        case cyclopts.CycloptsError() if isinstance(error.__cause__, ValidationError):
            return UserError(_with_help(error, error.__cause__))
        case ValidationError():
            return UserError(first_problem(error))
        case cyclopts.CycloptsError():
            return UserError(_command_problem(error))
        case _:
            return error


def _with_help(error: cyclopts.CycloptsError, cause: ValidationError) -> str:
    """What is wrong with a job's config, and where something is missing also what says what it is."""
    problem = first_problem(cause)
    return f"{problem}; see {_help_of(error)}" if cause.errors()[0]["type"] == "missing" else problem


def _help_of(error: cyclopts.CycloptsError) -> str:
    return " ".join(["trygon", *(error.command_chain or ()), "--help"])


def _command_problem(error: cyclopts.CycloptsError) -> str:
    if isinstance(error, cyclopts.MissingArgumentError) and not error.keyword:  # no words but the job's
        arguments = app[next(iter(error.command_chain or ()))].assemble_argument_collection()
        missing = [argument.name for argument in arguments if argument.required and argument.name != "*"]
        return f"give {' and '.join(f'{name} …' for name in missing)}; see {_help_of(error)}"
    if isinstance(error, cyclopts.UnusedCliTokensError) and error.unused_tokens:
        return f"{error.unused_tokens[0]}: a word too many; settings come with their flags, see {_help_of(error)}"
    error.verbose = False
    return f"{error} See {_help_of(error)}"


def _require_job(words: list[str]) -> None:
    """`UserError` where the first word is no job: cyclopts imports all jobs to say so, and with --help does not."""
    if words and not words[0].startswith("-") and words[0] not in JOBS:
        raise UserError(f"{words[0]}: no such job (jobs: {', '.join(JOBS)})")


def main() -> None:
    """Entry point of `trygon` and of `python -m trygon_jobs`."""
    try:
        _require_job(sys.argv[1:2])
        app.meta(exit_on_error=False, print_error=False)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        sys.exit(report(_problem(error)))
