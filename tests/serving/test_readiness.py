"""When a server is said to be ready, and what is said as long as it is not."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from trygon.errors import TrygonError
from trygon_serving.args import AppArgs
from trygon_serving.readiness import wait_ready

pytestmark = pytest.mark.slow

OverHttp = Callable[[AppArgs], AbstractContextManager[str]]


class _SaidError(Exception):
    """Ends the wait."""


def _say(text: str) -> None:
    raise _SaidError(text)


def _nothing() -> None:
    """All lives."""


def test_it_is_ready_once_a_picture_would_be_answered(over_http: OverHttp, args: AppArgs) -> None:
    with over_http(args) as address:
        wait_ready(address, args.triton, _say, _nothing, patience_s=60)


def test_a_triton_that_does_not_answer_is_named(over_http: OverHttp, args_without_triton: AppArgs) -> None:
    with (
        over_http(args_without_triton) as address,
        pytest.raises(_SaidError, match=r"no Triton answers at 127.0.0.1:1;"),
    ):
        wait_ready(address, args_without_triton.triton, _say, _nothing, patience_s=1)


def test_with_a_triton_the_model_is_what_is_missing(
    over_http: OverHttp, args_without_triton: AppArgs, args: AppArgs
) -> None:
    with over_http(args_without_triton) as address, pytest.raises(_SaidError, match="model is not ready"):
        wait_ready(address, args.triton, _say, _nothing, patience_s=1)


def test_what_has_ended_is_not_waited_for() -> None:
    def look() -> None:
        raise TrygonError("it has ended")

    with pytest.raises(TrygonError, match="it has ended"):
        wait_ready("http://127.0.0.1:1", "127.0.0.1:1", _say, look)
