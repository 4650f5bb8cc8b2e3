"""How p99 stands to p50 where requests come by chance, in a queue that loses nothing.

    python tests/benchmarks/queueing.py

A queue in front of servers that all take the same time for a picture, and pass each on without any delay; requests
come at 70 % of what they can serve, with gaps drawn from an exponential distribution, as in `load.py` (M/D/c). A
server is what works on one picture at a time: a core, or all cores together.
"""

import heapq

import numpy as np

_LOAD, _REQUESTS = 0.7, 500_000


def sojourns(servers: int, load: float, requests: int) -> np.ndarray:
    """How long each request takes from its arrival to its answer, in times of service."""
    gaps = np.random.default_rng(0).exponential(1 / (load * servers), requests)
    free, taken = [0.0] * servers, []
    for arrival in np.cumsum(gaps).tolist():
        end = max(arrival, heapq.heappop(free)) + 1
        heapq.heappush(free, end)
        taken.append(end - arrival)
    return np.asarray(taken)


def main() -> None:
    """Print a Markdown table."""
    print("| servers | p50, times of service | p99 | p99 as a multiple |\n|---|---|---|---|")
    for servers in (1, 2, 4, 8):
        p50, p99 = np.percentile(sojourns(servers, _LOAD, _REQUESTS), (50, 99))
        print(f"| {servers} | {p50:.2f} | {p99:.2f} | {p99 / p50:.1f} |")


if __name__ == "__main__":
    main()
