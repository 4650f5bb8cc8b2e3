"""Which models one Triton holds, and having it load and unload them where its repository is ours to write."""

import asyncio
import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclient.utils import InferenceServerException

from trygon.errors import TrygonError, UserError
from trygon.models.folder import ImageTower, model_key
from trygon.models.triton_config import ENCODER
from trygon.models.triton_repository import write_repository
from trygon.storage import write_text
from trygon_serving.catalogue import Weights, encoder_key
from trygon_serving.triton import LOAD_S, Connected, TritonEncoder, is_expired, text_name, tower_of

_ASK_S = 5.0
_NOTES, _NOTED_S = ".in-use", 60.0
"""A folder of the repository, in which each replica notes what it needs, and for how long that holds."""


class TritonUnavailableError(TrygonError):
    """Triton does not answer: it starts, starts again, or hangs."""


@dataclass(frozen=True)
class Held:
    """An image encoder that is loaded: what Triton calls it, and what it is."""

    name: str
    tower: ImageTower
    runs: str
    """As `Weights.runs`; what a Triton that is not ours runs does not matter."""
    python_path: tuple[Path, ...]

    @property
    def key(self) -> str:
        """As `Weights.key`."""
        return encoder_key(model_key(self.tower), self.runs)


class Repository(Connected):
    """The image encoders of a Triton."""

    def __init__(self, address: str, folder: str = "") -> None:
        """`folder` is its model repository, where that is ours to write; Triton then takes orders to load."""
        super().__init__(address)
        self._folder = Path(folder) if folder else None
        self._note = f"{uuid.uuid4().hex}.json"
        self._turn = asyncio.Lock()
        """Models that start side by side make each other stand still, and Triton may give them up."""
        self._python_path: tuple[Path, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether models can be loaded and unloaded."""
        return self._folder is not None

    async def held(self) -> Mapping[str, Held]:
        """What is loaded, by `Weights.key`. Raises `TritonUnavailableError`."""
        try:
            index: Any = await self._client.get_model_repository_index(client_timeout=_ASK_S)
            names = [it.name for it in index.models if it.state == "READY" and it.name.startswith(ENCODER)]
            found = [it for name in names if (it := await self._describe(name))]
        except InferenceServerException as error:
            raise TritonUnavailableError(error.message()) from error
        # Another pod's interpreter may lie elsewhere: what was found is remembered for when nothing is held.
        self._python_path = next((it.python_path for it in found), self._python_path)
        return {it.key: it for it in found}

    def encoder(self, held: Held) -> TritonEncoder:
        """A client of what is loaded."""
        return TritonEncoder(self.address, held.tower.dim, held.name)

    def note(self, keys: Collection[str]) -> None:
        """Tell other replicas what this one needs, where they share the repository."""
        if self._folder:
            write_text(self._folder / _NOTES / self._note, json.dumps(sorted(keys)))

    def noted(self) -> set[str]:
        """What any replica needs that is alive."""
        keys: set[str] = set()
        for note in (self._folder / _NOTES).glob("*.json") if self._folder else ():
            with contextlib.suppress(OSError, ValueError):  # one that goes, or is of another program
                if time.time() - note.stat().st_mtime < _NOTED_S:
                    keys |= set(json.loads(note.read_bytes()))
                else:
                    note.unlink()
        return keys

    async def load(self, weights: Weights) -> None:
        """Have a model loaded, after those that others asked for. `UserError` or `TrygonError` with the reason where
        that fails; `TritonUnavailableError`."""
        if self._folder is None:
            raise UserError(f"the Triton at {self.address} does not hold it, and its repository is not ours to write")
        async with self._turn:
            await self._load(weights, self._folder)

    async def unload(self, name: str) -> None:
        """Give an image encoder up, and the text encoder beside it; what they work on is finished first.
        `TritonUnavailableError`."""
        async with self._turn:
            await self._unload(name)

    async def close(self) -> None:
        """Close the channel, and need nothing any more."""
        if self._folder:
            (self._folder / _NOTES / self._note).unlink(missing_ok=True)
        await super().close()

    async def _load(self, weights: Weights, folder: Path) -> None:
        name = ENCODER + weights.suffix
        try:
            paths = list(self._python_path) or None
            await asyncio.to_thread(write_repository, folder, weights.ref, paths, weights.encoder, weights.suffix)
            await self._client.load_model(name, client_timeout=LOAD_S)
            found = await self._describe(name)
            if found is None or found.key != weights.key:
                raise UserError(f"{weights.ref} changed while it was read; give a new version a folder of its own")
        except InferenceServerException as error:
            if _is_away(error):
                # The files stay: it may be loading them all the same.
                raise TritonUnavailableError("Triton went away while it loaded, or did not answer") from error
            await self._remove(name)
            raise TrygonError(f"Triton cannot load it: {_reason(error)}") from error
        except UserError:
            await self._unload(name)
            raise

    async def _unload(self, name: str) -> None:
        for each in (name, text_name(name)):
            try:
                await self._client.unload_model(each, client_timeout=LOAD_S)
            except InferenceServerException as error:
                if _is_away(error):
                    raise TritonUnavailableError(
                        "Triton went away while it let go of a model, or did not answer"
                    ) from error
        await self._remove(name)

    async def _describe(self, name: str) -> Held | None:
        answer: Any = await self._client.get_model_config(name, client_timeout=_ASK_S)
        if "digest" not in answer.config.parameters:
            return None  # not one of `write_repository`
        paths = answer.config.parameters["python_path"].string_value.split(os.pathsep)
        runs = answer.config.parameters["encoder"].string_value if self.is_ours else "torch"
        return Held(name, tower_of(answer.config), runs, tuple(Path(path) for path in paths if path))

    async def _remove(self, name: str) -> None:
        assert self._folder
        for each in (name, text_name(name)):
            await asyncio.to_thread(shutil.rmtree, self._folder / each, True)


def _is_away(error: InferenceServerException) -> bool:
    """Whether Triton did not answer at all. That it takes no orders is an answer, if of the same status."""
    return is_expired(error) or ("UNAVAILABLE" in str(error.status()) and "explicit" not in str(error.message()))


def _reason(error: InferenceServerException) -> str:
    """The one line that tells what was wrong, out of Triton's several."""
    return (error.message() or "").split("Internal: ")[-1].splitlines()[0].strip()
