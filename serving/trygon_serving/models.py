"""Which version of which model answers a request, and what is told of all of them."""

import random
from collections.abc import Mapping, Sequence

from trygon.labelling.lists import Given
from trygon.models.folder import model_key
from trygon_serving import wire
from trygon_serving.catalogue import leading
from trygon_serving.problem import Problem
from trygon_serving.supply import Place, Supply
from trygon_serving.versions import Version


class Models:
    """The choice among the versions of a supply."""

    def __init__(self, supply: Supply, checklists: Mapping[str, Sequence[Given]]) -> None:
        self._supply, self._checklists = supply, checklists

    def choose(self, name: str | None, labels: str | None, steady: bool = False) -> Version:
        """The version that answers a request: one of its model by share, or the one that it names as MODEL/VERSION.

        Without a name it is the first model that has the label set. `steady` takes the largest share always. `Problem`
        422 for what is not there, 503 where nothing is ready.
        """
        model, _, version = (name or self._model_with(labels)).partition("/")
        live = self._live(model, version)
        fitting = [it for it in live if labels is None or labels in it.sets.names]
        if not fitting:
            raise Problem(422, "No such label set", self._told(labels, live))
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
        """The label sets of each model, in the version with the largest share, and the checklists."""
        sets: list[wire.ServedLabelSet] = []
        for model in self._supply.catalogue:
            if any(it.model == model and it.is_held for it in self._supply.versions.values()):
                sets += self.choose(model, None, steady=True).sets.cards(model)
        return wire.LabelSetList(label_sets=sets, checklists=list(self._checklists))

    def _model_with(self, labels: str | None) -> str:
        catalogue = self._supply.catalogue
        having = (it for it, versions in catalogue.items() if any(labels in spec.labels for spec in versions.values()))
        return next(having, next(iter(catalogue)))

    def _live(self, model: str, version: str) -> list[Version]:
        """The versions that may answer: the one that is named, else those with a share, else any. `Problem`."""
        versions = self._supply.catalogue.get(model)
        if versions is None:
            raise Problem(422, "No such model", f"{model!r} is not one of {', '.join(self._supply.catalogue)}")
        if version and version not in versions:
            raise Problem(422, "No such version", f"{version!r} of {model} is not one of {', '.join(versions)}")
        live = [it for it in self._supply.versions.values() if it.model == model and it.is_held]
        if version:
            live = [it for it in live if it.name == version]
        elif any(map(self._share, live)):
            live = [it for it in live if self._share(it)]
        if not live:
            why = self._supply.problem((model, version or leading(versions)))
            raise Problem(503, "The model is not ready", why or f"{model} is being loaded", retry_after_s=2)
        return live

    def _told(self, labels: str | None, live: Sequence[Version]) -> str:
        names = dict.fromkeys(name for it in live for name in it.sets.names)
        told = f"{labels!r} is not one of {', '.join(names)}"
        others = {it.model for it in self._supply.versions.values() if labels in it.sets.names} - {live[0].model}
        return told + "".join(f"; it is one of model={other}" for other in sorted(others))

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
