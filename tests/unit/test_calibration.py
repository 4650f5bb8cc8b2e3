"""The logit scale that fits photos of known species."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.labelling.calibration import fit_logit_scale

pytestmark = pytest.mark.slow


@given(scale=st.floats(5, 60), seed=st.integers(0, 5))
def test_scale_of_the_world_is_found_again(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    similarity_BN = rng.uniform(-0.2, 0.4, (3000, 40))
    # A softmax of the scaled similarities draws the truth: Gumbel noise does that.
    truth_B = (scale * similarity_BN + rng.gumbel(size=similarity_BN.shape)).argmax(1)
    assert fit_logit_scale(similarity_BN, truth_B) == pytest.approx(scale, rel=0.15)


def test_similarities_that_say_nothing_get_the_least_scale() -> None:
    rng = np.random.default_rng(0)
    assert fit_logit_scale(rng.uniform(-0.2, 0.4, (500, 30)), rng.integers(0, 30, 500)) < 3
