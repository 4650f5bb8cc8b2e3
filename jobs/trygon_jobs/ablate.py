"""`trygon ablate`: a grid of trainings, each measured, in one table. Each is a command of its own: one that fails does
not end the grid."""

import codecs
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from pydantic import Field

from trygon.disk import only_writer, writing_to
from trygon.errors import TrygonError, UserError
from trygon.storage import exists, join, read_bytes, read_json, remove_tree, write_json, write_text
from trygon_jobs.config import JobConfig, Place
from trygon_jobs.progress import stderr_console

if TYPE_CHECKING:
    from trygon.evaluation.comparison import Row
    from trygon.lease import Hold
    from trygon_jobs.grid import Cell
    from trygon_jobs.train import TrainConfig

_DONE = "cell.json"
"""What a cell was made of, and its figures. It comes last: a folder that has it is finished."""
_OF_THE_CELL = ("TRYGON_TRAIN_", "TRYGON_EVALUATE_", "TRYGON_CONFIG")
"""Variables that would put one value in place of what the cells differ in."""
_TAIL_CHARACTERS = 20_000
_LIBC = ctypes.CDLL(None)
"""Looked for here: between fork and exec no library can be."""
_PR_SET_PDEATHSIG = 1
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class AblateConfig(JobConfig):
    """A grid, and what it is trained and measured on."""

    grid: str
    """A YAML file with a `base` and `axes`, or a grid that ships with trygon: `objectives`, `text_types`."""
    shards: Place
    """The folder that `trygon curate` wrote, with its held-out splits."""
    out: Place
    """Folder for the models, ablation.csv and index.html. Given again, it goes on; what failed is tried again."""
    limit: int = Field(default=5000, ge=1)
    """Pictures of each split to measure on at most."""


def main(config: Annotated[AblateConfig, Parameter(name="*")]) -> None:
    """Train and evaluate every cell of a grid; run again it goes on. One table, a CSV and a page with plots."""
    from trygon.evaluation.comparison import as_markdown, table
    from trygon_jobs.grid import read_cells

    cells = read_cells(config.grid)
    configs = {cell.name: cell.config(config.shards, join(config.out, cell.name, "model")) for cell in cells}
    shards = _identify(config.shards)
    console = stderr_console()
    rows: list[Row] = []
    with writing_to(config.out), only_writer(config.out) as hold:
        for number, cell in enumerate(cells, 1):
            console.print(f"[bold cyan]cell {number} of {len(cells)}[/]  {cell.name}", soft_wrap=True)
            rows.append(_row(config, cell, configs[cell.name], shards, hold))
            hold.check()
            _write(config, rows)
    print(as_markdown(table(rows)))
    print(f"ablation: {join(config.out, 'index.html')}")
    if failed := [cell.name for cell, row in zip(cells, rows, strict=True) if row.reason]:
        raise TrygonError(
            f"{len(failed)} of {len(cells)} cells failed ({', '.join(failed)}): the table says why; give the same "
            "command again to try these again"
        )


def _identify(shards: str) -> dict[str, Any]:
    """What tells the shards from others. `UserError` where there is nothing to train or to measure on."""
    from trygon.data.shards import COUNTS, SPLITS, count_species, identify_shards

    found = {split: identify_shards(shards, split) for split in SPLITS}
    if not found["train"] or not (found["val"] or found["unseen"]):
        raise UserError(f"--shards {shards} has no train shards, or neither val nor unseen ones; see `trygon curate`")
    if exists(join(shards, COUNTS)) and not any(count_species(shards, split, ()) for split in ("val", "unseen")):
        raise UserError(f"--shards {shards}: no picture of the val and unseen shards is named to the species")
    return found


def _row(
    config: AblateConfig, cell: "Cell", training: "TrainConfig", shards: Mapping[str, Any], hold: "Hold"
) -> "Row":
    """Train and measure a cell, unless that is done; a row with the reason where it fails."""
    from trygon.evaluation.comparison import Row

    folder = join(config.out, cell.name)
    done = join(folder, _DONE)
    try:
        identity = {"shards": shards, "limit": config.limit, "start": _digest(training.initial.model)}
        identity |= {"config": training.model_dump(mode="json")}
        if exists(done) and _is_same((before := read_json(done))["identity"], identity):
            return Row(cell.choices, before["figures"])
        _make_room(training)
        _run(["train", "--shards", config.shards, "--out", training.out, "--config=-"], cell.settings)
        words = ["--model", training.out, "--shards", config.shards, "--limit", str(config.limit)]
        _run(["evaluate", *words, "--out", join(folder, "evaluation")])
        figures = _figures(folder, training.objective)
    except TrygonError as error:
        return Row(cell.choices, reason=str(error))
    hold.check()
    write_json(done, {"identity": identity, "figures": figures})
    return Row(cell.choices, figures)


def _is_same(before: dict[str, Any], identity: dict[str, Any]) -> bool:
    from trygon_jobs.train import with_defaults

    return before | {"config": with_defaults(before["config"])} == identity


def _make_room(training: "TrainConfig") -> None:
    """Remove what a cell that came to no checkpoint left of settings that the grid has changed since. `UserError`
    where it came further: training took its time, and is not thrown away unasked."""
    from trygon.training.checkpoints import RUN, found_checkpoints
    from trygon_jobs.train import CARD, OF_THE_MACHINE, recorded, with_defaults

    begun = join(training.out, "config.json")
    if not exists(begun) or exists(join(training.out, CARD)):
        return
    now, before = recorded(training.model_dump(mode="json")), recorded(with_defaults(read_json(begun)))
    changed = [name for name, value in now.items() if name not in OF_THE_MACHINE and before.get(name) != value]
    if changed and found_checkpoints(join(training.out, "checkpoints", RUN)):
        raise UserError(
            f"{training.out} holds training under way with another {changed[0]}: put that back to go on with it, or "
            "remove the folder to begin anew"
        )
    if changed:
        remove_tree(training.out)


@cache
def _digest(model: str) -> str:
    """What tells the model that training starts from, where it is one, from another in its place."""
    from trygon.models.folder import describe
    from trygon_jobs.initial import digest_of_unfinished

    return (digest_of_unfinished(model) or describe(model).digest) if model else ""


def _figures(folder: str, objective: str) -> dict[str, float]:
    """What the table shows of a finished cell."""
    from trygon.evaluation.comparison import shown_keys
    from trygon.training.objective import CLASSIFIED

    metrics = read_json(join(folder, "evaluation", "metrics.json"))
    lines = [json.loads(line) for line in read_bytes(join(folder, "model", "metrics.jsonl")).splitlines()]
    metrics["training_s"] = sum(line["data_s"] + line["step_s"] for line in lines)
    wanted = [key for key in shown_keys() if objective not in CLASSIFIED or not key.startswith("zero_shot/")]
    return {key: metrics[key] for key in wanted if key in metrics}


def _write(config: AblateConfig, rows: "Sequence[Row]") -> None:
    """The results so far: a grid that is stopped leaves those of its finished cells."""
    from trygon.evaluation.comparison import as_csv, page

    write_text(join(config.out, "ablation.csv"), as_csv(rows))
    write_text(join(config.out, "index.html"), page(f"Ablation: {Path(config.grid).stem}", rows))


def _run(words: Sequence[str], settings: Mapping[str, Any] | None = None) -> None:
    """Run a job as a command, its config on standard input and what it says on ours. `TrygonError` with its reason
    where it fails."""
    import yaml

    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_CELL)}
    if sys.stderr.isatty():
        environment["FORCE_COLOR"] = "1"  # its progress bar is to be seen through the pipe
    process = subprocess.Popen(
        [sys.executable, "-m", "trygon_jobs", *words],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=partial(_end_with_parent, os.getpid()),
    )  # fmt: skip
    assert process.stdin
    try:
        with suppress(BrokenPipeError), process.stdin:  # it may have ended by then, and says why
            process.stdin.write(yaml.safe_dump(dict(settings or {})).encode())
        tail = _pass_on(process)
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode < 0:
        raise TrygonError(f"{words[0]} was ended by {signal.Signals(-process.returncode).name}")
    if process.returncode:
        raise TrygonError(_reason(tail) or f"{words[0]} ended with status {process.returncode}")


def _end_with_parent(parent: int) -> None:
    """A grid that is killed must not leave a training behind, which would stand in the way of the next one."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it is gone by now
        os._exit(1)


def _pass_on(process: subprocess.Popen[bytes]) -> str:
    """Show what a command says as it comes; the end of it."""
    assert process.stdout
    decoder, tail = codecs.getincrementaldecoder("utf-8")("replace"), ""
    while data := os.read(process.stdout.fileno(), 1 << 16):
        text = decoder.decode(data)
        sys.stderr.write(text)
        sys.stderr.flush()
        tail = (tail + text)[-_TAIL_CHARACTERS:]
    return tail


def _reason(tail: str) -> str:
    """The line that a command ended with, as `trygon` reports errors; otherwise its last one."""
    lines = [line.strip() for line in _CONTROL.sub("\n", tail).splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1]
