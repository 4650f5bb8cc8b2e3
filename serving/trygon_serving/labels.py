"""The label sets and checklists that requests name, loaded from their folders and loaded again when these change.

A new version takes the place of the old one whole: requests that are under way end with the one they began with.
"""

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from trygon.errors import TrygonError
from trygon.labelling.bank import CARD, LabelBank
from trygon.labelling.classification import Classifier
from trygon.models.folder import ImageTower
from trygon.storage import is_remote, join, read_bytes
from trygon.taxonomy.tables import read_checklist
from trygon.taxonomy.tree import TaxonTree
from trygon_serving import wire
from trygon_serving.answers import LabelChoice, NameChoice
from trygon_serving.journal import LOGGER
from trygon_serving.naming import clade_slices, rows_on_checklist, taxa_of_names
from trygon_serving.problem import Problem

_PAUSE_S, _REMOTE_PAUSE_S, _RETRY_PAUSE_S = 1.0, 30.0, 30.0
_KEPT_TAXA = 200_000
"""In parts of a label set that are kept for the next request, beside as many as the set itself has."""

log = logging.getLogger(LOGGER)


@dataclass(frozen=True)
class LabelSet:
    """A LabelBank under a name, ready for products, with the parts of it that were asked for lately."""

    name: str
    classifier: Classifier
    parts: "Parts" = field(default_factory=lambda: Parts())

    @classmethod
    def load(cls, name: str, folder: str) -> "LabelSet":
        """Open a folder. `UserError` where it holds no finished LabelBank."""
        classifier = Classifier(LabelBank.load(folder))
        dim = classifier.bank.vector_ND.shape[1]
        classifier.probabilities(np.zeros((1, dim), np.float32))  # lays the vectors out: not with the first request
        return cls(name, classifier)

    @property
    def bank(self) -> LabelBank:
        """All taxa with their vectors."""
        return self.classifier.bank

    def card(self, num_taxa: int) -> wire.LabelsCard:
        """Which names there were to choose from."""
        bank = self.bank
        return wire.LabelsCard(
            name=self.name, digest=bank.tree.digest, num_taxa=num_taxa, text_type=str(bank.text_type)
        )

    def choice(self, clades: Sequence[str], checklist: str | None, taxa: pa.Table | None) -> LabelChoice:
        """The taxa of some clades that are on a checklist. `Problem` 422 where none is."""
        if not clades and taxa is None:
            return LabelChoice(self.classifier, self.card(len(self.bank.tree)))
        key = (*sorted(clades), None, checklist)
        classifier = self.parts.get(key)
        if classifier is None:
            classifier = Classifier(self.bank.select(self._rows(clades, checklist, taxa)))
            self.parts.put(key, classifier, _KEPT_TAXA + len(self.bank.tree))
        return LabelChoice(classifier, self.card(len(classifier.bank.tree)))

    def named(self, names: Sequence[str], vector_ND: np.ndarray) -> NameChoice:
        """Names in any words, with their vectors: those that are taxa of this set have their lineage from it."""
        found = taxa_of_names(self.bank.tree, names)
        place_N, classifier = np.full(len(names), -1), None
        distinct = {taxon.lineage: taxon for taxon in found if taxon}
        if distinct:
            tree = TaxonTree.from_taxa(distinct.values())
            places = {taxon.lineage: place for place, taxon in enumerate(tree.taxa)}
            place_N = np.asarray([places[taxon.lineage] if taxon else -1 for taxon in found])
            nothing_TD = np.zeros((len(tree), vector_ND.shape[1]), np.float16)  # probabilities come from the names
            classifier = Classifier(replace(self.bank, tree=tree, vector_ND=nothing_TD))
        return NameChoice(names, vector_ND, self.bank.logit_scale, place_N, classifier, self.card(len(names)))

    def _rows(self, clades: Sequence[str], checklist: str | None, taxa: pa.Table | None) -> np.ndarray:
        tree = self.bank.tree
        rows = np.arange(len(tree))
        if clades:
            found = {clade: clade_slices(tree, clade) for clade in clades}
            for clade, slices in found.items():
                if not slices:
                    raise Problem(422, "No such clade", f"{clade!r} is not in the label set {self.name!r}")
            rows = np.unique(np.concatenate([rows[part] for slices in found.values() for part in slices]))
        if taxa is not None:
            rows = np.intersect1d(rows, rows_on_checklist(tree, taxa), assume_unique=True)
            if not len(rows):
                raise Problem(422, "No taxon is left", f"the checklist {checklist!r} has none of those asked for")
        return rows


class Parts:
    """Classifiers of parts of a label set, the least lately used forgotten first. Used from several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, Classifier] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object) -> Classifier | None:
        """The classifier of a part, if it is still there."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: object, classifier: Classifier, most_taxa: int) -> None:
        """Keep one, and forget others until all together have at most `most_taxa`."""
        with self._lock:
            self._kept[key] = classifier
            while sum(len(it.bank.tree) for it in self._kept.values()) > most_taxa and len(self._kept) > 1:
                self._kept.popitem(last=False)


class LabelSets:
    """All label sets by name, the first by default, and the checklists beside them."""

    def __init__(self, folders: Mapping[str, str], checklists: Mapping[str, str]) -> None:
        """Load everything. `UserError` where a folder holds no finished LabelBank or a file no taxa."""
        self._folders = dict(folders)
        self._cards = {name: _card(folder) for name, folder in folders.items()}
        self._sets = {name: LabelSet.load(name, folder) for name, folder in folders.items()}
        self._checklists = {name: _taxa(place) for name, place in checklists.items()}
        self._problems: dict[str, str] = {}
        self._try_again: dict[str, float] = {}

    def get(self, name: str | None) -> LabelSet:
        """A label set by name; the first without one. `Problem` 422 for a name that is not there."""
        if name is None:
            return next(iter(self._sets.values()))
        if name not in self._sets:
            raise Problem(422, "No such label set", f"{name!r} is not one of {', '.join(self._sets)}")
        return self._sets[name]

    def checklist(self, name: str | None) -> pa.Table | None:
        """The taxa of a checklist; None without a name. `Problem` 422 for a name that is not there."""
        if name is None:
            return None
        if name not in self._checklists:
            known = f"not one of {', '.join(self._checklists)}" if self._checklists else "there are none"
            raise Problem(422, "No such checklist", f"{name!r}: {known}")
        return self._checklists[name]

    def cards(self) -> wire.LabelSets:
        """What there is to choose from."""
        sets = [
            wire.LabelSet(**it.card(len(it.bank.tree)).model_dump(), problem=self._problems.get(it.name))
            for it in self._sets.values()
        ]
        return wire.LabelSets(label_sets=sets, checklists=list(self._checklists))

    async def watch(self, tower: Callable[[], ImageTower | None]) -> None:
        """Take in new versions as they are finished, for ever. `tower` tells the model that they have to fit."""
        pause_s = _REMOTE_PAUSE_S if any(map(is_remote, self._folders.values())) else _PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            for name in self._folders:
                try:
                    await asyncio.to_thread(self.refresh, name, tower())
                except Exception:  # the old version goes on, and the next round tries again
                    log.exception("the label set %s could not be looked at", name)

    def refresh(self, name: str, tower: ImageTower | None) -> bool:
        """Look at one folder; whether a new version was taken in. One that does not fit the model is not."""
        card = _card(self._folders[name])
        if not card or card == self._cards[name] or time.monotonic() < self._try_again.get(name, 0):
            return False
        try:
            fresh = LabelSet.load(name, self._folders[name])
            if tower is not None:
                fresh.bank.require_model(tower)
        except (TrygonError, OSError, ValueError) as error:
            self._problems[name] = f"the newer version is not served: {error}"
            self._try_again[name] = time.monotonic() + _RETRY_PAUSE_S
            log.warning("label set %s: %s", name, self._problems[name])
            return False
        self._sets[name], self._cards[name] = fresh, card
        self._problems.pop(name, None)
        log.info("label set %s: %d taxa, digest %s", name, len(fresh.bank.tree), fresh.bank.tree.digest)
        return True


def _card(folder: str) -> bytes:
    """The card of a LabelBank as it is written, blank while there is none: it comes last."""
    try:
        return read_bytes(join(folder, CARD))
    except FileNotFoundError:
        return b""


def _taxa(place: str) -> pa.Table:
    return read_checklist(place).taxa
