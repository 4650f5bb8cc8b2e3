"""A season of 20,000 frames, labelled from object storage to object storage, and killed three times on its way.

    python tests/benchmarks/season.py OUT [--frames 20000] [--detector FOLDER] [--model FOLDER]

Animals cut out of the sample photos walk through the sample landscapes, in bursts and with blanks between, as
`trygon sample --archive` composes them: some 2,400 different frames, of which copies with other times and cameras make
the season. One file in a hundred is broken. They lie on an S3 endpoint on loopback (2 GB of memory). `trygon label` is
killed with SIGKILL at a quarter, half and three quarters of the way: the command and all that it had started, then one
worker with its networks, then the raylet; where the command ends, it is given again. In the end every file must be
there once, the broken ones with their reasons, and the exports pass their validators. Without --detector one of a
few operations finds what is bright, and without --model one of random weights names it: with the real ones a frame
takes longer, and nothing else differs. `trygon sample` comes first.
"""

import argparse
import logging
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import count, islice
from pathlib import Path

from PIL import Image

from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.tables import read_table
from trygon.cache import sample_folder
from trygon.data.frames import write_archive
from trygon.storage import join, list_files, read_bytes, read_json, write_bytes
from trygon.testing.commands import command
from trygon.testing.detectors import write_tiny_detector
from trygon.testing.packages import validate, violations
from trygon.testing.processes import family, kill_family
from trygon.testing.s3 import s3_server, using
from trygon.testing.tiny import write_tiny_model

_ROOT = "s3://season"
_LOOK_S, _MORE = 4, 8
_DISTINCT, _SIZE = 2400, (640, 480)
_BROKEN = {
    "truncated": lambda frame: frame[: len(frame) // 2],
    "empty": lambda _: b"",
    "not_an_image": lambda _: b"battery changed, card 2 of 2\n",
}


def distinct_frames(pool: Path) -> list[tuple[str, bytes]]:
    """Camera and JPEG of the frames that are different."""
    frames: list[tuple[str, bytes]] = []
    for seed in count():
        if len(frames) >= _DISTINCT:
            return frames[:_DISTINCT]
        made = pool / str(seed)
        if write_archive(sample_folder(), made, seed):
            for path in made.rglob("IMG_0*.JPG"):
                with Image.open(path) as frame:
                    frame.resize(_SIZE, reducing_gap=2.0).save(path, quality=88, exif=frame.getexif())
        paths = sorted(path for path in made.rglob("IMG_0*.JPG") if "orinoquia" not in path.parts)
        frames += [(path.relative_to(made).parts[0], path.read_bytes()) for path in paths]
    return frames


def season(frames: list[tuple[str, bytes]], num: int) -> Iterator[tuple[str, bytes, str | None]]:
    """Path, content, and what is wrong with it: each round through the frames is a month later, of other cameras."""
    reasons = list(_BROKEN)
    for number in range(num):
        round_, at = divmod(number, len(frames))
        camera, data = frames[at]
        with_time = _moved(data, timedelta(days=30 * round_))
        reason = reasons[number // 100 % len(reasons)] if number % 100 == 50 else None
        path = f"{camera}-{round_:02d}/100EK113/IMG_{at:05d}.JPG"
        yield path, _BROKEN[reason](with_time) if reason else with_time, reason


def _moved(data: bytes, by: timedelta) -> bytes:
    """The same JPEG, its EXIF times later."""
    start = data.index(b"2025:")
    known = data[start : start + 19]
    later = datetime.strptime(known.decode(), "%Y:%m:%d %H:%M:%S") + by
    return data.replace(known, later.strftime("%Y:%m:%d %H:%M:%S").encode())


def upload(frames: Iterator[tuple[str, bytes, str | None]]) -> dict[str, str | None]:
    """Paths of the archive on S3, and why each is broken."""
    known: dict[str, str | None] = {}
    with ThreadPoolExecutor(4) as pool:
        while some := list(islice(frames, 256)):  # no more than these lie in memory here
            list(pool.map(lambda it: write_bytes(join(_ROOT, "archive", it[0]), it[1]), some))
            known |= {path: reason for path, _, reason in some}
    return known


def kill_named(process: "subprocess.Popen[bytes]", name: str) -> None:
    """SIGKILL the first process below a program whose command has this in it."""
    found = [it for it in family(process.pid) if name in " ".join(it.cmdline())]
    assert found, f"there is no {name}"
    found[0].kill()


_KILLS: dict[str, Callable[["subprocess.Popen[bytes]"], None]] = {
    "the command and all that it had started": kill_family,
    "a worker": lambda process: kill_named(process, "_FinderActor"),
    "the raylet": lambda process: kill_named(process, "raylet/raylet"),
}


def label(words: list[str], out: str, num: int, part_size: int) -> None:
    """Run to the end, killed on the way."""
    parts, process, start = Parts(out), subprocess.Popen(words), time.monotonic()
    for turn, (what, kill) in enumerate(_KILLS.items(), 1):
        wanted = num // part_size * turn // (len(_KILLS) + 1)
        while (done := len(parts.numbers())) < wanted:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(_LOOK_S)  # the server looks through all that it has
        kill(process)
        killed = time.monotonic()
        print(f"after {done} parts, {killed - start:.0f} s: killed {what}", flush=True)
        while process.poll() is None and len(parts.numbers()) <= done + _MORE:
            assert time.monotonic() < killed + 600, "the run hangs"
            time.sleep(_LOOK_S)
        if process.poll() is None:
            print(f"it went on; {_MORE} parts more after {time.monotonic() - killed:.0f} s", flush=True)
        else:
            print("it ended, and is given again", flush=True)
            process = subprocess.Popen(words)
    assert process.wait() == 0, "the last command ends well"
    print(f"all of it: {time.monotonic() - start:.0f} s", flush=True)


def check(run: Run, known: dict[str, str | None], scratch: Path) -> None:
    """Every file once, with its reason; no part holds more; the exports are what they are to be."""
    assert Counter(run.media["path"].to_pylist()) == Counter(known.keys()), "every file is there once"
    parts = Parts(run.folder)
    committed = sum(read_table(parts.media_place(number), columns=["path"]).num_rows for number in parts.numbers())
    assert committed == len(known), "no part holds what another one holds"
    boxes = [one for table in parts.detections(["detection_id"]) for one in table["detection_id"].to_pylist()]
    assert len(set(boxes)) == len(boxes), "every box is there once"
    failures = {row["path"]: row["failure"] for row in run.media.to_pylist() if row["failure"]}
    assert failures == {path: reason for path, reason in known.items() if reason}, "the broken files, and no other"
    package = scratch / "camtrap-dp"
    package.mkdir(parents=True)
    for place in list_files(join(run.folder, "export", "camtrap-dp")):
        write_bytes(package / place.split("/export/camtrap-dp/")[1], read_bytes(place))
    assert not (wrong := violations(read_json(package / "datapackage.json"))), wrong[:5]
    report = validate(package)
    assert report.valid, report.flatten(["message"])[:5]
    rows = ", ".join(f"{task.stats.get('rows', 0):,} {task.name}" for task in report.tasks)
    print(f"Camtrap DP is valid: {rows}", flush=True)


def main() -> None:
    """Make the season, label it, check it, and print what was done again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--part-size", type=int, default=64)
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    model = options.model or write_tiny_model(out / "model")
    detector = options.detector or write_tiny_detector(out / "detector")
    # As long as they are this model's, they stand.
    subprocess.run(command("build-labels", "--model", model, "--out", out / "labels", "--limit", 1000), check=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with s3_server("season") as server, using(server):
        known = upload(season(distinct_frames(out / "pool"), options.frames))
        print(f"{len(known):,} files, {sum(map(bool, known.values()))} of them broken", flush=True)
        place = join(_ROOT, "run")
        words = ["label", join(_ROOT, "archive"), "--model", model, "--labels", out / "labels", "--out", place]
        words += ["--detector", detector, "--part-size", options.part_size]
        label(command(*words), place, options.frames, options.part_size)
        run = Run.open(place)
        shutil.rmtree(out / "checked", ignore_errors=True)
        check(run, known, out / "checked")
        validate_megadetector(place, out / "checked")
        summary = run.summary
        print(
            f"{summary['num_observations'].get('animal', 0):,} animals in {summary['num_events']:,} events; "
            f"{summary['num_sessions']} sessions; {summary['num_redone']} images done twice "
            f"({100 * summary['num_redone'] / options.frames:.2f} %); {summary.get('images_per_s', 0):.1f} images/s"
        )


def validate_megadetector(run: str, scratch: Path) -> None:
    """MegaDetector's own validator on the run's export."""
    from megadetector.postprocessing.validate_batch_results import validate_batch_results

    subprocess.run(command("export", run, "--out", scratch / "md", "--format", "megadetector"), check=True)
    found = validate_batch_results(str(scratch / "md" / "megadetector.json"))["validation_results"]
    assert (found["errors"], found["warnings"]) == ([], []), found
    print("MegaDetector's validator passes", flush=True)


if __name__ == "__main__":
    main()
