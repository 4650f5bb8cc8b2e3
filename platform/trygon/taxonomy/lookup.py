"""A backbone's lineages as integers, and the indices that find its taxa by name. Settles nothing."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.taxonomy.coded import CodedNames
from trygon.taxonomy.names import clean_lineages, clean_name
from trygon.taxonomy.taxon import RANKS, Rank

ELSEWHERE = -1
"""The code of a name that the backbone does not have; 0 is the blank."""


@dataclass(frozen=True)
class NameIndex:
    """Sorted `keys` (E,) int64 and the taxon of each, `targets` (E,) int64. A key may stand for several taxa."""

    keys: np.ndarray
    targets: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray, targets: np.ndarray) -> "NameIndex":
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], targets[order])

    def pairs(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions in `keys` and the taxa that match them: two (P,) arrays, in the order of `keys`."""
        starts = np.searchsorted(self.keys, keys)
        counts = np.searchsorted(self.keys, keys, side="right") - starts
        rows = np.repeat(np.arange(len(keys)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self.targets[np.repeat(starts, counts) + within]


def encode(columns: list[pa.ChunkedArray]) -> tuple[pa.StringArray, np.ndarray]:
    """Distinct names, the blank first, and codes of all rows: (N,) int32."""
    chunks = [chunk for column in columns for chunk in column.cast(pa.string()).chunks]
    encoded = pa.chunked_array([pa.array([""]), *chunks]).combine_chunks().dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy()[1:]


def depths_of(codes: np.ndarray) -> np.ndarray:
    """The deepest rank that has a name, -1 where none has: (7, N) to (N,) int64."""
    named = codes != 0
    return np.where(named.any(axis=0), Rank.SPECIES - np.argmax(named[::-1], axis=0), -1)


def keys_of(codes: np.ndarray, rank: Rank, num_epithets: int) -> np.ndarray:
    """What a lineage is looked up by at a rank, -1 where the backbone cannot have it: (7, N) to (N,) int64."""
    keys = codes[rank].astype(np.int64)
    if rank is not Rank.SPECIES:
        return keys
    known = (codes[Rank.GENUS] > 0) & (keys > 0)
    return np.where(known, codes[Rank.GENUS] * np.int64(num_epithets) + keys, ELSEWHERE)


def repeated(keys: np.ndarray) -> np.ndarray:
    """Which of sorted keys are there more than once: (N,) to (N,) bool."""
    same = keys[1:] == keys[:-1]
    return np.append(same, False)[: len(keys)] | np.append(False, same)[: len(keys)]


def taxa_of(
    codes: np.ndarray, common: pa.StringArray, num_epithets: int
) -> tuple[np.ndarray, pa.StringArray, tuple[NameIndex, ...], np.ndarray]:
    """All taxa that rows name, their ancestors too: lineages, common names, an index a rank, and each row's taxon.

    A taxon that is there twice, once with blanks, is found as the fuller one, where this is one.
    """
    depths = depths_of(codes)
    called = CodedNames.of(pa.chunked_array([common]))
    # A taxon's own row comes before those of its descendants, one with a common name before one without, and of
    # several names the first of the alphabet, whatever the order of the rows.
    order = np.lexsort((called.ordinals(), ~called.present, depths))
    codes, depths = codes[:, order], depths[order]
    prefixes, taxon_of = np.zeros(len(order), np.int64), np.full(len(order), -1)
    lineages, commons, indices, fullest, num_taxa = [], [], [], [], 0
    for rank in Rank:
        prefixes = prefixes * (int(codes[rank].max()) + 1) + codes[rank]
        prefixes = np.unique(prefixes, return_inverse=True)[1].reshape(-1)
        named = np.flatnonzero(codes[rank])
        _, first, clade = np.unique(prefixes[named], return_index=True, return_inverse=True)
        rows, clade = named[first], clade.reshape(-1)
        lineage = codes[:, rows]
        lineage[rank + 1 :] = 0
        lineages.append(lineage)
        commons.append(common.take(pa.array(order[rows], mask=depths[rows] != rank)).fill_null(""))
        own = depths[named] == rank
        taxon_of[order[named[own]]] = num_taxa + clade[own]
        keys = keys_of(lineage, rank, num_epithets)
        fuller = _fullest(lineage, keys)
        kept = np.flatnonzero(fuller == np.arange(len(rows)))
        indices.append(NameIndex.of(keys[kept], num_taxa + kept))
        fullest.append(num_taxa + fuller)
        num_taxa += len(rows)
    fullest = np.concatenate(fullest)
    taxon_of = np.where(taxon_of < 0, -1, fullest[taxon_of])
    return np.concatenate(lineages, axis=1), _handed_on(pa.concat_arrays(commons), fullest), tuple(indices), taxon_of


def _fullest(lineages: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """For each taxon of a rank the one of its name that has all its names and most beside them: (7, T) to (T,) int64.

    It is the taxon itself where none has, or where several have that contradict each other: those are homonyms.
    """

    def within(some: np.ndarray, others: np.ndarray) -> np.ndarray:
        return ((lineages[:, some] == 0) | (lineages[:, some] == lineages[:, others])).all(axis=0)

    fullest = np.arange(len(keys))
    order = np.argsort(keys, kind="stable")
    doubled = order[repeated(keys[order])]
    place, full = NameIndex.of(keys[doubled], doubled).pairs(keys[doubled])
    poor = doubled[place]
    more = (poor != full) & within(poor, full)
    poor, full = poor[more], full[more]
    order = np.lexsort(((lineages[:, full] != 0).sum(axis=0), poor))
    poor, full = poor[order], full[order]
    fullest[poor] = full  # the last to be set stays
    torn = poor[~within(full, fullest[poor])]
    fullest[torn] = torn
    return fullest


def _handed_on(common: pa.StringArray, fullest: np.ndarray) -> pa.StringArray:
    """Common names, with those of poorer doubles where the fuller taxon has none."""
    named = pc.not_equal(common, "").to_numpy(zero_copy_only=False)
    poor = np.flatnonzero(named & (fullest != np.arange(len(fullest))))
    poor = poor[~named[fullest[poor]]]
    taken = np.arange(len(fullest))
    taken[fullest[poor[::-1]]] = poor[::-1]
    return common.take(pa.array(taken))


def synonym_names(synonyms: pa.Table) -> pa.Table:
    """The synonyms' own names in rank columns, each at the rank of the taxon it stands for; else blank."""
    texts = synonyms["name"].fill_null("").to_pylist()
    blank = pa.repeat("", len(texts))
    named = np.stack([pc.not_equal(synonyms[rank], "").to_numpy() for rank in RANKS])
    depths = depths_of(named)
    columns = dict.fromkeys(RANKS, blank)
    binomials = clean_lineages(
        pa.table(columns | {"kingdom": synonyms["kingdom"], "species": pa.array(texts, pa.string())})
    )
    for rank, name in zip(Rank, RANKS, strict=True):
        at_rank = depths == rank
        if rank is Rank.SPECIES:
            for part in RANKS[Rank.GENUS :]:
                columns[part] = pc.if_else(pa.array(at_rank), binomials[part].combine_chunks(), columns[part])
        else:
            # A binomial that stands for a genus is one species of it, and its own genus is not meant.
            here = [wanted and " " not in text for text, wanted in zip(texts, at_rank.tolist(), strict=True)]
            single = [clean_name(text) if wanted else "" for text, wanted in zip(texts, here, strict=True)]
            columns[name] = pa.array(single, pa.string())
    return pa.table(columns)
