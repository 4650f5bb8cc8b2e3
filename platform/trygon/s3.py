"""S3 addresses, clients that find endpoint, region and keys as boto3 does, and refusals in one line.

Knows the S3 API and nothing of what the objects hold.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow.fs

from trygon.errors import TrygonError, UserError

ATTEMPTS = 8
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0

_ADDRESS = re.compile(
    r"s3://(?P<bucket>[^/?]+)/*(?P<key>.*?)(?P<query>\?(?:(?:endpoint_override|scheme|region)=[^&?]*&?)+)?", re.DOTALL
)
_AWS = re.compile(r"https://s3[.-]?([a-z0-9-]+\.)?amazonaws\.com(\.cn)?")
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


@dataclass(frozen=True)
class Address:
    """A bucket, a key as it stands (nothing in it is escaped), and options of the endpoint (`?scheme=http&…`)."""

    bucket: str
    key: str
    query: str = ""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """The parts of an `s3://` address; `UserError` where it is none."""
        found = _ADDRESS.fullmatch(text)
        if not found:
            raise UserError(f"{text} is not an address in S3: write s3://bucket/key")
        if "@" in found["bucket"]:
            # The config is saved with every output, and printed.
            raise UserError(f"keys do not belong into an s3:// address: set {_KEYS}")
        return cls(found["bucket"], found["key"], found["query"] or "")

    @property
    def path(self) -> str:
        """Bucket and key, as pyarrow names an object."""
        return f"{self.bucket}/{self.key}".rstrip("/")

    @property
    def prefix(self) -> str:
        """What the keys of all objects below begin with."""
        return f"{self.key.rstrip('/')}/" if self.key else ""

    def at(self, key: str) -> "Address":
        """Another key of the same bucket."""
        return Address(self.bucket, key, self.query)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}{self.query}"


@dataclass(frozen=True)
class _Login:
    """How to reach a server. Its repr would show keys: it is never printed."""

    endpoint: str
    region: str
    keys: tuple[str, str, str | None] | None
    ca_bundle: str


def client(address: Address) -> Any:
    """The boto3 client for an address; one a process and endpoint. Threads may share it."""
    return _client(_environment(), address.query)


def filesystem(address: Address) -> pyarrow.fs.S3FileSystem:
    """pyarrow's filesystem for an address, made once a process so that connections are used again."""
    return _filesystem(_login(address), address.bucket if _AWS.fullmatch(_login(address).endpoint) else "")


def _environment() -> tuple[tuple[str, str], ...]:
    """What the settings depend on: another environment is another client."""
    return tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))


@lru_cache(maxsize=16)
def _session(environment: tuple[tuple[str, str], ...]) -> Any:
    import boto3

    return boto3.Session()


@lru_cache(maxsize=16)
def _client(environment: tuple[tuple[str, str], ...], query: str) -> Any:
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    options = dict(parse_qsl(query.lstrip("?")))
    try:
        session = _session(environment)
        config = Config(
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_pool_connections=32,
            signature_version=None if session.get_credentials() else UNSIGNED,
        )
        endpoint = options.get("endpoint_override")
        if endpoint and "://" not in endpoint:
            endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
        region = options.get("region") or session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise UserError(f"the settings for S3 do not hold: {error}") from error


def _login(address: Address) -> _Login:
    """The settings at this time: keys that expire are new ones now and then."""
    made = client(address)
    credentials = _session(_environment()).get_credentials()
    frozen = credentials.get_frozen_credentials() if credentials else None
    keys = (frozen.access_key, frozen.secret_key, frozen.token) if frozen else None
    return _Login(made.meta.endpoint_url, made.meta.region_name, keys, os.environ.get("AWS_CA_BUNDLE", ""))


@lru_cache(maxsize=16)
def _filesystem(login: _Login, bucket: str) -> pyarrow.fs.S3FileSystem:
    """`bucket` is blank for servers other than Amazon's, where it may lie in another region than the user's."""
    options: dict[str, Any] = {"region": login.region}
    if bucket:
        with suppress(OSError):  # the next call says what is wrong
            options["region"] = pyarrow.fs.resolve_s3_region(bucket)
    else:
        parts = urlsplit(login.endpoint)
        options |= {"scheme": parts.scheme, "endpoint_override": parts.netloc + parts.path.rstrip("/")}
    if login.keys:
        access, secret, token = login.keys
        options |= {"access_key": access, "secret_key": secret, "session_token": token}
    if login.ca_bundle:
        options["tls_ca_file_path"] = login.ca_bundle
    return pyarrow.fs.S3FileSystem(
        anonymous=login.keys is None,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=READ_TIMEOUT_S,
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        **options,
    )


@contextmanager
def told(address: Address) -> Iterator[None]:
    """Turn refusals of S3 within into errors of one line; a missing object is a FileNotFoundError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (ClientError, BotoCoreError, OSError) as error:
        raise _explained(error, address) from error


def _explained(error: Exception, address: Address) -> Exception:
    code, text = _code_of(error), " ".join(str(error).split())
    if code in {"NoSuchBucket", "NO_SUCH_BUCKET"}:
        return UserError(f"{address}: no bucket {address.bucket} (NO_SUCH_BUCKET); create it or mend the name")
    if code in {"NoSuchKey", "404", "NotFound", "RESOURCE_NOT_FOUND", "NO_SUCH_KEY"} or isinstance(
        error, FileNotFoundError
    ):
        return FileNotFoundError(2, "does not exist", str(address))
    if code in {"AccessDenied", "ACCESS_DENIED", "403", "Forbidden"}:
        return UserError(f"{address}: access denied; give your key the right to it, or set {_KEYS}")
    if code in _WRONG_KEYS or "credentials" in text.lower():
        return UserError(f"{address}: the server does not take the keys ({code or text}); set {_KEYS}")
    if code in _UNREACHABLE:
        endpoint = client(address).meta.endpoint_url
        return TrygonError(f"{address}: the server {endpoint} does not answer; see AWS_ENDPOINT_URL and the network")
    return TrygonError(f"{address}: {text}")


_WRONG_KEYS = {
    "InvalidAccessKeyId",
    "INVALID_ACCESS_KEY_ID",
    "SignatureDoesNotMatch",
    "SIGNATURE_DOES_NOT_MATCH",
    "INVALID_SIGNATURE",
    "ExpiredToken",
    "InvalidToken",
    "INVALID_CLIENT_TOKEN_ID",
    "UNRECOGNIZED_CLIENT",
}
_UNREACHABLE = {
    "NETWORK_CONNECTION",
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "ReadTimeoutError",
    "ConnectionError",
}


def _code_of(error: Exception) -> str:
    """What S3, boto3 or pyarrow calls the refusal."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    if isinstance(error, OSError):
        found = re.search(r"AWS Error (\w+)", str(error))
        return found[1] if found else ""
    return type(error).__name__


def remove_prefix(address: Address) -> None:
    """Remove all objects below an address."""
    made = client(address)
    for page in made.get_paginator("list_objects_v2").paginate(Bucket=address.bucket, Prefix=address.prefix):
        keys = [{"Key": entry["Key"]} for entry in page.get("Contents", ())]
        if not keys:
            continue
        answer = made.delete_objects(Bucket=address.bucket, Delete={"Objects": keys, "Quiet": True})
        for refused in answer.get("Errors", ()):
            raise OSError(f"{refused.get('Key')} cannot be removed: AWS Error {refused.get('Code')}")
