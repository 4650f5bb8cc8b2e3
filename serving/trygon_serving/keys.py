"""API keys: who may ask, and how often. The file holds their hashes, and is read again when it changes.

A key is 256 random bits, so that one SHA-256 is as hard to turn round as any slower hash. Run as a program, this
module is `trygon keys`: it adds, removes and lists keys.
"""

import hashlib
import hmac
import logging
import secrets
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trygon.errors import UserError, report
from trygon.storage import stamp_of, write_text
from trygon_serving.journal import LOGGER
from trygon_serving.problem import Problem

_LOOK_S = 1.0
_DAY_S = 86_400
_PREFIX = "trygon"

log = logging.getLogger(LOGGER)


class Key(BaseModel):
    """One key as the file holds it. Requests a minute and a day are not limited where nothing is said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern="^[0-9a-f]{8}$")
    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    per_minute: int | None = Field(default=None, ge=1)
    per_day: int | None = Field(default=None, ge=1)
    created: str


class KeyFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    keys: list[Key]


class Command(BaseModel):
    """What `trygon keys` shall do with a file; without `add` and `remove`, list its keys."""

    model_config = ConfigDict(extra="forbid")

    file: Path
    add: str | None = None
    remove: str | None = None
    per_minute: int | None = None
    per_day: int | None = None


class Allowance:
    """What is left of a key's requests: as many at once as it has a minute, then evenly; and the day's."""

    def __init__(self, now_s: float) -> None:
        self._left: float | None = None
        self._seen_s, self._day_s, self._today = now_s, now_s, 0

    def take(self, key: Key, now_s: float) -> None:
        """Use one request. `Problem` 429 where none is left; the limits are those of the file now."""
        if now_s - self._day_s >= _DAY_S:
            self._day_s, self._today = now_s, 0
        if key.per_day is not None and self._today >= key.per_day:
            wait_s = int(self._day_s + _DAY_S - now_s) + 1
            raise Problem(429, "Too many requests", f"at most {key.per_day} a day with this key", wait_s)
        if key.per_minute is not None:
            left = key.per_minute if self._left is None else self._left
            left = min(key.per_minute, left + (now_s - self._seen_s) * key.per_minute / 60)
            self._left, self._seen_s = left, now_s
            if left < 1:
                wait_s = int((1 - left) * 60 / key.per_minute) + 1
                raise Problem(429, "Too many requests", f"at most {key.per_minute} a minute with this key", wait_s)
            self._left = left - 1
        self._today += 1


class Keys:
    """The keys of a file, and what each has used since the server began. For one event loop."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`UserError` where the file cannot be read or holds no key."""
        self._path, self._clock = path, clock
        self._keys = {key.id: key for key in read_keys(path)}
        if not self._keys:
            raise UserError(f"--keys {path} holds no key; make one: trygon keys {path} --add NAME")
        self._state, self._looked_s = stamp_of(path), clock()
        self._allowances: dict[str, Allowance] = {}

    def identify(self, authorization: str) -> Key:
        """The key of an `Authorization: Bearer …` header. `Problem` 401."""
        self._refresh()
        scheme, _, token = authorization.partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        key = self._keys.get(token.split("_")[1] if token.count("_") >= 2 else "")
        given = hashlib.sha256(token.encode()).hexdigest()
        # As long for a key that is not there as for one that is.
        if not hmac.compare_digest(given, key.sha256 if key else "0" * 64) or key is None:
            raise Problem(401, "A key is needed", "send it as Authorization: Bearer KEY")
        return key

    def use(self, key: Key) -> None:
        """Use one of a key's requests. `Problem` 429."""
        now_s = self._clock()
        self._allowances.setdefault(key.id, Allowance(now_s)).take(key, now_s)

    def _refresh(self) -> None:
        now_s = self._clock()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        state = stamp_of(self._path)
        if state == self._state:
            return
        try:
            self._keys = {key.id: key for key in read_keys(self._path)}
            self._state = state
        except UserError as error:  # it is tried again until it can be read
            log.error("the keys stay as they were: %s", error)


def read_keys(path: Path) -> list[Key]:
    """The keys of a file. `UserError` where it cannot be read."""
    try:
        return KeyFile.model_validate_json(path.read_bytes()).keys
    except (OSError, ValidationError) as error:
        reason = getattr(error, "strerror", None) or "is no file of keys"
        raise UserError(f"--keys {path}: {reason}; make one: trygon keys {path} --add NAME") from error


def add_key(path: Path, name: str, per_minute: int | None = None, per_day: int | None = None) -> str:
    """Add a key to a file, which may not be there yet; the key itself, which is nowhere else."""
    keys = read_keys(path) if path.exists() else []
    identifier = secrets.token_hex(4)
    token = f"{_PREFIX}_{identifier}_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(token.encode()).hexdigest()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    key = Key(id=identifier, name=name, sha256=digest, per_minute=per_minute, per_day=per_day, created=created)
    _write(path, [*keys, key])
    return token


def remove_key(path: Path, identifier: str) -> None:
    """Take a key out of a file by its id. `UserError` where it is not there."""
    keys = read_keys(path)
    left = [key for key in keys if key.id != identifier]
    if len(left) == len(keys):
        raise UserError(f"--remove {identifier}: {path} holds no key with this id; trygon keys {path} lists them")
    _write(path, left)


def _write(path: Path, keys: list[Key]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, KeyFile(keys=keys).model_dump_json(indent=2) + "\n")
    path.chmod(0o600)


def run(command: Command) -> None:
    """Add, remove or list keys, and say so. `UserError` where it is told to do two things at once."""
    if command.add and command.remove:
        raise UserError("--add and --remove are a command each: give them one after the other")
    if (command.per_minute or command.per_day) and not command.add:
        raise UserError("--per-minute and --per-day are limits of a new key: name it with --add NAME")
    if command.add:
        token = add_key(command.file, command.add, command.per_minute, command.per_day)
        print(f"{token}\nthis is shown once: the file holds its hash alone, and servers read it again by themselves")
    elif command.remove:
        remove_key(command.file, command.remove)
        print(f"{command.remove} is no key any more")
    else:
        for key in read_keys(command.file):
            limits = f"{key.per_minute or 'any number'} a minute, {key.per_day or 'any number'} a day"
            print(f"{key.id}  {key.name}  ({limits}; since {key.created})")


if __name__ == "__main__":
    try:
        run(Command.model_validate_json(sys.argv[1]))
    except UserError as error:
        sys.exit(report(error))
