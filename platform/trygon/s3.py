"""S3 addresses, what is asked of the objects at them, and refusals in one line.

Knows the S3 API and nothing of what the objects hold. How a server is reached is in `s3_clients`.
"""

import errno
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, TypeVar

from trygon import s3_clients
from trygon.errors import TrygonError, UnavailableError, UserError

ATTEMPTS = 8
"""Of an operation; a request within has some of its own."""

Result = TypeVar("Result")


class DeniedError(UserError):
    """The server knows the keys, and does not let them at this object (HTTP 403: rights, or Glacier)."""


class KeysError(UserError):
    """The server does not take the keys, whatever is asked for."""


_ADDRESS = re.compile(
    r"s3://(?P<bucket>[^/?]+)/*(?P<key>.*?)(?P<query>\?(?:(?:endpoint_override|scheme|region)=[^&?]*&?)+)?", re.DOTALL
)
_PART_BYTES = 8 << 20
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


def told(text: str) -> str:
    """The text as it may be printed: of an address that may hold keys only how it begins."""
    return re.sub(r"^([a-z0-9+.-]+:/+).*[:@].*", r"\1…", text, flags=re.DOTALL | re.IGNORECASE)


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
            raise UserError(f"{told(text)} is not an address in S3: write s3://bucket/key")
        if {"@", ":"} & set(found["bucket"]):  # a colon alone where the secret holds a slash
            # The config is saved with every output, and printed.
            raise UserError(f"keys do not belong into an s3:// address: set {_KEYS}")
        return cls(found["bucket"], found["key"], found["query"] or "")

    @property
    def path(self) -> str:
        """Bucket and key."""
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
class Object:
    """An object as listed. Its ETag is another one when its content is."""

    key: str
    bytes: int
    etag: str


def client(address: Address, patient: bool = True) -> Any:
    """The boto3 client for an address; one a process and endpoint. Threads may share it. One that is not `patient`
    gives up within seconds."""
    return s3_clients.client(address.query, patient)


def persist(address: Address, operation: Callable[[], Result], attempts: int = 0) -> Result:
    """What the operation gives; it is done again, whole, after what may pass.

    boto3 does a request again, but not where a streamed body breaks, nor where too many requests fail. What remains is
    an error of one line; a missing object is a FileNotFoundError.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    attempts = attempts or ATTEMPTS
    looked = False
    for turn in range(attempts):
        try:
            return operation()
        except (ClientError, BotoCoreError, HTTPError) as error:  # the last where a body breaks off within TLS
            code, status = _code_of(error)
            if not looked and turn + 1 < attempts and _is_denied(code, status) and s3_clients.look_again():
                looked = True
                continue
            if turn + 1 == attempts or not _may_pass(error, code, status):
                raise _explained(error, code, status, address) from error
            time.sleep(min(0.2 * 2**turn, 5.0) * random.uniform(0.5, 1.0))
    raise AssertionError("unreachable")


def _may_pass(error: Exception, code: str, status: int) -> bool:
    """Whether the same again may work: everything that is no clear refusal."""
    from botocore.exceptions import (
        BotoCoreError,
        ConnectionError,
        CredentialRetrievalError,
        FlexibleChecksumError,
        HTTPClientError,
        IncompleteReadError,
    )

    if code in _MISSING | _NO_BUCKET | _DENIED | _WRONG_KEYS:
        return False
    if isinstance(error, BotoCoreError):
        broken = HTTPClientError | ConnectionError | IncompleteReadError | FlexibleChecksumError
        # The other: keys that expire were to be renewed, and who gives them did not answer in time.
        return isinstance(error, broken | CredentialRetrievalError)
    return status >= 500 or status in (0, 408, 429) or code in _BUSY


def _is_denied(code: str, status: int) -> bool:
    return code in _DENIED or (status == 403 and code not in _WRONG_KEYS)


def _explained(error: Exception, code: str, status: int, address: Address) -> Exception:
    if code in _MISSING:
        code = "NoSuchBucket" if _bucket_is_missing(address) else "NoSuchKey"
    if code in _NO_BUCKET:
        return UserError(f"{address}: no bucket {address.bucket} (NO_SUCH_BUCKET); create it or mend the name")
    if code == "NoSuchKey":
        return FileNotFoundError(errno.ENOENT, "does not exist", str(address))
    if status == 416:
        return _ended(address)
    if code == "403" or status == 400:
        code = _refusal_of_keys(address) or code
    text = " ".join(str(error).split())
    if code in _WRONG_KEYS:
        return KeysError(f"{address}: the server does not take the keys ({code}); set {_KEYS}")
    if _is_denied(code, status):
        if s3_clients.is_anonymous():
            return DeniedError(f"{address}: access denied; no keys were found, so access was anonymous: set {_KEYS}")
        return DeniedError(f"{address}: access denied; give your keys the right to it, or set others: {_KEYS}")
    if code in _UNREACHABLE:
        endpoint = client(address).meta.endpoint_url
        return UnavailableError(f"{address}: {endpoint} does not answer; see AWS_ENDPOINT_URL and the network")
    return (UnavailableError if _may_pass(error, code, status) else TrygonError)(f"{address}: {text}")


def _bucket_is_missing(address: Address) -> bool:
    """A missing bucket and a missing object are one answer to some requests."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client(address).head_bucket(Bucket=address.bucket)
    except ClientError as error:
        return _code_of(error)[1] == 404
    except BotoCoreError:
        pass
    return False


def _refusal_of_keys(address: Address) -> str:
    """The code that says so where the server does not take the keys, else blank. The answer to a HEAD has no body: 403
    is all that it says, of wrong keys as of an object that these do not open, and 400 of a token that is over."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client(address).list_objects_v2(Bucket=address.bucket, Prefix=address.key, MaxKeys=1)
    except (ClientError, BotoCoreError) as error:
        code, _ = _code_of(error)
        return code if code in _WRONG_KEYS else ""
    return ""


_MISSING = {"NoSuchKey", "NotFound", "404"}
_NO_BUCKET = {"NoSuchBucket"}
_DENIED = {"AccessDenied", "AllAccessDisabled", "Forbidden", "403"}
_WRONG_KEYS = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"),
    *("NoCredentialsError", "PartialCredentialsError"),
}
_BUSY = {"ConditionalRequestConflict", "SlowDown", "RequestTimeout"}
_UNREACHABLE = {
    *("EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError"),
    *("ReadTimeoutError", "ProxyConnectionError", "SSLError"),
}


def _code_of(error: Exception) -> tuple[str, int]:
    """What S3 or boto3 calls the refusal, and the HTTP status, 0 where there is none."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return type(error).__name__, 0
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return str(response.get("Error", {}).get("Code", "")), int(status)


def list_pages(
    address: Address, limit: int | None = None, begin: str = "", deep: bool = True
) -> Iterator[list[Object]]:
    """The objects below an address by key, page by page: those whose keys go on with `begin`, and unless `deep`,
    without those of folders within. A page has at most `limit`."""

    where = {"Bucket": address.bucket, "Prefix": address.prefix + begin, "Delimiter": "" if deep else "/"}
    where |= {"MaxKeys": limit} if limit else {}
    while True:
        # Each page on its own: a million objects are a thousand requests, and keys may expire between them.
        page = persist(address, lambda: client(address).list_objects_v2(**where))
        yield [Object(it["Key"], int(it["Size"]), it["ETag"].strip('"')) for it in page.get("Contents", ())]
        if not page.get("IsTruncated"):
            return
        where["ContinuationToken"] = page["NextContinuationToken"]


def list_objects(address: Address, limit: int | None = None, begin: str = "", deep: bool = True) -> list[Object]:
    """All of `list_pages` together, at most `limit`."""
    objects: list[Object] = []
    for page in list_pages(address, limit, begin, deep):
        objects += page
        if limit and len(objects) >= limit:
            break
    return objects[:limit]


def read(address: Address, most: int | None = None) -> bytes:
    """The whole object. Raises FileNotFoundError, and an OSError with EFBIG where it has more than `most` bytes."""

    def get() -> bytes:
        answer = client(address).get_object(Bucket=address.bucket, Key=address.key)
        if most is not None and answer["ContentLength"] > most:
            answer["Body"].close()
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(address))
        return answer["Body"].read()

    return persist(address, get)


def read_range(address: Address, first: int, count: int) -> bytes:
    """Exactly so many bytes of an object. Raises FileNotFoundError, and another OSError where it ends before them."""
    if not count:
        return b""
    wanted = {"Bucket": address.bucket, "Key": address.key, "Range": f"bytes={first}-{first + count - 1}"}
    data = persist(address, lambda: client(address).get_object(**wanted)["Body"].read())
    if len(data) != count:
        raise _ended(address)
    return data


def _ended(address: Address) -> OSError:
    return OSError(errno.EINVAL, "ends before the bytes that were asked for", str(address))


def answers(address: Address) -> bool:
    """Whether the server answers to a question for what lies below an address, within seconds."""
    where = {"Bucket": address.bucket, "Prefix": address.prefix, "MaxKeys": 1}
    try:
        persist(address, lambda: client(address, patient=False).list_objects_v2(**where), attempts=3)
    except DeniedError:
        return True
    except (TrygonError, OSError):
        return False
    return True


def stat(address: Address) -> Object:
    """The object at an address. Raises FileNotFoundError."""
    found = persist(address, lambda: client(address).head_object(Bucket=address.bucket, Key=address.key))
    return Object(address.key, int(found["ContentLength"]), found["ETag"].strip('"'))


def upload(address: Address, opened: Callable[[], BinaryIO]) -> None:
    """Write an object with one put, or by parts that become one at the end. `opened` gives the content from its start,
    once for each attempt."""
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4)

    def write() -> None:
        with opened() as file:
            client(address).upload_fileobj(file, address.bucket, address.key, Config=config)

    persist(address, write)


def remove_object(address: Address) -> None:
    """Remove the object at an address, if there is one."""
    persist(address, lambda: client(address).delete_object(Bucket=address.bucket, Key=address.key))


def remove(address: Address) -> None:
    """Remove all objects below an address."""
    keys = [{"Key": found.key} for found in list_objects(address)]
    for start in range(0, len(keys), 1000):
        batch = {"Objects": keys[start : start + 1000], "Quiet": True}
        request = partial(client(address).delete_objects, Bucket=address.bucket, Delete=batch)
        answer = persist(address, request)
        for refused in answer.get("Errors", ()):
            raise TrygonError(f"{address.at(refused['Key'])} cannot be removed: {refused.get('Message')}")
