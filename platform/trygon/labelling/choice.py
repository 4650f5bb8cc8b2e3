"""Which labels of a bank there are to choose from, and which may be reported: clades, a list of names, a checklist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.lists import Match, Matcher, positions_of, read_names, told
from trygon.storage import digest_texts

NAMES, CHECKLIST = "names", "checklist"


@dataclass(frozen=True)
class Choice:
    """The bank of the labels to choose from, out of the `whole` one; `allowed_N` says which of them may be reported,
    all where it is None.

    `matches` are what became of each list's names, by the list's kind and in its order.
    """

    bank: LabelBank
    whole: LabelBank
    allowed_N: np.ndarray | None = None
    matches: Mapping[str, Sequence[Match]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Of the labels and what may be reported, whatever the lists are called."""
        allowed = "" if self.allowed_N is None else self.allowed_N.tobytes().hex()
        said = [f"{it.given.name}:{it.status}" for some in self.matches.values() for it in some]
        return digest_texts([self.bank.tree.digest, allowed, *said])


def choose(bank: LabelBank, clades: Sequence[str], names: str | None = None, checklist: str | None = None) -> Choice:
    """The labels within any of the clades that a list names, and those that a checklist allows among them.

    A list's names that are in no label, or may mean several, are in `matches` and `notes`. `UserError` where a list
    leaves nothing.
    """
    chosen, allowed_N = bank.within(clades), None
    matches: dict[str, Sequence[Match]] = {}
    notes: list[str] = []
    if names is not None:
        matches[NAMES] = _matched(chosen, names, "--names")
        notes.append(told(matches[NAMES], names))
        chosen = chosen.select(positions_of(matches[NAMES]))
    if checklist is not None:
        matches[CHECKLIST] = _matched(chosen, checklist, "--checklist")
        notes.append(told(matches[CHECKLIST], checklist))
        allowed_N = np.zeros(len(chosen.tree), bool)
        allowed_N[positions_of(matches[CHECKLIST])] = True
    return Choice(chosen, bank, allowed_N, matches, tuple(filter(None, notes)))


def _matched(bank: LabelBank, place: str, flag: str) -> list[Match]:
    matches = Matcher(bank.tree).match(read_names(place, flag))
    if not len(positions_of(matches)):
        raise UserError(
            f"{flag} {place}: none of its {len(matches)} names, such as {matches[0].given.name!r}, is in the labels; "
            "name common or scientific names that they hold, or build labels with these taxa"
        )
    return matches
