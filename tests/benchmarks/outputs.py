"""What the page and the exports of a run with a million observations take: seconds, memory, and bytes on the disk.

    python tests/benchmarks/outputs.py [--vectors 1000000] [--taxa 1000] [--folder FOLDER] [--outputs NAME ...]

The run is that of relabelling.py, named once. Each output is then written by a process of its own, as the jobs do it.
Only the frames that the page shows are in the archive. With --folder what was made is kept, and used when it is there.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from relabelling import make_bank, peak_mb, write_run

from trygon.archive.exports import EXPORTS, ExportOptions
from trygon.archive.inputs.listing import Archive
from trygon.archive.report.pages import MAX_ROWS, write_report
from trygon.archive.report.statistics import Statistics
from trygon.archive.report.thumbnails import blanks, choose
from trygon.archive.run_folder.labelling import Naming, finish
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.run import SUMMARY, Run
from trygon.labelling.classification import Classifier
from trygon.lease import Hold
from trygon.storage import write_json
from trygon.testing.archives import frame_jpeg

_CONFIG = {"people": "blur", "archive": "archive", "model": "m", "event_gap": 60, "confidence_floor": 0.5}


def make_run(folder: Path, num_vectors: int, num_taxa: int) -> None:
    """A finished run, and the frames of its archive that the page shows."""
    bank = make_bank(num_taxa, 512)
    write_run(folder / "run", bank, num_vectors, 4096)
    about = {"model": "made up", "num_ignored": 0, "num_removed": 0, "num_label_taxa": num_taxa, "archive": "archive"}
    run = finish(folder / "run", Parts(folder / "run").media(), Naming(Classifier(bank)), about, Hold())
    write_json(folder / "run/config.json", _CONFIG)
    chosen = choose(run, [row["key"] for row in Statistics(run).taxa[:MAX_ROWS]])
    shown = [one for bands in chosen.values() for band in bands for one in band.media_ids]
    ids = pa.table({"media_id": [*blanks(run), *shown]})
    for row in run.rows("SELECT path FROM media JOIN chosen USING (media_id)", chosen=ids):
        path = folder / "archive" / row["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(frame_jpeg(1))
    write_json(folder / "run" / SUMMARY, run.summary)


def write_page(folder: Path) -> None:
    """The page of the run."""
    write_report(Run.open(folder / "run"), Archive(str(folder / "archive")), folder / "out/page", {})


def write_export(folder: Path, name: str) -> None:
    """One export."""
    EXPORTS[name](Run.open(folder / "run"), folder / "out" / name, ExportOptions())


def _measured(told: Any, call: Callable[..., None], *given: Any) -> None:
    start, before = time.perf_counter(), peak_mb()
    call(*given)
    told.put((time.perf_counter() - start, time.process_time(), peak_mb(), peak_mb() - before))


def alone(call: Callable[..., None], *given: Any) -> tuple[float, float, float, float]:
    """Seconds, CPU seconds, the peak of a process of its own, and what that is above what it began with, in MB."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    process = context.Process(target=_measured, args=(told, call, *given))
    process.start()
    process.join()
    return told.get()


def main() -> None:
    """Make the run where there is none, and measure each output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--taxa", type=int, default=1000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--outputs", nargs="+", choices=["page", *EXPORTS], default=["page", *EXPORTS])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        if not (folder / "run" / SUMMARY).exists():
            make_run(folder, given.vectors, given.taxa)
        print("| output | seconds | CPU seconds | most memory, MB | of that since its start | files | MB |")
        print("|---|---|---|---|---|---|---|")
        for name in given.outputs:
            took = alone(write_page, folder) if name == "page" else alone(write_export, folder, name)
            figures = " | ".join(f"{value:.0f}" for value in took)
            sizes = [path.stat().st_size for path in (folder / "out" / name).rglob("*") if path.is_file()]
            print(f"| {name} | {figures} | {len(sizes)} | {sum(sizes) / 1e6:.1f} |", flush=True)


if __name__ == "__main__":
    main()
