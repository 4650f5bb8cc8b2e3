"""boto3's clients of S3 servers, one a process and endpoint; keys that were slow to come are looked for again.

Knows how a server is reached, and nothing of the objects there.
"""

import os
import re
import threading
import time
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from trygon.errors import UserError

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
"""How long a server may say nothing."""

_SDK_ATTEMPTS = "4"
"""Of a request, where AWS_MAX_ATTEMPTS says no other number."""

_LOOKS = 3
"""For keys, before there are none, where AWS_METADATA_SERVICE_NUM_ATTEMPTS says nothing of it."""
_LOOK_AGAIN_S = 60.0
"""A look takes seconds where there is no metadata service."""

_AWS = re.compile(r"https://s3[.-]?([a-z0-9-]+\.)?amazonaws\.com(\.cn)?")
_CHECKSUMS = ("request_checksum_calculation", "response_checksum_validation")


class _Account:
    """Where the settings of one environment are found, and its keys, which renew themselves."""

    def __init__(self) -> None:
        import boto3
        import botocore.session

        self.settings = botocore.session.get_session()
        self.session = boto3.Session(botocore_session=self.settings)
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._looked = self._found_later = False
        self._look_after = 0.0

    def credentials(self) -> Any:
        """The keys; None where none were found."""
        with self._lock:
            if not self._looked:
                self._credentials, self._looked = self._look(), True
            return self._credentials

    def look_again(self) -> bool:
        """Look for keys where there were none, at most once a minute; whether some were found later than at first."""
        with self._lock:
            if self._credentials is None and time.monotonic() >= self._look_after:
                self._credentials = self._look()
                self._found_later = self._credentials is not None
                self._look_after = time.monotonic() + _LOOK_AGAIN_S
            return self._found_later

    def _look(self) -> Any:
        """EC2's metadata service, which gives the keys of a machine's role, has a second to answer. boto3's own
        attempts do not help where that passes: it then asks without a token, and is refused."""
        looks = 1 if "AWS_METADATA_SERVICE_NUM_ATTEMPTS" in os.environ else _LOOKS
        found = (self.session.get_credentials() for _ in range(looks))
        return next((credentials for credentials in found if credentials), None)


def client(query: str, patient: bool) -> Any:
    """The boto3 client for an address with these options (`?scheme=http&…`)."""
    return _client(_environment(), query, patient, not is_anonymous())


def is_anonymous() -> bool:
    """Whether no keys were found."""
    return _account().credentials() is None


def look_again() -> bool:
    """Look for keys once more where none were found, since what gives them may not have answered in time; whether
    requests are signed now that may not have been before."""
    return _account().look_again()


def _environment() -> tuple[tuple[str, str], ...]:
    """What the settings depend on: another environment is another client."""
    return tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))


def _account() -> _Account:
    from botocore.exceptions import BotoCoreError

    try:
        account = _account_of(_environment())
        account.credentials()
        return account
    except (BotoCoreError, ValueError) as error:
        raise _unfit(error) from error


@lru_cache(maxsize=16)
def _account_of(environment: tuple[tuple[str, str], ...]) -> _Account:
    return _Account()


def _unfit(error: Exception) -> UserError:
    return UserError(f"the settings for S3 do not hold: {error}")


@lru_cache(maxsize=16)
def _client(environment: tuple[tuple[str, str], ...], query: str, patient: bool, signed: bool) -> Any:
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    options = dict(parse_qsl(query.lstrip("?")))
    account = _account()
    try:
        config = Config(
            retries={"mode": "standard", "total_max_attempts": _sdk_attempts() if patient else 1},
            connect_timeout=CONNECT_TIMEOUT_S if patient else 3.0,
            read_timeout=READ_TIMEOUT_S if patient else 5.0,
            max_pool_connections=32,
            signature_version=None if signed else UNSIGNED,
        )
        endpoint = options.get("endpoint_override")
        if endpoint and "://" not in endpoint:
            endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
        region = options.get("region") or account.session.region_name or "us-east-1"
        where = {"endpoint_url": endpoint, "region_name": region}
        made = account.session.client("s3", config=config, **where)
        if _AWS.fullmatch(made.meta.endpoint_url):
            return made
        return account.session.client("s3", config=config.merge(Config(**_checksums(account))), **where)
    except (BotoCoreError, ValueError) as error:
        raise _unfit(error) from error


def _checksums(account: _Account) -> dict[str, Any]:
    """Settings for servers other than Amazon's: boto3 adds checksums to all that it sends, which some of them refuse
    as a wrong signature. What the user set stays."""
    given = account.settings.get_scoped_config()
    return {it: "when_required" for it in _CHECKSUMS if f"AWS_{it.upper()}" not in os.environ and it not in given}


def _sdk_attempts() -> int:
    given = os.environ.get("AWS_MAX_ATTEMPTS", _SDK_ATTEMPTS)
    if not given.isdecimal() or not int(given):
        raise UserError(f"AWS_MAX_ATTEMPTS={given}: give a number of attempts, 1 or more")
    return int(given)
