"""What the serving tests share: a tiny model with labels, and a photo."""

import io

import numpy as np
import pytest
from PIL import Image

from trygon.testing.served import Served, write_served


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return write_served(tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="session")
def photo() -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((400, 240)).save(buffer, "JPEG")
    return buffer.getvalue()
