"""Items that another thread makes, and what is to be done where it hangs. Knows nothing of the items."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_LOOKS_S = 0.1
"""How often the thread looks whether anybody still waits for its items."""


class StalledError(TimeoutError):
    """No item came in time."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(f"nothing came for {waited_s:g} s")
        self.waited_s = waited_s


def ahead(items: Iterable[T], patience_s: float, depth: int = 1, first_patience_s: float | None = None) -> Iterator[T]:
    """The same items, the next `depth` of them made by another thread meanwhile. Raises `StalledError` where none
    comes for `patience_s` (the first one for `first_patience_s`, where that is another time): the thread is then left
    behind, for nothing ends one that hangs."""
    made: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(depth)
    given_up = threading.Event()

    def put(entry: tuple[bool, T | BaseException | None]) -> bool:
        """Whether anybody waits for more."""
        while not given_up.is_set():
            try:
                made.put(entry, timeout=_LOOKS_S)
            except queue.Full:
                continue
            return not given_up.is_set()
        return False

    def make() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
            put((False, None))
        except BaseException as error:
            put((False, error))

    threading.Thread(target=make, name="ahead", daemon=True).start()
    wait_s = patience_s if first_patience_s is None else first_patience_s
    try:
        while True:
            try:
                is_item, item = made.get(timeout=wait_s)
            except queue.Empty:
                raise StalledError(wait_s) from None
            wait_s = patience_s
            if is_item:
                yield item  # pyright: ignore[reportReturnType]
            elif isinstance(item, BaseException):
                raise item
            else:
                return
    finally:
        given_up.set()
