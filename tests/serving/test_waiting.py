"""Requests that wait for something else than pictures: searches, and names of their own."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from starlette.testclient import TestClient

from trygon.limits import Limits
from trygon_serving.api import make_api
from trygon_serving.args import AppArgs
from trygon_serving.lookups import Lookups
from trygon_serving.problem import Problem
from trygon_serving.service import Service
from trygon_serving.vocabulary import Vocabulary
from trygon_serving.wire import Options

pytestmark = pytest.mark.slow


def test_more_searches_than_are_worked_on_in_time_are_refused(args: AppArgs) -> None:
    service = Service(args)
    service.lookups = Lookups(most=0)
    with TestClient(make_api(service)) as api:
        response = api.get("/v1/taxa", params={"search": "fox"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


async def _never(texts: Sequence[str], timeout_s: float) -> np.ndarray:
    """Fails where nobody ends the wait for it in time."""
    await asyncio.sleep(timeout_s + 60)
    raise AssertionError(texts)


def test_who_waits_for_names_holds_no_place_of_an_image_and_gets_an_answer_in_time(
    args: AppArgs, photo: bytes
) -> None:
    """Sixteen lists that a slow text encoder sees for the first time."""

    async def run() -> None:
        service = Service(args.model_copy(update={"limits": Limits(answer_s=5, waiting_images=8)}))
        await service.supply.start()
        service.models.choose(None, None).vocabulary = Vocabulary(_never)
        lists = [Options.model_validate({"names": ["red fox", f"name {number}"]}) for number in range(16)]
        asked = [asyncio.create_task(service.classify([photo], it)) for it in lists]
        await asyncio.sleep(0.1)
        assert service.admission.images == 0
        (answer,) = (await service.classify([photo], Options.model_validate({}))).answers
        assert answer.top
        for failed in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(failed, Problem)
            assert failed.status == 504
        await service.supply.close()

    asyncio.run(run())
