"""What towers compute in: weights stay in single precision, what is computed with them may be in half of it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from trygon.training.settings import Precision

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def computing_in(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """A time in which towers on a device compute in a precision."""
    half = _HALF.get(precision)
    return torch.autocast(device.type, half) if half else nullcontext()
