"""What all tests share: the variables that they run with, and which tests run where."""

import os

import pytest
from hypothesis import settings

# Before anything imports torch, ray or numpy: tests run beside each other on small machines.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where a worker takes more threads all the same, those that wait would spin, beside tests that need the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# How long an example takes says more of what else the machine does than of the code. Half as many as by default: the
# fast part is to take less than a minute.
settings.register_profile("trygon", deadline=None, max_examples=50)
settings.load_profile("trygon")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs CUDA where there is none; torch is imported only if a collected test asks for it."""
    wanting = [item for item in items if item.get_closest_marker("requires_gpu")]
    if not wanting:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="needs CUDA"))
