"""What an event held: the scores of each animal pooled over the frames that show it, named again, and counted.

Pooled is the mean of the log-probabilities of all taxa: frames of a burst are not independent, so that their number
makes no name surer, and a frame that says little changes little. It is also the name of the mean vector, since scores
are linear in vectors: no frame's scores have to be kept, only its vector. Memory is that of the events of which some
boxes are still to come, and the ids of all others.

Shapes: M boxes, A animals, F the width of features, K rows of taxa.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pyarrow as pa

from trygon.archive.naming.events import Events
from trygon.archive.naming.namer import Named, Namer
from trygon.archive.naming.tracks import link
from trygon.labelling.columns import TaxonTexts, keeps_name, reason_texts, type_texts
from trygon.labelling.decisions import ANIMAL, BLANK, DETECTOR, UNKNOWN
from trygon.schemas import EVENT_TAXON


@dataclass(frozen=True)
class _Animals:
    """What the events of a batch show, and which of them each box is."""

    event_A: np.ndarray
    type_A: np.ndarray
    rank_A: np.ndarray
    path_AR: np.ndarray
    probability_A: np.ndarray
    decided_A: np.ndarray
    animal_M: np.ndarray
    moment_M: np.ndarray
    detection_M: np.ndarray


@dataclass(frozen=True)
class _Taxa:
    """The taxa of some events, and the boxes that show them: M ids, and the place of each one's taxon among K."""

    event_K: np.ndarray
    type_K: np.ndarray
    rank_K: np.ndarray
    clade_K: np.ndarray
    probability_K: np.ndarray
    count_K: np.ndarray
    decided_K: np.ndarray
    taxon_M: np.ndarray
    detection_M: np.ndarray

    @classmethod
    def concat(cls, parts: "Sequence[_Taxa]") -> "_Taxa":
        """Those of all parts."""
        starts = np.cumsum([0, *(len(part.event_K) for part in parts)])
        moved = [replace(part, taxon_M=part.taxon_M + start) for part, start in zip(parts, starts, strict=False)]
        columns = ([getattr(part, it.name) for part in moved] for it in fields(cls))
        return cls(*map(np.concatenate, columns))

    def ordered(self) -> "_Taxa":
        """By events, in each the surest first; the boxes by their taxa."""
        order = np.lexsort((self.type_K, np.nan_to_num(-self.probability_K, nan=1.0), self.event_K))
        place_K = np.empty(len(order), int)
        place_K[order] = np.arange(len(order))
        taxon_M = place_K[self.taxon_M]
        boxes = np.lexsort((self.detection_M, taxon_M))
        columns = {it.name: getattr(self, it.name)[order] for it in fields(self) if it.name.endswith("_K")}
        return replace(self, **columns, taxon_M=taxon_M[boxes], detection_M=self.detection_M[boxes])


class Pool:
    """Takes named boxes in any order and pools each event with its last one. `frame_M` are the frames of all that are
    to come."""

    def __init__(self, namer: Namer, events: Events, frame_M: np.ndarray) -> None:
        self._namer, self._event_F = namer, events.event_F
        self._missing_E = np.bincount(events.event_F[frame_M], minlength=len(events.event_ids))
        self._open: list[Named] = []
        self._found = [_NO_TAXA]

    def add(self, named: Named) -> None:
        """Take boxes that count, and pool the events that they complete."""
        if not len(named.boxes):
            return
        np.subtract.at(self._missing_E, self._event_F[named.boxes.frame_M], 1)
        waiting = Named.concat([*self._open, named])
        event_M = self._event_F[waiting.boxes.frame_M]
        complete_M = self._missing_E[event_M] == 0
        self._open = [waiting.take(np.flatnonzero(~complete_M))] if not complete_M.all() else []
        rows = np.flatnonzero(complete_M & (waiting.type_M != BLANK))
        rows = rows[np.lexsort((waiting.boxes.detection_M[rows], waiting.boxes.moment_M[rows]))]
        if len(rows):
            self._found.append(_count(self._animals(waiting.take(rows))))

    def _animals(self, named: Named) -> _Animals:
        """Boxes in the order of frames to animals: those that have a name pooled, each person and vehicle as it is."""
        event_M, keeps_M = self._event_F[named.boxes.frame_M], keeps_name(named.type_M)
        some = np.flatnonzero(keeps_M)
        animal_M = np.arange(len(event_M))
        boxes = named.boxes.take(some)
        animal_M[some] = some[
            link(event_M[some], boxes.moment_M, boxes.corner_M4, named.names.take(some), named.feature_MF[some])
        ]
        first_A, animal_M, count_A = np.unique(animal_M, return_inverse=True, return_counts=True)
        pooled = self._pooled(named, animal_M, first_A, count_A)
        rank_A = np.where(keeps_name(pooled.type_M), pooled.names.rank_B, -1)
        surest_A = np.take_along_axis(pooled.names.probability_BR, np.maximum(rank_A, 0)[:, None], axis=1)[:, 0]
        return _Animals(
            *(event_M[first_A], pooled.type_M, rank_A, pooled.names.clade_BR),
            *(np.where(rank_A >= 0, surest_A, np.float32(np.nan)), pooled.decided_M, animal_M),
            *(named.boxes.moment_M, named.boxes.detection_M),
        )

    def _pooled(self, named: Named, animal_M: np.ndarray, first_A: np.ndarray, count_A: np.ndarray) -> Named:
        """A row an animal: of those seen once their own, of the others the name of the mean of their features."""
        several = np.flatnonzero(count_A > 1)
        if not len(several):
            return named.take(first_A)
        order = np.argsort(animal_M, kind="stable")
        starts = np.cumsum(count_A) - count_A
        wide = np.zeros((len(several), named.feature_MF.shape[1]), np.float32)
        place = np.full(len(count_A), -1)
        place[several] = np.arange(len(several))
        rows = order[place[animal_M[order]] >= 0]
        of_wide = place[animal_M[rows]]
        np.add.reduceat(named.feature_MF[rows], np.flatnonzero(np.diff(of_wide, prepend=-1)), axis=0, out=wide)
        wide /= count_A[several, None]
        # The surest box stands for the animal before the rules.
        by_confidence = np.lexsort((-named.boxes.confidence_M, animal_M))
        surest = by_confidence[starts[several]]
        pooled = self._namer.name_features(named.boxes.take(surest), wide)
        result = Named.concat([named.take(first_A), pooled])
        pick = np.arange(len(first_A))
        pick[several] = len(first_A) + np.arange(len(several))
        return result.take(pick)

    def taxa(self) -> pa.Array:
        """EVENT's `taxa`, a list for each event. An event without any is blank."""
        assert not self._open, "every box of an event was given"
        num_events = len(self._missing_E)
        found = _Taxa.concat(self._found)
        taxa = _Taxa.concat([found, _blanks(np.setdiff1d(np.arange(num_events), found.event_K))]).ordered()
        texts = TaxonTexts(self._namer.classifier.bank.tree).clades(taxa.rank_K, taxa.clade_K)
        columns = texts | {
            "type": type_texts(taxa.type_K),
            "probability": pa.array(taxa.probability_K, pa.float32(), mask=np.isnan(taxa.probability_K)),
            "count": pa.array(taxa.count_K, pa.int32(), mask=taxa.count_K == 0),
            "decided_by": reason_texts(taxa.decided_K),
            # A detection's observation has its id.
            "observation_ids": _lists(taxa.taxon_M, len(taxa.event_K), pa.array(taxa.detection_M, pa.int64())),
        }
        members = list(EVENT_TAXON)
        rows = pa.StructArray.from_arrays([columns[it.name].cast(it.type) for it in members], fields=members)
        return _lists(taxa.event_K, num_events, rows)


def _lists(owner_V: np.ndarray, num: int, values: pa.Array) -> pa.ListArray:
    """A list for each of `num` owners, whose values follow each other."""
    return pa.ListArray.from_arrays(np.searchsorted(owner_V, np.arange(num + 1)).astype(np.int32), values)


def _blanks(event_K: np.ndarray) -> _Taxa:
    num, none = len(event_K), np.empty(0, np.int64)
    return _Taxa(
        *(event_K, np.full(num, BLANK), np.full(num, -1), np.zeros(num, int), np.full(num, np.nan, np.float32)),
        *(np.zeros(num, int), np.full(num, DETECTOR), none, none),
    )


_NO_TAXA = _blanks(np.empty(0, int))


def _count(animals: _Animals) -> _Taxa:
    """The count of a taxon is the largest number in one frame, and its probability that of the surest animal."""
    clade_A = np.where(
        animals.rank_A >= 0, animals.path_AR[np.arange(len(animals.rank_A)), np.maximum(animals.rank_A, 0)], 0
    )
    key_A4 = np.stack([animals.event_A, animals.type_A, animals.rank_A, clade_A], axis=1)
    # Blank: each frame said something else, and all of them together that there is nothing.
    key_K4, taxon_A = np.unique(key_A4, axis=0, return_inverse=True)
    taxon_A = taxon_A.reshape(-1)
    order = np.lexsort((-np.nan_to_num(animals.probability_A), taxon_A))
    surest_K = order[np.searchsorted(taxon_A[order], np.arange(len(key_K4)))]
    probability_K = animals.probability_A[surest_K]
    meant_K = meant(key_K4, animals.path_AR[surest_K], probability_K)
    taxon_M = meant_K[taxon_A[animals.animal_M]]
    pair, number = np.unique(np.stack([taxon_M, animals.moment_M]), axis=1, return_counts=True)
    count_K = np.zeros(len(key_K4), np.int64)
    np.maximum.at(count_K, pair[0], number)
    kept = (meant_K == np.arange(len(key_K4))) & (key_K4[:, 1] != BLANK)
    shows_M = kept[taxon_M]
    place_K = np.cumsum(kept) - 1
    event_K, type_K, rank_K, clade_K = key_K4[kept].T
    return _Taxa(
        *(event_K, type_K, rank_K, clade_K, probability_K[kept], count_K[kept], animals.decided_A[surest_K[kept]]),
        *(place_K[taxon_M[shows_M]], animals.detection_M[shows_M]),
    )


def meant(key_K4: np.ndarray, path_KR: np.ndarray, probability_K: np.ndarray) -> np.ndarray:
    """Which taxon each stands for: a name that is only an ancestor of others in its event for the surest of the
    deepest of them, every other for itself. Rows of one event and type go together."""
    meant_K = np.arange(len(key_K4))
    upper_P, lower_P = _pairs_within(key_K4[:, 0] * 8 + key_K4[:, 1])
    rank_K = key_K4[:, 2]
    is_animal_P = np.isin(key_K4[upper_P, 1], (ANIMAL, UNKNOWN))
    upper_P, lower_P = upper_P[is_animal_P], lower_P[is_animal_P]
    at_P = np.maximum(rank_K[upper_P], 0)
    same_P = (rank_K[upper_P] < 0) | (path_KR[upper_P, at_P] == path_KR[lower_P, at_P])
    below_P = same_P & (rank_K[lower_P] > rank_K[upper_P])
    upper_P, lower_P = upper_P[below_P], lower_P[below_P]
    is_end_P = ~np.isin(lower_P, upper_P)  # nothing is below it
    upper_P, lower_P = upper_P[is_end_P], lower_P[is_end_P]
    order = np.lexsort((lower_P, -np.nan_to_num(probability_K[lower_P]), upper_P))
    upper, first = np.unique(upper_P[order], return_index=True)
    meant_K[upper] = lower_P[order][first]
    return meant_K


def _pairs_within(group_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All ordered pairs of rows of one group, where the rows of a group go together."""
    starts = np.flatnonzero(np.diff(group_K, prepend=-1))
    size_G = np.diff(np.append(starts, len(group_K)))
    several_G = size_G > 1
    starts, size_G = starts[several_G], size_G[several_G]
    first_P = np.repeat(starts, size_G**2)
    size_P = np.repeat(size_G, size_G**2)
    number_P = np.arange(len(first_P)) - np.repeat(np.cumsum(size_G**2) - size_G**2, size_G**2)
    return first_P + number_P // size_P, first_P + number_P % size_P
