"""How serving ends: Ctrl-C and SIGTERM become a KeyboardInterrupt, so that what was started is stopped in order."""

import signal
from types import FrameType


def interrupt_on_signals() -> None:
    """To be called again after Ray starts: Ray puts a handler of its own there, which aborts the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A second one would cut the cleaning short.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
