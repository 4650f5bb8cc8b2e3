"""How many images are let in: as many as are set, or as a slow model answers in time."""

import asyncio
import time
from contextlib import ExitStack, suppress

import pytest

from trygon.limits import Limits
from trygon_serving.admission import Admission
from trygon_serving.problem import Problem


def _room(admission: Admission) -> int:
    """How many single images are let in at once."""
    with ExitStack() as inside:
        while True:
            try:
                inside.enter_context(admission.work(1))
            except Problem:
                return admission.images


def _answer(admission: Admission, num_images: int, seconds: float) -> None:
    for _ in range(num_images):
        with admission.work(1):
            time.sleep(seconds)


def test_as_many_as_are_set_until_it_is_known_how_long_they_take() -> None:
    assert _room(Admission(Limits())) == 64


def test_a_slow_model_gets_what_it_answers_in_a_third_of_the_time_but_a_batch_at_least() -> None:
    admission = Admission(Limits(answer_s=0.3))
    _answer(admission, 100, 0.005)  # some twenty in the 0.1 s, fewer on a busy machine
    assert 8 <= _room(admission) <= 20
    with admission.work(16):  # a request of many images still comes in where nothing else is
        assert admission.images == 16
    slow = Admission(Limits(answer_s=0.003))
    _answer(slow, 40, 0.005)
    assert _room(slow) == 8


def test_images_of_a_batch_count_as_many() -> None:
    admission = Admission(Limits(answer_s=1.2))  # 20 images of 0.02 s would be let in
    for _ in range(10):
        with admission.work(32):
            time.sleep(0.02)
    assert _room(admission) == 64


@pytest.mark.parametrize(("error", "room"), [(Problem(503, "no Triton"), 64), (Problem(504, "too slow"), 8)])
def test_what_took_too_long_tells_how_long_answers_take_and_what_failed_otherwise_does_not(
    error: Exception, room: int
) -> None:
    admission = Admission(Limits(answer_s=0.003))
    for _ in range(5):
        with suppress(Problem), admission.work(1):
            time.sleep(0.01)
            raise error
    assert admission.images == 0
    assert _room(admission) == room


def test_one_that_is_cut_off_would_have_taken_longer_and_tells_so() -> None:
    slow, hasty = Admission(Limits(answer_s=0.003)), Admission(Limits(answer_s=0.003))
    for _ in range(5):
        with suppress(asyncio.CancelledError), slow.work(1):
            time.sleep(0.01)
            raise asyncio.CancelledError
    assert _room(slow) == 8
    _answer(hasty, 40, 0.005)
    for _ in range(200):
        with suppress(asyncio.CancelledError), hasty.work(1):
            raise asyncio.CancelledError  # goes away at once
    assert _room(hasty) == 8


def test_a_body_holds_what_has_come_of_it_and_nothing_once_it_is_gone() -> None:
    """Forty phones that upload slowly, without saying how much, keep nobody out."""
    admission = Admission(Limits(body_bytes=100, held_bytes=1000))
    with ExitStack() as inside:
        slow = [inside.enter_context(admission.body(0)) for _ in range(40)]
        slow += [inside.enter_context(admission.body(100)) for _ in range(40)]
        for take in (*slow, *slow[:15]):
            take(10)
        with pytest.raises(Problem, match="Too many requests wait"):
            admission.body(100).__enter__()
        with admission.body(50):
            assert admission.bytes == 950
        for take in slow[:5]:
            take(10)
        with pytest.raises(Problem):
            slow[20](1)
        assert admission.bytes == 1000
    assert admission.bytes == 0


def test_it_is_said_how_large_a_request_would_have_room() -> None:
    admission = Admission(Limits(waiting_images=4))
    for inside, wanted, is_full in ((3, 2, False), (4, 1, True), (5, 1, True)):
        with admission.work(inside), pytest.raises(Problem) as caught:
            admission.work(wanted).__enter__()
        assert caught.value.is_full is is_full
        assert ("have room now: 1; send fewer at once" in str(caught.value)) is not is_full
        assert "come again in a moment" in str(caught.value)
    with admission.work(4), pytest.raises(Problem) as caught:
        admission.body(1).__enter__()
    assert caught.value.is_full


def test_who_is_not_let_in_is_told_to_come_back() -> None:
    admission = Admission(Limits(waiting_images=2))
    with admission.work(2), pytest.raises(Problem) as caught:
        admission.work(1).__enter__()
    assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
    with admission.work(3):  # alone; to come again would not help it
        assert admission.images == 3
