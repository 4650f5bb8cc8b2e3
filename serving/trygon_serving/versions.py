"""A version of a model while it is served: its label sets, and the encoder that makes vectors for them."""

import asyncio
from contextlib import suppress
from dataclasses import replace

from trygon.models.folder import ImageTower
from trygon_serving import wire
from trygon_serving.catalogue import VersionSpec, Weights
from trygon_serving.labels import LabelSets
from trygon_serving.repository import Held
from trygon_serving.triton import TritonEncoder
from trygon_serving.vocabulary import Vocabulary


class Version:
    """What a request is answered with from its beginning to its end, whatever happens to the version meanwhile."""

    def __init__(
        self,
        model: str,
        name: str,
        spec: VersionSpec,
        weights: Weights,
        sets: LabelSets,
        held: Held,
        encoder: TritonEncoder,
    ) -> None:
        """`held` is what `encoder` asks Triton for; the label sets are those of its weights."""
        self.model, self.name, self.spec, self.weights, self.sets = model, name, spec, weights, sets
        self.tower: ImageTower = replace(held.tower, ref=spec.model)
        self.encoder = encoder
        self.vocabulary = Vocabulary(encoder.encode_texts)
        self.is_held = True
        """Whether Triton had the weights when it was last asked."""
        self.in_use = 0
        """Requests under way."""
        self._watching = asyncio.create_task(sets.watch())

    @property
    def card(self) -> wire.ModelCard:
        """Which weights answer."""
        return wire.ModelCard(name=self.model, version=self.name, ref=self.spec.told, digest=self.weights.digest)

    async def close(self) -> None:
        """Forget its labels' folders, and close its channel."""
        self._watching.cancel()
        with suppress(asyncio.CancelledError):
            await self._watching
        await self.encoder.close()
