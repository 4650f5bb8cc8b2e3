"""The progress bar of long jobs: how much is done, how fast, and the time left. On stderr."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_LINE_S = 60.0
_LOG_COLUMNS = 200
"""How wide a bar may be that is no bar but a line in a log."""


def stderr_console() -> Any:
    """Where jobs say how far they are: stderr, as wide as its terminal; a log is wide enough for every line."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:  # a pipe to one, as that of an ablation's cells, is no log
        console.width = _LOG_COLUMNS
    return console


@contextmanager
def counting(
    what: str, total: int, done: int = 0, unit: str = "", note: Callable[[float], str] = lambda speed: ""
) -> Iterator[Callable[[int], None]]:
    """A bar; call what it gives with how many more are done. What was done before does not count as speed.

    `note` adds what there is to say at a speed, once there is one. Where no terminal shows the bar, a line says it
    once a minute.
    """
    from rich import progress as bars
    from rich.text import Text

    def pace(task: bars.Task) -> str:
        return f"{task.speed:.1f} {unit}/s{note(task.speed)}" if task.speed else "starting"

    class Speed(bars.ProgressColumn):
        def render(self, task: bars.Task) -> Text:
            return Text(pace(task), style="dim")

    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(), Speed())
    with bars.Progress(
        *columns, bars.TimeRemainingColumn(), console=stderr_console(), speed_estimate_period=60
    ) as progress:
        task, is_due = progress.add_task(what, total=total, completed=done), once_a_minute(progress.console)

        def advance(more: int) -> None:
            progress.advance(task, more)
            if is_due():
                state = progress.tasks[0]
                said = f"{what}: {state.completed:,.0f} of {total:,}, {pace(state)}{left(state)}"
                print(said, file=sys.stderr, flush=True)

        yield advance


def once_a_minute(console: Any) -> Callable[[], bool]:
    """Whether it is time for a line, where no terminal shows a bar; the answer to a yes is that line."""
    told = time.monotonic()

    def is_due() -> bool:
        nonlocal told
        if console.is_terminal or time.monotonic() < told + _LINE_S:
            return False
        told = time.monotonic()
        return True

    return is_due


def left(task: Any) -> str:
    """The time that a bar has left, where that can be said."""
    return f", {duration(task.time_remaining)} left" if task.time_remaining else ""


def duration(seconds: float) -> str:
    """A time as people say it: 3 h 20 min."""
    minutes = math.ceil(seconds / 60)
    hours = f"{minutes // 60} h " if minutes >= 60 else ""
    return f"{hours}{minutes % 60} min"


def bars(console: Any) -> Any:
    """Bars for several stages, with the time taken and left."""
    from rich import progress

    times = (progress.TimeElapsedColumn(), progress.TextColumn("left"), progress.TimeRemainingColumn())
    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn(), *times)
    # A step of training can take minutes.
    return progress.Progress(*columns, console=console, speed_estimate_period=900)


def stage(progress: Any, title: str, total: int) -> Callable[[int], None]:
    """A stage among such bars; call what it gives with how many more are done. Where no bar shows, a line a minute."""
    task, is_due = progress.add_task(title, total=total), once_a_minute(progress.console)

    def advance(more: int) -> None:
        progress.advance(task, more)
        if is_due():
            state = next(it for it in progress.tasks if it.id == task)
            print(f"{title}: {state.completed:,.0f} of {total:,}{left(state)}", file=sys.stderr, flush=True)

    return advance
