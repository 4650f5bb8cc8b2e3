"""Fingerprints by which copies of a picture are found: an exact one, and a perceptual one that survives re-encoding.

The perceptual one follows PDQ (Facebook 2019, "PDQ & TMK"): the signs, against their median, of the 16 × 16 lowest
frequencies of a 64 × 64 grey picture: 256 bits. Copies differ in a few bits, other pictures in about half of them.
Knows nothing of taxa or sources. Shapes: N pictures, P pairs.
"""

import hashlib
from itertools import pairwise

import numpy as np
from PIL import Image

BITS = 256
DIGEST_BYTES = 16

_GRID = 64
_FREQUENCIES = 16
_FLAT = 3.0
"""Mean step between neighbours, in grey levels of 255, below which a picture has too little in it to be told by."""

_COMPARED = 1 << 20
"""Pairs that are compared at once."""

_NONE = np.iinfo(np.int64).max


def _dct_rows() -> np.ndarray:
    """Rows 1 to 16 of the DCT-II over 64 points: without the mean, which is only brightness."""
    frequency, place = np.arange(1, _FREQUENCIES + 1)[:, None], np.arange(_GRID)[None, :]
    return np.cos(np.pi * frequency * (2 * place + 1) / (2 * _GRID)).astype(np.float32)


_DCT = _dct_rows()


def exact(data: bytes) -> bytes:
    """16 bytes that are equal where the encoded pictures are."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def perceptual(image: Image.Image) -> bytes | None:
    """32 bytes; None for a picture too flat to be told by them, such as a bare wall or a night without flash."""
    # First by a whole factor, which is cheap, so that little is left to turn grey.
    small = image.reduce(max(1, min(image.size) // (2 * _GRID)))
    grey_HW = np.asarray(small.convert("L").resize((_GRID, _GRID), Image.Resampling.BOX), np.float32)
    if np.abs(np.diff(grey_HW, axis=0)).mean() + np.abs(np.diff(grey_HW, axis=1)).mean() < _FLAT:
        return None
    spectrum = _DCT @ grey_HW @ _DCT.T
    return np.packbits(spectrum > np.median(spectrum)).tobytes()


def originals(hashes_N4: np.ndarray, distance: int, num_guards: int = 0) -> np.ndarray:
    """For each picture the index of the one that it is a copy of, itself where it is none: (N,) int64.

    `hashes_N4` are 256 bits each as four uint64, the picture to keep first. A picture is a copy of the first one that
    is kept and differs in at most `distance` bits. The first `num_guards` are all kept.
    """
    original_N = np.arange(len(hashes_N4))
    bands = _Bands(hashes_N4, distance)
    kept = [bands.sort(original_N[:num_guards])]
    for start in range(num_guards, len(hashes_N4), block := _block_size(distance)):
        ids_B = original_N[start : start + block].copy()
        original_B = np.min([bands.find(ids_B, run) for run in kept], axis=0)
        left = np.flatnonzero(original_B == _NONE)  # of no earlier block
        alone = bands.share_none(ids_B[left])
        original_B[left[alone]] = ids_B[left[alone]]
        left = left[~alone]
        while left.size:
            first, left = left[0], left[1:]
            near = _num_bits(hashes_N4[ids_B[left]], hashes_N4[ids_B[first]]) <= distance
            original_B[first] = ids_B[first]
            original_B[left[near]] = ids_B[first]
            left = left[~near]
        original_N[ids_B] = original_B
        kept.append(bands.sort(ids_B[original_B == ids_B]))
        while len(kept) > 1 and kept[-2].shape[1] <= 2 * kept[-1].shape[1]:  # so there are few runs
            last, before = kept.pop(), kept.pop()
            kept.append(bands.sort(np.concatenate([before[0], last[0]])))
    return original_N


def _block_size(distance: int) -> int:
    """Pictures that are compared with the kept ones at once, and then among each other: few of them share a band."""
    return min(max(2 ** (BITS // (distance + 1) - 8), 2048), 1 << 15)


def _num_bits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.bitwise_count(a ^ b).sum(-1)


class _Bands:
    """Hashes to be found by their bands of bits.

    Two hashes that differ in d bits agree in at least one of d + 1 bands (Norouzi et al. 2012, arXiv:1307.2982), so
    only those that share a band are compared. A run is ids sorted by each band: (bands, M).
    """

    def __init__(self, hashes_N4: np.ndarray, distance: int) -> None:
        self._hashes_N4, self._distance = hashes_N4, distance
        cuts = [BITS * band // (distance + 1) for band in range(distance + 2)]
        self._keys = [_bits_between(hashes_N4, first, last) for first, last in pairwise(cuts)]

    def sort(self, ids_M: np.ndarray) -> np.ndarray:
        """A run of these."""
        return np.stack([ids_M[np.argsort(keys_N[ids_M], kind="stable")] for keys_N in self._keys])

    def find(self, ids_B: np.ndarray, run: np.ndarray) -> np.ndarray:
        """The lowest id of a run within the distance of each of these, _NONE where there is none: (B,) int64."""
        found_B = np.full(len(ids_B), _NONE)
        for keys_N, run_M in zip(self._keys, run, strict=True):
            order = np.argsort(keys_N[ids_B])  # neighbours are looked up one after the other: twice as fast
            wanted_B, sorted_M = keys_N[ids_B[order]], keys_N[run_M]
            starts_B = np.searchsorted(sorted_M, wanted_B)
            counts_B = np.searchsorted(sorted_M, wanted_B, side="right") - starts_B
            for part in _split_by_size(counts_B):
                counts = counts_B[part]
                rows = np.repeat(part, counts)
                within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
                others = run_M[starts_B[rows] + within]
                near = _num_bits(self._hashes_N4[ids_B[order[rows]]], self._hashes_N4[others]) <= self._distance
                np.minimum.at(found_B, order[rows[near]], others[near])
        return found_B

    def share_none(self, ids_M: np.ndarray) -> np.ndarray:
        """Which share no band with another one of these, so that they are far from all of them: (M,) bool."""
        alone_M = np.ones(len(ids_M), bool)
        for keys_N in self._keys:
            _, inverse, counts = np.unique(keys_N[ids_M], return_inverse=True, return_counts=True)
            alone_M &= counts[inverse] == 1
        return alone_M


def _bits_between(hashes_N4: np.ndarray, first: int, last: int) -> np.ndarray:
    """Bits first to last (not included) of each hash as a number, the first 32 of them where there are more: (N,)."""
    word, shift, width = first // 64, np.uint64(first % 64), min(last - first, 32)
    bits_N = hashes_N4[:, word] >> shift
    if first % 64 + width > 64:
        bits_N |= hashes_N4[:, word + 1] << (np.uint64(64) - shift)
    return (bits_N & np.uint64(2**width - 1)).astype(np.uint32)


def _split_by_size(counts_B: np.ndarray) -> list[np.ndarray]:
    """The rows that have something to compare, cut so that no part compares many more than _COMPARED at once."""
    rows = np.flatnonzero(counts_B)
    cuts = np.flatnonzero(np.diff(np.cumsum(counts_B[rows]) // _COMPARED)) + 1
    return [part for part in np.split(rows, cuts) if part.size]
