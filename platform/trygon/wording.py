"""How lists are told in a line."""

from collections.abc import Sequence


def first_of(names: Sequence[str], most: int) -> str:
    """So many of them and an ellipsis, or all where there are no more."""
    return ", ".join(names[:most]) + ", …" * (len(names) > most)
