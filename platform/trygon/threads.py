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


def ahead(items: Iterable[T], patience_s: float, depth: int = 1) -> Iterator[T]:
    """The same items, the next `depth` of them made by another thread meanwhile. Raises `StalledError` where none
    comes for `patience_s`: the thread is then left behind, for nothing ends one that hangs."""
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
    try:
        while True:
            try:
                is_item, item = made.get(timeout=patience_s)
            except queue.Empty:
                raise StalledError(f"nothing came for {patience_s:g} s") from None
            if is_item:
                yield item  # pyright: ignore[reportReturnType]
            elif isinstance(item, BaseException):
                raise item
            else:
                return
    finally:
        given_up.set()
