"""Items that another thread makes: in order, ahead of their taker, and not waited for without end."""

import threading
import time
from collections.abc import Iterator

import pytest

from trygon.threads import StalledError, ahead


def _turns() -> Iterator[None]:
    """Turns of waiting, ten seconds of them at most."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        time.sleep(0.01)
        yield


@pytest.mark.parametrize("depth", [1, 2])
def test_what_comes_next_is_made_meanwhile_and_errors_arrive(depth: int) -> None:
    made = []

    def items() -> Iterator[int]:
        for item in range(5):
            made.append(item)
            yield item
        raise ValueError("no more")

    taken = ahead(items(), 60, depth)
    assert next(taken) == 0
    for _ in _turns():
        if len(made) == depth + 2:
            break
    assert made == list(range(depth + 2))  # `depth` wait, and one is about to
    assert [next(taken) for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="no more"):
        next(taken)
    assert list(ahead(iter("abc"), 10)) == ["a", "b", "c"]


def test_a_taker_that_leaves_ends_the_thread() -> None:
    before = threading.active_count()
    taken = ahead(iter(range(100)), 60)
    next(taken)
    taken.close()  # pyright: ignore[reportAttributeAccessIssue]
    for _ in _turns():
        if threading.active_count() == before:
            break
    assert threading.active_count() == before


def test_items_that_do_not_come_are_not_waited_for_without_end() -> None:
    hangs = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        hangs.wait(60)

    taken = ahead(items(), patience_s=0.2)
    assert next(taken) == 1
    with pytest.raises(StalledError, match=r"nothing came for 0\.2 s"):
        next(taken)
    hangs.set()


def test_the_first_item_may_take_longer() -> None:
    hangs = threading.Event()

    def items() -> Iterator[int]:
        hangs.wait(0.5)
        yield 1
        hangs.wait(60)

    taken = ahead(items(), patience_s=0.1, first_patience_s=60)
    assert next(taken) == 1
    with pytest.raises(StalledError, match=r"nothing came for 0\.1 s"):
        next(taken)
    hangs.set()
