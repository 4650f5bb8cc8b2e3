"""One writer at a time on S3: a lease that its holder renews.

The lease is an object, written under conditions (If-None-Match, If-Match), so that of two writers one succeeds. Who
finds one watches it: when it does not change for `ttl_s`, its holder died. Only lengths of time count; the clocks of
machines are never compared. Knows nothing of what is written to the folder.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from trygon import s3
from trygon.errors import TrygonError, UserError

TTL_S = 15.0
RENEWALS = 3
"""Within one `ttl_s`."""

_ATTEMPTS = 6


class LostError(TrygonError):
    """Another process has taken the folder over."""


class Hold:
    """A folder that this process holds. On disk nobody can take it over."""

    def check(self) -> None:
        """Raise `LostError` where another process has taken the folder over: write no more then."""


class HeldError(UserError):
    """Another process writes to the folder."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(f"another process is writing to {folder}; wait for it or give another --out")


class Lease(Hold):
    """The lease of this process on the folder, at an address. A thread renews it; any other may `check` and `end`."""

    def __init__(self, address: s3.Address, folder: str, ttl_s: float) -> None:
        self._address, self._folder, self._ttl_s = address, folder, ttl_s
        self._owner, self._count = f"{socket.gethostname()} {os.getpid()} {uuid4().hex}", 0
        self._etag = ""
        self._until = 0.0
        """Nobody else takes over before this time of `_now`."""
        self._lost = False
        self._mutex = threading.Lock()
        self._ended = threading.Event()

    def take(self) -> None:
        """Take the lease; `HeldError` where its holder lives, `UserError` where the server knows no conditions."""
        if not self._put(IfNoneMatch="*"):
            self._take_over()
        elif self._put(IfNoneMatch="*") or self._put(IfMatch='"none"'):  # some servers do not look at conditions
            self._delete()
            raise UserError(f"{self._folder}: {_UNFIT}")
        threading.Thread(target=self._renew, name="lease", daemon=True).start()

    def check(self) -> None:
        """Raise `LostError` where another process has taken the folder over, `TrygonError` where S3 does not say."""
        with self._mutex:
            if not self._lost and _now() >= self._until:  # this machine slept, or S3 did not answer for long
                self._lost = not self._put(IfMatch=self._etag)
            if self._lost:
                raise LostError(
                    f"{self._folder}: this run did not answer for {self._ttl_s:.0f} s and another one has taken its "
                    "place; it stops, so that the two do not write over each other"
                )

    def end(self) -> None:
        """Remove the lease, if it is still of this process."""
        self._ended.set()
        with self._mutex, suppress(TrygonError):
            # Once renewed, it is nobody else's for as long as the removal takes.
            if not self._lost and self._put(IfMatch=self._etag):
                self._delete()

    def _take_over(self) -> None:
        first = found = self._find()
        deadline = _now() + self._ttl_s
        while found and _now() < deadline:
            time.sleep(self._ttl_s / (2 * RENEWALS))
            found = self._find()
            if found not in ("", first):
                raise HeldError(self._folder)
        if not (self._put(IfMatch=found) if found else self._put(IfNoneMatch="*")):
            raise HeldError(self._folder)  # of several that waited, another one was first

    def _renew(self) -> None:
        while not self._ended.wait(self._ttl_s / RENEWALS):
            with self._mutex, suppress(TrygonError):  # an answer that did not come says nothing: `check` asks again
                if self._ended.is_set() or self._lost:
                    return
                self._lost = not self._put(IfMatch=self._etag)

    def _put(self, **condition: str) -> bool:
        """Write the lease under a condition; whether it held. Raises `TrygonError`."""
        from botocore.exceptions import ClientError

        self._count += 1
        body = json.dumps({"writer": self._owner, "count": self._count}).encode()
        start = _now()
        request = {"Bucket": self._address.bucket, "Key": self._address.key, "Body": body}

        def put() -> str:
            try:
                return self._client.put_object(**request, **condition)["ETag"]
            except ClientError as error:
                code = str(error.response.get("Error", {}).get("Code"))
                if code in ("NotImplemented", "501"):
                    raise UserError(f"{self._folder}: {_UNFIT}") from error
                if code in ("PreconditionFailed", "412", "NoSuchKey"):  # not as it was, or removed
                    return ""
                raise

        # An answer that is lost on its way leads to a second try, which finds what the first one wrote.
        etag = s3.persist(self._address, put, _ATTEMPTS) or self._find(body)
        if etag:
            self._etag, self._until = etag, start + self._ttl_s
        return bool(etag)

    def _find(self, body: bytes | None = None) -> str:
        """The ETag of the lease that lies there, if it holds `body`; blank where there is none."""

        def get() -> tuple[str, bytes]:
            found = self._client.get_object(Bucket=self._address.bucket, Key=self._address.key)
            return found["ETag"], found["Body"].read()

        try:
            etag, content = s3.persist(self._address, get, _ATTEMPTS)
        except FileNotFoundError:
            return ""
        return etag if body in (None, content) else ""

    def _delete(self) -> None:
        request = {"Bucket": self._address.bucket, "Key": self._address.key}
        s3.persist(self._address, lambda: self._client.delete_object(**request), _ATTEMPTS)

    @property
    def _client(self) -> Any:
        return s3.client(self._address, patient=False)


_UNFIT = (
    "the server does not support conditional writes (If-None-Match), so two runs could not be kept apart; "
    "give a folder on disk as --out and copy it, or another server"
)


def _now() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
