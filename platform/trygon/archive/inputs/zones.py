"""The zone of the cameras' clocks: a fixed offset, or a place of the IANA database with its summer time."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from trygon.errors import UserError

_OFFSET = re.compile(r"([+-])(0\d|1[0-4]):([0-5]\d)")


@lru_cache(maxsize=64)
def zone_of(text: str) -> tzinfo:
    """The zone by `+03:00` or `Africa/Nairobi`; `UserError` where it is neither."""
    found = _OFFSET.fullmatch(text)
    if found:
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        return timezone(offset if found[1] == "+" else -offset)
    try:
        return ZoneInfo(text) if text != "UTC" else UTC
    except (ValueError, OSError, KeyError) as error:
        raise UserError(
            f"{text!r} is no time zone: give an offset such as +03:00, or a place such as Africa/Nairobi"
        ) from error


def with_offset(time: datetime, zone: str) -> str:
    """A camera's local time as ISO 8601 with its offset. Of an hour that comes twice in autumn, the first."""
    return time.replace(tzinfo=zone_of(zone)).isoformat(timespec="seconds")


def local(time: datetime, zone: str) -> datetime:
    """A time of a list as the camera's clock shows it: one with an offset is moved into the zone, and loses it."""
    if time.tzinfo is None:
        return time
    try:
        return time.astimezone(zone_of(zone)).replace(tzinfo=None)
    except OverflowError:  # the calendar ends there: such a time stands for `always` in some tables
        return time.replace(tzinfo=None)
