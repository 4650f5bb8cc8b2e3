"""The local Ray: what it says to a user where it does not start, and what it does not say."""

import logging
from typing import Any

import pytest
import ray
import ray.data

from trygon.cluster.local import start_ray
from trygon.errors import TrygonError


def _late(**_: Any) -> None:
    raise Exception("The current node timed out during startup. This could happen because some of the raylet failed.")


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of this test")  # start_ray leaves no other one in the environment then


def test_a_ray_that_starts_too_slowly_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", _late)
    with pytest.raises(TrygonError, match=r"did not start .* busy .*: the same command, given again, goes on"):
        start_ray()


def test_ray_data_is_quiet_also_where_it_was_imported_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setenv("RAY_DATA_LOG_LEVEL", "CRITICAL")
    logger = logging.getLogger("ray.data")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        start_ray()
        assert not logging.getLogger("ray.data._internal.progress").isEnabledFor(logging.WARNING)
    finally:
        logger.setLevel(before)
