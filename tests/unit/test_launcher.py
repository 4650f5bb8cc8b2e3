"""What the launcher says once it is ready: where to ask, and how to keep what is sent from others' eyes."""

import shlex
from typing import Any

import pytest

from trygon.testing.served import SETTINGS
from trygon_serving.launcher import _announce
from trygon_serving.settings import Settings

IN_THE_CLEAR = (
    "keys and pictures travel in the clear: give --tls-certificate and --tls-key, or let this one\n"
    "  listen on loopback behind a proxy with TLS\n"
)
TLS: dict[str, Any] = {"tls_certificate": "cert.pem", "tls_key": "key.pem"}


@pytest.mark.parametrize(
    ("changes", "address", "is_told"),
    [
        ({"host": "127.0.0.1"}, "http://127.0.0.1:8000", False),
        ({"host": "127.0.0.1", "keys": "keys.json"}, "http://127.0.0.1:8000", False),
        ({"host": "::1", "keys": "keys.json"}, "http://[::1]:8000", False),
        ({"host": "0.0.0.0", "keys": "keys.json"}, "http://127.0.0.1:8000", True),
        ({"host": "::", "keys": "keys.json"}, "http://127.0.0.1:8000", True),
        ({"host": "field-station", "keys": "keys.json"}, "http://field-station:8000", True),
        ({"host": "0.0.0.0", "keys": "keys.json", **TLS}, "https://127.0.0.1:8000", False),
    ],
)
def test_who_sends_keys_in_the_clear_is_told_how_to_put_tls_before(
    changes: dict[str, Any], address: str, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {**SETTINGS, "port": 8000, **changes}
    _announce(Settings(**given))
    said = capsys.readouterr().out
    assert said.startswith(f"ready: {address}/ in a browser, or\n")
    assert said.endswith(IN_THE_CLEAR) == is_told
    assert ("in the clear" in said) == is_told
    command = shlex.split(said.splitlines()[1])
    assert command[-1] == f"{address}/v1/classify"
    assert ("Authorization: Bearer KEY" in command) == ("keys" in changes)
