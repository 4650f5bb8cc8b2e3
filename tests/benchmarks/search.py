"""Search among a million vectors: how long the index takes, how big it is, how fast and how complete the answers are.

    python tests/benchmarks/search.py --num 1000000 --dim 512 [--folder FOLDER]

The vectors are drawn around 2,000 centres of very different sizes, as those of species are, with so much spread that
neighbouring centres overlap. Answers are compared with those of comparing all vectors in float32.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trygon.labelling.search import VectorIndex

_BATCH, _QUERIES, _K, _CENTRES = 50_000, 500, 10, 2000


def draw(num: int, dim: int, spread: float = 1.0) -> Iterator[np.ndarray]:
    """Unit vectors (B, D) float16, the same whenever called."""
    rng = np.random.default_rng(0)
    centre_CD = rng.normal(size=(_CENTRES, dim)).astype(np.float32)
    share_C = rng.pareto(1.0, _CENTRES) + 0.05
    for start in range(0, num, _BATCH):
        count = min(_BATCH, num - start)
        of = rng.choice(_CENTRES, count, p=share_C / share_C.sum())
        vector_BD = centre_CD[of] + spread * rng.standard_normal((count, dim), np.float32)
        vector_BD /= np.linalg.norm(vector_BD, axis=1, keepdims=True)
        yield vector_BD.astype(np.float16)


def batches(vector_ND: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ids and vectors as an index takes them."""
    for start in range(0, len(vector_ND), _BATCH):
        part_BD = vector_ND[start : start + _BATCH]
        yield start + np.arange(len(part_BD)), part_BD


def nearest_of_all(vector_ND: np.ndarray, query_QD: np.ndarray, share: int = 1) -> np.ndarray:
    """The K nearest of each query, by comparing all, or every so manieth: (Q, K) ids."""
    best = np.full((len(query_QD), _K), -np.inf, np.float32)
    ids = np.zeros((len(query_QD), _K), np.int64)
    for id_B, vector_BD in batches(vector_ND):
        id_B, vector_BD = id_B[::share], vector_BD[::share]  # whole batches are multiples of it
        score_QB = query_QD @ vector_BD.astype(np.float32).T
        score = np.concatenate([best, score_QB], 1)
        which = np.concatenate([ids, np.broadcast_to(id_B, score_QB.shape)], 1)
        top = np.argpartition(-score, _K, axis=1)[:, :_K]
        best, ids = np.take_along_axis(score, top, 1), np.take_along_axis(which, top, 1)
    return ids


def measure(
    index: VectorIndex, query_QD: np.ndarray, truth_QK: np.ndarray, allowed_N: np.ndarray | None = None
) -> str:
    """Milliseconds a query at three percentiles, and the share of the true K nearest that is found."""
    index.nearest(query_QD[0], _K, allowed_N)
    times, found = [], []
    for query_D, truth_K in zip(query_QD, truth_QK, strict=True):
        start = time.perf_counter()
        hits = index.nearest(query_D, _K, allowed_N)
        times.append(1000 * (time.perf_counter() - start))
        found.append(len({row for row, _ in hits} & set(truth_K.tolist())) / _K)
    half, many, most = np.percentile(times, [50, 95, 99])
    return f"p50 {half:.1f} ms, p95 {many:.1f}, p99 {most:.1f} a query, recall@{_K} {np.mean(found):.3f}"


def main() -> None:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        drawn = np.lib.format.open_memmap(folder / "drawn.npy", "w+", np.float16, (given.num, given.dim))
        for at, part_BD in enumerate(draw(given.num, given.dim)):
            drawn[at * _BATCH : at * _BATCH + len(part_BD)] = part_BD
        start = time.perf_counter()
        VectorIndex.build(folder / "index", lambda: batches(drawn), given.dim, given.num)
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in (folder / "index").iterdir())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{given.num:,} × {given.dim}: built in {seconds:.0f} s with at most {peak:.1f} GiB, {size / 1e6:.0f} MB"
        )
        start = time.perf_counter()
        index = VectorIndex.load(folder / "index")
        print(f"opened in {1000 * (time.perf_counter() - start):.0f} ms")
        query_QD = drawn[:_QUERIES].astype(np.float32)
        truth_QK = nearest_of_all(drawn, query_QD)
        print(f"all: {measure(index, query_QD, truth_QK)}")
        for share in (2, 1000):
            allowed_N = np.arange(given.num) % share == 0
            truth_QK = nearest_of_all(drawn, query_QD, share)
            print(f"one of {share} allowed: {measure(index, query_QD, truth_QK, allowed_N)}")


if __name__ == "__main__":
    main()
