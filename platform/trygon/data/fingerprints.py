"""Fingerprints by which copies of a picture are found: an exact one, and a perceptual one that survives re-encoding.

The perceptual one follows PDQ (Facebook 2019, "PDQ & TMK"): the signs, against their median, of the 16 × 16 lowest
frequencies of a 64 × 64 grey picture: 256 bits. Copies differ in a few bits, other pictures in about half of them.
Knows nothing of taxa or sources. Shapes: N pictures, P pairs.
"""

import hashlib

import numpy as np
from PIL import Image

BITS = 256
DIGEST_BYTES = 16

_GRID = 64
_FREQUENCIES = 16
_FLAT = 3.0
"""Mean step between neighbours, in grey levels of 255, below which a picture has too little in it to be told by."""


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
    grey_HW = np.asarray(image.convert("L").resize((_GRID, _GRID), Image.Resampling.BOX), np.float32)
    if np.abs(np.diff(grey_HW, axis=0)).mean() + np.abs(np.diff(grey_HW, axis=1)).mean() < _FLAT:
        return None
    spectrum = _DCT @ grey_HW @ _DCT.T
    return np.packbits(spectrum > np.median(spectrum)).tobytes()


def originals(hashes_N4: np.ndarray, distance: int) -> np.ndarray:
    """For each picture the index of the one that it is a copy of, itself where it is none: (N,) int64.

    `hashes_N4` are 256 bits each as four uint64, the picture to keep first. A picture is a copy of an earlier one that
    is kept and differs in at most `distance` bits.
    """
    distinct_M4, first_M, inverse_N = np.unique(hashes_N4, axis=0, return_index=True, return_inverse=True)
    by_place = np.argsort(first_M)
    distinct_M4, first_M = distinct_M4[by_place], first_M[by_place]
    original_M = np.arange(len(first_M))
    for left, right in _near_pairs(distinct_M4, distance).tolist():  # by the later picture, so the earlier is settled
        if original_M[left] == left and original_M[right] == right:
            original_M[right] = left
    place = np.argsort(by_place)
    return first_M[original_M[place[inverse_N.reshape(-1)]]].astype(np.int64)


def _near_pairs(hashes_M4: np.ndarray, distance: int) -> np.ndarray:
    """Pairs of distinct hashes within the distance, sorted by the later one, then the earlier: (P, 2).

    Two hashes that differ in d bits agree in at least one of d + 1 bands of bits (Norouzi et al. 2012,
    arXiv:1307.2982), so only those that share a band are compared.
    """
    if not distance or len(hashes_M4) < 2:
        return np.empty((0, 2), np.int64)
    bits_MB = np.unpackbits(np.ascontiguousarray(hashes_M4).view(np.uint8), axis=1)
    found = []
    for band in np.array_split(np.arange(BITS), distance + 1):
        # A band of more than 32 bits is compared by its first 32: fewer bits only mean more candidates.
        packed = np.packbits(bits_MB[:, band[:32]], axis=1)
        keys_M4 = np.zeros((len(packed), 4), np.uint8)
        keys_M4[:, : packed.shape[1]] = packed
        found.append(_near_with_same_key(hashes_M4, keys_M4.view(np.uint32).reshape(-1), distance))
    pairs = np.unique(np.concatenate(found)[:, ::-1], axis=0)
    return pairs[:, ::-1]


def _near_with_same_key(hashes_M4: np.ndarray, keys_M: np.ndarray, distance: int) -> np.ndarray:
    order = np.argsort(keys_M, kind="stable")
    keys_M = keys_M[order]
    found = [np.empty((0, 2), np.int64)]
    first = np.arange(len(order))
    for step in range(1, len(order)):
        first = first[first + step < len(order)]
        first = first[keys_M[first] == keys_M[first + step]]
        if not first.size:
            break
        left, right = order[first], order[first + step]  # a stable sort: the earlier picture is on the left
        near = np.bitwise_count(hashes_M4[left] ^ hashes_M4[right]).sum(1) <= distance
        found.append(np.stack([left[near], right[near]], axis=1))
    return np.concatenate(found)
