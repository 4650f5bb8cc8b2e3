"""How long a finished run takes to be named anew from its stored vectors, and how much memory.

    python tests/benchmarks/relabelling.py [--vectors 1000000] [--taxa 1000] [--width 512] [--part 4096]

Writes a run folder of made-up vectors (1 GB by default; kept with --folder): bursts of three frames of 100 cameras,
some of two animals, every vector near one of the taxa; ten of the cameras take a stump for an animal at times. Then
names it in a process of its own, from Parquet to Parquet: media, detections, observations and events, without exports
and the page (see outputs.py).
"""

import argparse
import multiprocessing
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trygon.archive.run_folder.labelling import Naming, finish
from trygon.archive.run_folder.parts import Parts
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.lease import Hold
from trygon.schemas import DETECTION, MEDIA
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree

_SECOND = int(datetime(2024, 5, 31).timestamp())
_CAMERAS, _BURST, _TWO_IN = 100, 3, 10


def make_bank(num_taxa: int, width: int) -> LabelBank:
    """Taxa of ten a genus, five genera a family, four families an order."""
    taxa = []
    for number in range(num_taxa):
        genus, family, order = number // 10, number // 50, number // 200
        names = (f"Order{order}", f"Family{family}", f"Genus{genus}", f"species{number}")
        taxa.append(Taxon(("Animalia", "Chordata", "Mammalia", *names)))
    tree = TaxonTree.from_taxa(taxa)
    vector_ND = np.random.default_rng(1).standard_normal((num_taxa, width)).astype(np.float32)
    vector_ND /= np.linalg.norm(vector_ND, axis=1, keepdims=True)
    return LabelBank(tree, np.asfortranarray(vector_ND), 30.0, "made up", "made up", TextType.SCI)


def write_run(folder: Path, bank: LabelBank, num_vectors: int, part: int) -> None:
    """Parts of a run."""
    rng = np.random.default_rng(2)
    parts, media_id, detection_id = Parts(folder), 0, 1 << 40
    centre_ND = np.asarray(bank.vector_ND, np.float32)
    for number in range(-(-num_vectors // part)):
        count = min(part, num_vectors - number * part)
        # Every tenth frame has two animals.
        frame = media_id + np.arange(count) * _TWO_IN // (_TWO_IN + 1)
        burst = frame // _BURST
        taxon = (burst * 7919) % len(bank.tree)
        noise = rng.standard_normal((count, centre_ND.shape[1]), np.float32) / np.sqrt(centre_ND.shape[1])
        vector = 0.3 * centre_ND[taxon] + noise
        vector /= np.linalg.norm(vector, axis=1, keepdims=True)
        second = np.diff(frame, prepend=-1) == 0
        offsets = np.arange(count + 1, dtype=np.int32) * vector.shape[1]
        columns: dict[str, Any] = {
            "detection_id": detection_id + np.arange(count),
            "media_id": frame,
            "category": pa.array(["animal"]).take(pa.array(np.zeros(count, int))),
            "confidence": np.full(count, 0.9, np.float32),
            **boxes(burst, second, (burst * _BURST * _CAMERAS // num_vectors) % 10 == 0, rng),
            "vector": pa.ListArray.from_arrays(offsets, pa.array(vector.astype(np.float16).reshape(-1))),
        }
        _write(parts.vectors_place(number), columns, DETECTION)
        frames = np.unique(frame)
        columns = {
            "media_id": frames,
            "path": pa.array([f"camera-{it // _BURST * _CAMERAS // num_vectors:03d}/{it:08d}.jpg" for it in frames]),
            "deployment": pa.array([f"camera-{it // _BURST * _CAMERAS // num_vectors:03d}" for it in frames]),
            "timestamp": pa.array(_SECOND + frames // _BURST * 600 + frames % _BURST, pa.timestamp("s")),
        }
        _write(parts.media_place(number), columns, MEDIA)
        media_id, detection_id = int(frames[-1]) + 1, detection_id + count


def boxes(
    burst: np.ndarray, second: np.ndarray, has_stump: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Left, top, width and height: of all sizes, anywhere, and about the same through a burst. Where there is a stump,
    it is what is seen beside an animal."""
    draw = np.random.default_rng(3).random((4, int(burst.max()) + 1))[:, burst]
    width = 0.04 + 0.4 * draw[0] ** 2
    height = np.minimum(0.8, width * (0.7 + draw[1]))
    left, top = (1 - width) * draw[2], (1 - height) * draw[3]
    box_4M = np.stack([left, top, width, height]) + 0.01 * rng.standard_normal((4, len(burst)))
    box_4M[0, second] = (box_4M[0, second] + 0.5) % 0.9
    still = second & has_stump
    box_4M[:, still] = np.array([[0.7], [0.6], [0.1], [0.2]]) + 0.001 * rng.standard_normal((4, int(still.sum())))
    box_4M = np.clip(box_4M, 0.01, 0.99).astype(np.float32)
    box_4M[2:] = np.minimum(box_4M[2:], 1 - box_4M[:2])
    return dict(zip(("x", "y", "width", "height"), box_4M, strict=True))


def _write(place: str, columns: dict[str, Any], schema: pa.Schema) -> None:
    count = len(next(iter(columns.values())))
    arrays = [columns[it.name] if it.name in columns else pa.nulls(count, it.type) for it in schema]
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays, schema=schema), place, compression="zstd")


def name_alone(folder: Path, num_taxa: int, width: int, results: Any) -> None:
    """Name a run: seconds, CPU seconds, seconds until media are read, the peak of memory in MB, the summary."""
    start = time.perf_counter()
    table = Parts(folder).media()
    read = time.perf_counter()
    run = finish(folder, table, Naming(Classifier(make_bank(num_taxa, width))), {}, Hold())
    seconds = time.perf_counter() - start
    results.put((seconds, time.process_time(), read - start, peak_mb(), run.summary))


def peak_mb() -> float:
    """Of this process alone: what `getrusage` says a child has from its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--taxa", type=int, default=1000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--part", type=int, default=4096, help="vectors of one file")
    parser.add_argument("--folder", type=Path, help="keep the run folder here, and use what is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        bank = make_bank(arguments.taxa, arguments.width)
        if not Parts(folder).numbers():
            write_run(folder, bank, arguments.vectors, arguments.part)
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        process = context.Process(target=name_alone, args=(folder, arguments.taxa, arguments.width, results))
        process.start()
        seconds, cpu_seconds, read, peak, summary = results.get()
        process.join()
    print("| | |\n|---|---|")
    print(f"| {arguments.vectors:,} vectors of {arguments.width} x {arguments.taxa:,} taxa | {seconds:.1f} s |")
    print(f"| CPU seconds | {cpu_seconds:.0f} |")
    print(f"| of that, the table of {summary['num_files']:,} frames | {read:.1f} s |")
    print(f"| peak memory | {peak:.0f} MB |")
    print(f"| events; observations | {summary['num_events']:,}; {summary['num_observations']} |")


if __name__ == "__main__":
    main()
