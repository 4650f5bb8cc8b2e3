"""The label sets and checklists that requests name, loaded from their folders and loaded again when these change.

A new version takes the place of the old one whole: requests that are under way end with the one they began with.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from trygon.errors import TrygonError
from trygon.labelling.bank import CARD, LabelBank, LabelPart
from trygon.labelling.classification import Classifier
from trygon.labelling.lists import Given, Matcher, positions_of, told
from trygon.models.folder import Identified
from trygon.storage import is_remote, join, read_bytes
from trygon.taxonomy.clade_names import clade_slices
from trygon.taxonomy.tree import TaxonTree
from trygon_serving import wire
from trygon_serving.answers import LabelChoice, NameChoice
from trygon_serving.journal import LOGGER
from trygon_serving.lookups import Lookups
from trygon_serving.naming import taxa_of_names
from trygon_serving.problem import Problem
from trygon_serving.products import Products
from trygon_serving.reasons import without_folders

_PAUSE_S, _REMOTE_PAUSE_S, _RETRY_PAUSE_S = 1.0, 30.0, 30.0
_KEPT_PARTS = 8
"""Of a label set, for those that ask for the same: their products go together. One of 400,000 taxa takes 16 MB, and is
made in a tenth of a second."""
_KEPT_LISTS = 64
"""Lists of names, with their taxa."""

log = logging.getLogger(LOGGER)


@dataclass(frozen=True)
class Part:
    """The taxa of some clades: where they stand in their label set, and products with them."""

    slices: Sequence[slice]
    products: Products


@dataclass(frozen=True)
class LabelSet:
    """A LabelBank under a name, ready for products, with the parts of it that were asked for lately. For one event
    loop."""

    name: str
    bank: LabelBank
    products: Products
    allowed: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By checklist: which of the taxa it allows, (N,) bool."""
    parts: OrderedDict[Sequence[str], asyncio.Task["Part"]] = field(default_factory=OrderedDict)
    """By their clades, the least lately used first; also those that are being made."""

    @classmethod
    def load(cls, name: str, folder: str, checklists: Mapping[str, Sequence[Given]], model: Identified) -> "LabelSet":
        """Open a folder. `UserError` where it holds no finished LabelBank, a damaged one, or another model's."""
        bank = LabelBank.load(folder, verify=True)  # which brings the vectors to memory: not with the first request
        bank.require_model(model)
        allowed = {each: _allowed(bank.tree, names, each) for each, names in checklists.items()}
        return cls(name, bank, Products(Classifier(bank)), allowed)

    def card(self, num_taxa: int) -> wire.LabelsCard:
        """Which names there were to choose from."""
        bank = self.bank
        return wire.LabelsCard(
            name=self.name, digest=bank.tree.digest, num_taxa=num_taxa, text_type=str(bank.text_type)
        )

    async def choice(self, clades: Sequence[str], checklist: str | None, lookups: Lookups) -> LabelChoice:
        """The taxa of some clades, of which those on a checklist may be named. `Problem` 422 where none may."""
        allowed_N = None if checklist is None else self.allowed[checklist]
        products = self.products
        if clades:
            part = await self._part(tuple(sorted(set(clades))), lookups)
            products = part.products
            if allowed_N is not None:
                allowed_N = np.concatenate([allowed_N[it] for it in part.slices])
        if allowed_N is not None and not allowed_N.any():
            raise Problem(422, "No taxon is left", f"the checklist {checklist!r} has none of those asked for")
        return LabelChoice(products, self.card(len(products.classifier.bank.tree)), allowed_N)

    async def _part(self, clades: Sequence[str], lookups: Lookups) -> "Part":
        if clades not in self.parts:
            self.parts[clades] = asyncio.create_task(self._make(clades, lookups))
        making = self.parts[clades]
        self.parts.move_to_end(clades)
        return await asyncio.shield(making)  # who goes away leaves it to the others

    async def _make(self, clades: Sequence[str], lookups: Lookups) -> "Part":
        try:
            slices, part = await lookups.run(lambda: self._find(clades))
        except BaseException:
            self.parts.pop(clades, None)
            raise
        while len(self.parts) > _KEPT_PARTS:
            self.parts.popitem(last=False)
        return Part(slices, Products(Classifier(part)))

    def _find(self, clades: Sequence[str]) -> tuple[Sequence[slice], LabelPart]:
        found: list[slice] = []
        for clade in clades:
            slices = clade_slices(self.bank.tree, clade)
            if not slices:
                raise Problem(422, "No such clade", f"{clade!r} is not in the label set {self.name!r}")
            found += slices
        apart: list[slice] = []
        for it in sorted(found, key=lambda it: (it.start, -it.stop)):
            if not apart or it.start >= apart[-1].stop:  # else it lies within the last: a clade in a clade
                apart.append(it)
        return apart, self.bank.part(apart)

    def named(self, names: Sequence[str], vector_ND: np.ndarray) -> NameChoice:
        """Names in any words, with their vectors: those that are taxa of this set have their lineage from it."""
        place_N, classifier = self._taxa_of(tuple(names))
        return NameChoice(names, vector_ND, self.bank.logit_scale, place_N, classifier, self.card(len(names)))

    @cached_property
    def _taxa_of(self) -> Callable[[tuple[str, ...]], tuple[np.ndarray, Classifier | None]]:
        """`_find_taxa`, which looks through all taxa, with what it said of the lists that were asked for lately."""
        return lru_cache(_KEPT_LISTS)(self._find_taxa)

    def _find_taxa(self, names: tuple[str, ...]) -> tuple[np.ndarray, Classifier | None]:
        """For each name its place among those of them that are taxa of this set, -1 where it is none: (N,); and a
        classifier with these taxa, whose probabilities come from elsewhere."""
        found = taxa_of_names(self.bank.tree, names)
        distinct = {taxon.lineage: taxon for taxon in found if taxon}
        if not distinct:
            return np.full(len(names), -1), None
        tree = TaxonTree.from_taxa(distinct.values())
        places = {taxon.lineage: place for place, taxon in enumerate(tree.taxa)}
        place_N = np.asarray([places[taxon.lineage] if taxon else -1 for taxon in found])
        return place_N, Classifier(LabelPart(tree, (), self.bank.dim, self.bank.logit_scale))


def _allowed(tree: TaxonTree, names: Sequence[Given], checklist: str) -> np.ndarray:
    matches = Matcher(tree).match(names)
    if note := told(matches, checklist):
        log.warning("checklist %s", note)
    allowed_N = np.zeros(len(tree), bool)
    allowed_N[positions_of(matches)] = True
    return allowed_N


class LabelSets:
    """The label sets of a model by name, the first by default, and the checklists beside them."""

    def __init__(
        self, folders: Mapping[str, str], checklists: Mapping[str, Sequence[Given]], model: Identified
    ) -> None:
        """Load everything. `UserError` where a folder holds no finished LabelBank of that model."""
        self._folders, self._model = dict(folders), model
        self._cards = {name: _card(folder) for name, folder in folders.items()}
        self._checklists = checklists
        self._sets = {name: LabelSet.load(name, folder, checklists, model) for name, folder in folders.items()}
        self._problems: dict[str, str] = {}
        """As clients are told them."""
        self._try_again: dict[str, float] = {}

    @property
    def names(self) -> Sequence[str]:
        """What requests call them."""
        return list(self._folders)

    def get(self, name: str | None) -> LabelSet:
        """A label set by name, which is there; the first without one."""
        return self._sets[next(iter(self._sets)) if name is None else name]

    def cards(self, model: str) -> Sequence[wire.ServedLabelSet]:
        """What there is to choose from with a model of that name."""
        return [
            wire.ServedLabelSet(
                model=model, **it.card(len(it.bank.tree)).model_dump(), problem=self._problems.get(it.name)
            )
            for it in self._sets.values()
        ]

    async def watch(self) -> None:
        """Take in new versions as they are finished, for ever."""
        pause_s = _REMOTE_PAUSE_S if any(map(is_remote, self._folders.values())) else _PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            for name in self._folders:
                try:
                    await asyncio.to_thread(self.refresh, name)
                except Exception:  # the old version goes on, and the next round tries again
                    log.exception("the label set %s could not be looked at", name)

    def refresh(self, name: str) -> bool:
        """Look at one folder; whether a new version was taken in. One that does not fit the model is not."""
        card = _card(self._folders[name])
        if not card or card == self._cards[name] or time.monotonic() < self._try_again.get(name, 0):
            return False
        try:
            fresh = LabelSet.load(name, self._folders[name], self._checklists, self._model)
        except (TrygonError, OSError, ValueError) as error:
            reason = f"the newer version is not served: {error}"
            self._problems[name] = without_folders(reason, [self._folders[name], self._model.ref])
            self._try_again[name] = time.monotonic() + _RETRY_PAUSE_S
            log.warning("label set %s: %s", name, reason)
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
