"""What clients are told of why something is not served: less than the log, which has the whole of it."""

import re
from collections.abc import Iterable

from trygon.storage import name_of

_QUERY, _FOLDERS = re.compile(r"(\w+://[^\s?]*)\?\S*"), re.compile(r"(?:\w+://|(?<![\w.])/)\S*/")


def without_folders(reason: str, places: Iterable[str] = ()) -> str:
    """A reason for clients: files and folders by their own names, and not where on this machine or elsewhere they
    lie, which `places` begin with."""
    for place in places:
        reason = reason.replace(place, name_of(place)) if "/" in place else reason
    return _FOLDERS.sub("", _QUERY.sub(r"\1", reason))
