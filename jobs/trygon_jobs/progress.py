"""The progress bar of long jobs: how much is done, how fast, and the time left. On stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def counting(what: str, total: int, done: int = 0, unit: str = "") -> Iterator[Callable[[int], None]]:
    """A bar; call what it gives with how many more are done. What was done before does not count as speed."""
    from rich import progress as bars
    from rich.console import Console
    from rich.text import Text

    class Speed(bars.ProgressColumn):
        def render(self, task: bars.Task) -> Text:
            return Text(f"{task.speed:.1f} {unit}/s" if task.speed else "starting", style="dim")

    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(), Speed())
    with bars.Progress(
        *columns, bars.TimeRemainingColumn(), console=Console(stderr=True), speed_estimate_period=60
    ) as progress:
        task = progress.add_task(what, total=total, completed=done)
        yield lambda more: progress.advance(task, more)


def bars(console: Any) -> Any:
    """Bars for several stages, with the time taken and left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns, console=console)
