"""Which version of which model answers a request, and what is told of all of them."""

import random
from collections.abc import Mapping, Sequence

from trygon.labelling.lists import Given
from trygon.models.folder import model_key
from trygon_serving import wire
from trygon_serving.catalogue import VersionSpec, leading
from trygon_serving.problem import Problem
from trygon_serving.supply import Place, Supply
from trygon_serving.versions import Version


class Models:
    """The choice among the versions of a supply."""

    def __init__(self, supply: Supply, checklists: Mapping[str, Sequence[Given]]) -> None:
        self._supply, self._checklists = supply, checklists

    def choose(self, name: str | None, labels: str | None, steady: bool = False) -> Version:
        """The version that answers a request: one of its model by share, or the one that it names as MODEL/VERSION. Of
        those that have the label set, that is: one without a share answers where no other has it, or is ready.

        Without a name it is the first model that has the label set. `steady` takes the largest share always. `Problem`
        422 for what is not there, 503 where nothing is ready.
        """
        model, _, version = (name or self._model_with(labels)).partition("/")
        wanted = self._wanted(model, version)
        having = {it: spec for it, spec in wanted.items() if labels is None or labels in spec.labels}
        held = [it for it in self._supply.versions.values() if it.model == model and it.is_held]
        live = [it for it in held if version in ("", it.name)]
        fitting = [it for it in live if labels is None or labels in it.sets.names]
        if not fitting and not having:
            raise Problem(422, "No such label set", self._told(labels, model, wanted))
        if not fitting:
            why = self._supply.problem((model, leading(having)))
            raise Problem(503, "The model is not ready", why or f"{model} is being loaded", retry_after_s=2)
        shares = [self._share(it) for it in fitting]
        if steady or not any(shares):
            return fitting[shares.index(max(shares))]
        return random.choices(fitting, shares)[0]

    def made_with(self, key: str, encoder: str) -> Version | None:
        """A version of the weights with that digest (from the hub: with that name): one that the same encoder runs
        where there is one, of these the one with the largest share."""
        live = (it for it in self._supply.versions.values() if it.is_held)
        fitting = [it for it in live if model_key(it.weights) == key]
        return max(fitting, key=lambda it: (it.weights.runs == encoder, self._share(it)), default=None)

    def require_checklist(self, name: str | None) -> None:
        """`Problem` 422 for a name that is not there."""
        if name is not None and name not in self._checklists:
            known = f"not one of {', '.join(self._checklists)}" if self._checklists else "there are none"
            raise Problem(422, "No such checklist", f"{name!r}: {known}")

    async def require_ready(self) -> None:
        """`Problem` 503 unless an image would get an answer now, from the first model and each that has been ready.
        One that is added meanwhile does not take the others from those who ask."""
        first, *others = self._supply.catalogue
        for model in (first, *(it for it in others if it in self._supply.been_ready)):
            if not await self.choose(model, None, steady=True).encoder.is_ready():
                raise Problem(503, "The encoder is not available", retry_after_s=2)

    def cards(self) -> Sequence[wire.ServedModel]:
        """All versions that are wanted, and those that stand in for them."""
        wanted = [(model, version) for model, versions in self._supply.catalogue.items() for version in versions]
        return [self._card(place) for place in dict.fromkeys([*wanted, *self._supply.versions])]

    def label_sets(self) -> wire.LabelSetList:
        """The label sets of each model, in the version with the largest share that has them, and the checklists."""
        sets: list[wire.ServedLabelSet] = []
        for model in self._supply.catalogue:
            held = [it for it in self._supply.versions.values() if it.model == model and it.is_held]
            named: dict[str, wire.ServedLabelSet] = {}
            for version in sorted(held, key=self._share, reverse=True):
                for card in version.sets.cards(model):
                    named.setdefault(card.name, card)
            sets += named.values()
        return wire.LabelSetList(label_sets=sets, checklists=list(self._checklists))

    def _model_with(self, labels: str | None) -> str:
        return next(iter([*self._models_with(labels), *self._supply.catalogue]))

    def _models_with(self, labels: str | None) -> Sequence[str]:
        catalogue = self._supply.catalogue
        return [it for it, versions in catalogue.items() if any(labels in spec.labels for spec in versions.values())]

    def _wanted(self, model: str, version: str) -> Mapping[str, VersionSpec]:
        """The versions of a model that a request may mean: the one that it names, or all. `Problem` 422."""
        versions = self._supply.catalogue.get(model)
        if versions is None:
            raise Problem(422, "No such model", f"{model!r} is not one of {', '.join(self._supply.catalogue)}")
        if version and version not in versions:
            raise Problem(422, "No such version", f"{version!r} of {model} is not one of {', '.join(versions)}")
        return {version: versions[version]} if version else versions

    def _told(self, labels: str | None, model: str, wanted: Mapping[str, VersionSpec]) -> str:
        names = dict.fromkeys(name for spec in wanted.values() for name in spec.labels)
        told = f"{labels!r} is not one of {', '.join(names)}"
        others = sorted(it for it in self._models_with(labels) if it != model)
        return told + "".join(f"; it is one of model={other}" for other in others)

    def _share(self, version: Version) -> float:
        spec = self._supply.spec((version.model, version.name))
        return spec.share if spec else 0.0

    def _card(self, place: Place) -> wire.ServedModel:
        model, name = place
        version, spec = self._supply.versions.get(place), self._supply.spec(place)
        problem = self._supply.problem(place)
        if version and problem and version.is_held:
            problem = f"the newer one is not served: {problem}"
        if spec is None:
            problem = "removed; it answers until another version can"
        shown = version.spec if version else spec
        assert shown
        total = sum(it.share for it in self._supply.catalogue.get(model, {}).values())
        digest = version.weights.digest if version else ""
        return wire.ServedModel(
            model=wire.ModelCard(name=model, version=name, ref=shown.told, digest=digest),
            share=spec.share / total if spec and total else 0.0,
            ready=bool(version and version.is_held),
            problem=problem,
            label_sets=list(shown.labels),
            side=version.tower.side if version else None,
            resize_mode=str(version.tower.resize_mode) if version else None,
            dim=version.tower.dim if version else None,
        )
