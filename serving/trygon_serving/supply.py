"""How versions come to be served and cease to be: the catalogue is followed, and Triton made to hold what it needs.

A version is taken in once its label sets are read and Triton holds its weights, not before. The one whose place it
takes serves until then, and ends when the requests that it has are answered.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trygon.errors import TrygonError, UserError
from trygon.labelling.lists import Given
from trygon.storage import stamp_of
from trygon_serving.catalogue import Catalogue, VersionSpec, Weights, read_catalogue, specs
from trygon_serving.journal import LOGGER
from trygon_serving.labels import LabelSets
from trygon_serving.reasons import without_folders
from trygon_serving.repository import Held, Repository, TritonUnavailableError
from trygon_serving.versions import Version

_PAUSE_S, _START_PAUSE_S, _RETRY_PAUSE_S = 1.0, 0.2, 30.0
_ANSWER_S = 0.3
"""How long a look waits for Triton's answer. A later one takes it where it comes later: the file is followed whether
Triton answers or hangs, as the way back from a bad version is written there."""
_AWAY_PAUSE_S, _MOST_AWAY_S = 2.0, 300.0
_AWAY_AFTER = 2
"""Looks in a row at which Triton did not answer: one may be of a busy machine."""

log = logging.getLogger(LOGGER)

Place = tuple[str, str]
"""A model's name and a version's."""


@dataclass
class Failure:
    """Why something did not come about, and when to try again."""

    reason: str
    again_s: float


@dataclass
class Attempt:
    """A version on its way in: its label sets are read, then Triton has to hold its weights."""

    spec: VersionSpec
    reading: "asyncio.Task[tuple[Weights, LabelSets]]"

    @property
    def read(self) -> tuple[Weights, LabelSets] | None:
        """What was read, once it is."""
        done = self.reading.done() and not self.reading.cancelled() and self.reading.exception() is None
        return self.reading.result() if done else None


class Supply:
    """The versions that can answer, of those that are wanted. For one event loop."""

    def __init__(
        self,
        wanted: Catalogue | str,
        repository: Repository,
        checklists: Mapping[str, Sequence[Given]],
        unload_after_s: float,
    ) -> None:
        """`wanted` may be the path of a file, which is read again when it changes; `UserError` where it is not sound.

        `unload_after_s`: how long weights that are not needed stay in Triton, as another replica may still use them.
        """
        self._file = Path(wanted) if isinstance(wanted, str) else None
        self._state = self._tried = stamp_of(self._file) if self._file else None
        """Of the file as it was read, and as reading it was last tried."""
        self.catalogue: Catalogue = dict(wanted) if isinstance(wanted, dict) else read_catalogue(Path(wanted))
        self.versions: dict[Place, Version] = {}
        self._repository, self._checklists, self._unload_after_s = repository, checklists, unload_after_s
        self._attempts: dict[Place, Attempt] = {}
        self._failures: dict[Place | str, Failure] = {}
        """Of versions, and of weights by their key."""
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._unloads: dict[str, asyncio.Task[None]] = {}
        """By the name in Triton."""
        self._asking: asyncio.Task[Mapping[str, Held]] | None = None
        """What Triton holds, while it has not said so."""
        self._num_missed = 0
        self._times_away: dict[str, int] = {}
        """How often Triton went away while it loaded weights, by their key."""
        self.been_ready: set[str] = set()
        """Models of which a version was served."""
        self._leaving: list[Version] = []
        self._unneeded_since_s: dict[str, float] = {}

    def problem(self, place: Place) -> str | None:
        """What clients are told of why a version is not served as it is wanted, if it has failed."""
        attempt, version = self._attempts.get(place), self.versions.get(place)
        read = attempt.read if attempt else None
        weights = read[0] if read else version.weights if version and not version.is_held else None
        failure = self._failures.get(place) or (self._failures.get(weights.key) if weights else None)
        spec = attempt.spec if attempt else version.spec if version else None
        places = [spec.model, *spec.labels.values()] if spec else []
        return without_folders(failure.reason, places) if failure else None

    def spec(self, place: Place) -> VersionSpec | None:
        """What is wanted of a version; None where it is only there until another is."""
        return self.catalogue.get(place[0], {}).get(place[1])

    async def start(self) -> None:
        """Take in what needs no loading in Triton, which is waited for."""
        await self.look(None)
        if reading := [it.reading for it in self._attempts.values()]:
            await asyncio.wait(reading)
        await self.look(None)

    async def watch(self) -> None:
        """Look again and again, for ever."""
        while True:
            is_arriving = any(self.problem(place) is None for place in self._attempts)
            await asyncio.sleep(_START_PAUSE_S if is_arriving else _PAUSE_S)
            try:
                await self.look()
            except Exception:  # what is served goes on, and the next round tries again
                log.exception("the models could not be looked at")

    async def look(self, within_s: float | None = _ANSWER_S) -> None:
        """Compare what is wanted with what there is, and do the next step towards it. Waits for nothing but Triton's
        answer, for so long."""
        self._note_readings()
        if self._asking is None:  # else its answer may lack what was loaded since
            self._note_loads()
        if await asyncio.to_thread(self._read_again):
            # Who changes the file may have mended what it names, too.
            self._failures.clear()
            for place in list(self._attempts):
                self._drop(place)
        self._begin()
        asking = self._asking = self._asking or asyncio.create_task(self._repository.held())
        await asyncio.wait([asking], timeout=within_s)
        if asking.done():
            self._asking = None
            await self._compare(asking)

    async def _compare(self, asked: "asyncio.Task[Mapping[str, Held]]") -> None:
        """Take in what Triton holds of what is wanted, have the rest loaded, and let go of what nobody needs."""
        try:
            held = asked.result()
        except TritonUnavailableError:
            self._miss()
            return
        self._num_missed = 0
        held = {key: it for key, it in held.items() if it.name not in self._unloads}
        self._take_in(held)
        for version in self.versions.values():
            version.is_held = self._require(version.weights, held)
            if version.is_held:  # a Triton that was started again may call it otherwise
                version.encoder.name = held[version.weights.key].name
        self._give_up()
        await self._unload(held)

    async def close(self) -> None:
        """End everything that goes on beside requests."""
        reading = [it.reading for it in self._attempts.values()]
        asking = [self._asking] if self._asking else []
        tasks = [*reading, *asking, *self._loads.values(), *self._unloads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for version in (*self.versions.values(), *self._leaving):
            await version.close()
        await self._repository.close()

    def _miss(self) -> None:
        """Triton did not answer: where that is no chance, nothing is promised that it would be needed for."""
        self._num_missed += 1
        if self._num_missed >= _AWAY_AFTER:
            for version in self.versions.values():
                version.is_held = False

    def _read_again(self) -> bool:
        """Whether the file has changed, and could be read."""
        if self._file is None or (state := stamp_of(self._file)) == self._state:
            return False
        try:
            self.catalogue = read_catalogue(self._file)
        except TrygonError as error:  # it is tried again, as it may become readable without a change
            if state != self._tried:
                log.error("the models stay as they were: %s", error)
            self._tried = state
            return False
        self._state = self._tried = state
        return True

    def _drop(self, place: Place) -> None:
        """Let go of an attempt: if it is still wanted, all of it is read anew."""
        self._attempts.pop(place).reading.cancel()

    def _begin(self) -> None:
        """Have the labels read of what is wanted and not there."""
        wanted = {(model, version): spec for model, version, spec in specs(self.catalogue)}
        for place, attempt in list(self._attempts.items()):
            if place not in wanted or not wanted[place].is_like(attempt.spec):
                self._drop(place)
                self._failures.pop(place, None)
        for place, spec in wanted.items():
            version, attempt = self.versions.get(place), self._attempts.get(place)
            if version and version.spec.is_like(spec):
                if attempt:
                    self._drop(place)
                self._failures.pop(place, None)
            elif attempt is None or (attempt.reading.done() and not attempt.read and self._is_due(place)):
                reading = asyncio.create_task(asyncio.to_thread(self._read, spec))
                self._attempts[place] = Attempt(spec, reading)

    def _read(self, spec: VersionSpec) -> tuple[Weights, LabelSets]:
        weights = Weights.of(spec.model, spec.encoder if self._repository.is_ours else "torch")
        return weights, LabelSets(spec.labels, self._checklists, weights)

    def _take_in(self, held: Mapping[str, Held]) -> None:
        """What is read and held by Triton takes the place of what was there."""
        for place, attempt in list(self._attempts.items()):
            read = attempt.read
            if read is None or not self._require(read[0], held):
                continue
            weights, sets = read
            self._leave(place)
            found = held[weights.key]
            encoder = self._repository.encoder(found)
            self.versions[place] = Version(*place, attempt.spec, weights, sets, found, encoder)
            del self._attempts[place]
            self.been_ready.add(place[0])
            log.info("%s is served: digest %s", "/".join(place), weights.digest)

    def _require(self, weights: Weights, held: Mapping[str, Held]) -> bool:
        """Whether Triton holds weights; it is made to load them otherwise."""
        if weights.key in held:
            return True
        if weights.key not in self._loads and self._is_due(weights.key):
            self._loads[weights.key] = asyncio.create_task(self._repository.load(weights))
        return False

    def _note_readings(self) -> None:
        """Tell of which versions the labels could not be read."""
        for place, attempt in self._attempts.items():
            if attempt.reading.done() and not attempt.read and place not in self._failures:
                self._fail(place, "/".join(place), attempt.reading.exception())

    def _note_loads(self) -> None:
        """Tell what Triton could not load. Where it went away meanwhile, the next round tries again."""
        for key, load in list(self._loads.items()):
            if load.done():
                del self._loads[key]
                error = load.exception()
                if error is None:
                    self._times_away.pop(key, None)
                elif isinstance(error, TritonUnavailableError):
                    # It may have been the model that ended it, for want of memory: others answer meanwhile.
                    self._times_away[key] = times = self._times_away.get(key, 0) + 1
                    self._fail(key, "a model", error, min(_AWAY_PAUSE_S * 2**times, _MOST_AWAY_S))
                else:
                    self._fail(key, "a model", error)
                    if isinstance(error, UserError):  # the folder is another one than was read
                        self._drop_attempts(key)

    def _drop_attempts(self, key: str) -> None:
        for place, attempt in list(self._attempts.items()):
            if attempt.read and attempt.read[0].key == key:
                self._drop(place)

    def _give_up(self) -> None:
        """What is not wanted any more goes, once something else answers for its model."""
        for place, version in list(self.versions.items()):
            if self.spec(place) is None and (place[0] not in self.catalogue or self._is_served(place[0])):
                self._leave(place)
                log.info("%s is not served any more", "/".join((version.model, version.name)))

    def _is_served(self, model: str) -> bool:
        """Whether a version that is wanted, and gets requests, could answer."""
        for place, version in self.versions.items():
            spec = self.spec(place)
            if place[0] == model and version.is_held and spec and spec.share:
                return True
        return False

    def _leave(self, place: Place) -> None:
        if place in self.versions:
            self._leaving.append(self.versions.pop(place))

    async def _unload(self, held: Mapping[str, Held]) -> None:
        """Let go of what nobody uses."""
        for version in [it for it in self._leaving if not it.in_use]:
            self._leaving.remove(version)
            await version.close()
        if not self._repository.is_ours:
            return
        arriving = [it.read[0] for it in self._attempts.values() if it.read]
        staying = [it.weights for it in (*self.versions.values(), *self._leaving)]
        mine = {it.key for it in (*arriving, *staying)} | self._loads.keys()
        await asyncio.to_thread(self._repository.note, mine)
        needed = mine | await asyncio.to_thread(self._repository.noted)
        now_s = time.monotonic()
        self._unneeded_since_s = {key: self._unneeded_since_s.get(key, now_s) for key in held if key not in needed}
        if self._loads:  # it would wait behind these, and somebody may want it again by then
            return
        for key, since_s in self._unneeded_since_s.items():
            if now_s - since_s > self._unload_after_s:
                name = held[key].name
                self._unloads[name] = asyncio.create_task(self._let_go(name))

    async def _let_go(self, name: str) -> None:
        try:
            await self._repository.unload(name)
            log.info("Triton lets go of %s", name)
        except TritonUnavailableError as error:  # a later look tries again, where Triton still holds it
            log.warning("Triton does not let go of %s: %s", name, error)
        finally:
            del self._unloads[name]

    def _is_due(self, what: Place | str) -> bool:
        """Whether it never failed, or long enough ago."""
        failure = self._failures.get(what)
        if failure and time.monotonic() > failure.again_s:
            del self._failures[what]
            return True
        return failure is None

    def _fail(
        self, what: Place | str, name: str, error: BaseException | None, pause_s: float = _RETRY_PAUSE_S
    ) -> None:
        reason = str(error) if isinstance(error, TrygonError) else repr(error)
        self._failures[what] = Failure(reason, time.monotonic() + pause_s)
        cause = f" ({error.__cause__})" if error and error.__cause__ else ""
        log.warning("%s is not served: %s%s", name, reason, cause)
