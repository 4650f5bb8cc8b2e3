"""What the tests without Ray share: a real S3 server."""

from collections.abc import Iterator

import pytest

from trygon.testing.s3 import s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server with one bucket, `shards`."""
    with s3_server("shards") as address:
        yield address
