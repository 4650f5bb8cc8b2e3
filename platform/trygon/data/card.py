"""What a folder of shards holds, told three ways: summary.json for programs, a data card, and a page with pictures."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, FileSystemLoader

from trygon.data.images import decode, encode_jpeg
from trygon.data.splits import TRAIN_SMALL, depths
from trygon.schemas import COUNT
from trygon.storage import join, write_text
from trygon.taxonomy.taxon import RANKS, Rank, Taxon

_BINOMIAL = RANKS[Rank.GENUS :]
"""What tells species apart, whatever their sources say above the genus."""
_SHOWN_PICTURES = 48
_THUMBNAIL_PIXELS = 176
_MOST_BARS = 12
_CURVE = (640, 220)
"""Width and height of the abundance curve, in its own units."""


def count_samples(samples: pa.Table) -> pa.Table:
    """Samples by split, source and taxon: COUNT."""
    keys = [name for name in COUNT.names if name != "num_samples"]
    counts = samples.group_by(keys).aggregate([([], "count_all")]).rename_columns({"count_all": "num_samples"})
    return counts.select(COUNT.names).sort_by([(name, "ascending") for name in keys]).cast(COUNT)


def summarise(samples: pa.Table, rejects: pa.Table) -> dict[str, Any]:
    """What was made and what was left out. A subset that repeats training samples is counted as a split alone."""
    once = samples.filter(pc.not_equal(samples["split"], TRAIN_SMALL))
    species_N = once.filter(pc.and_(pc.not_equal(once["genus"], ""), pc.not_equal(once["species"], "")))
    depth_N = depths(once)
    others = rejects.filter(pc.not_equal(rejects["reason"], "of_benchmark"))
    sources = dict.fromkeys([*once["source"].unique().to_pylist(), *others["source"].unique().to_pylist()])
    return {
        "samples": _tally(samples, "split"),
        "pictures": _tally(samples.group_by(["split", "source", "source_id"]).aggregate([]), "split"),
        "num_species": {
            name: _num_distinct(species_N.filter(pc.equal(species_N["split"], split)), _BINOMIAL)
            for name, split in (("seen", "train"), ("unseen", "unseen"))
        },
        "num_taxa": _num_distinct(once, RANKS),
        "sources": {source: _tally(once.filter(pc.equal(once["source"], source)), "split") for source in sources},
        "ranks": {rank: int((depth_N == level).sum()) for level, rank in enumerate(RANKS)},
        "all_seven_ranks": int(
            np.logical_and.reduce([pc.not_equal(once[rank], "").to_numpy() for rank in RANKS]).sum()
        ),
        "kingdoms": _tally(once, "kingdom"),
        "licenses": _licenses(once),
        "resolution": {name: number for name, number in _tally(once, "resolution").items() if name},
        "rejects": _tally(rejects, "reason"),
        "rejects_by_source": {
            source: _tally(rejects.filter(pc.equal(rejects["source"], source)), "reason")
            for source in pc.unique(rejects["source"]).to_pylist()
        },
    }


def _tally(table: pa.Table, column: str) -> dict[str, int]:
    """How often each value stands in a column, the commonest first."""
    counts = table[column].value_counts().to_pylist()
    return {
        row["values"] or "": row["counts"] for row in sorted(counts, key=lambda row: (-row["counts"], row["values"]))
    }


def _licenses(table: pa.Table) -> dict[str, int]:
    """As `_tally`; sources write one licence in capitals and without, and it goes by the commoner way."""
    told: dict[str, tuple[str, int]] = {}
    for name, number in _tally(table, "license").items():
        first, before = told.get(name.lower(), (name, 0))
        told[name.lower()] = first, before + number
    return dict(sorted(told.values(), key=lambda row: (-row[1], row[0])))


def _num_distinct(lineages: pa.Table, ranks: Sequence[str]) -> int:
    return lineages.group_by(list(ranks)).aggregate([]).num_rows


def write_card(
    folder: str,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    counts: pa.Table,
    shown: Sequence[Mapping[str, Any]],
) -> None:
    """Write README.md (a data card) and index.html. `shown` are samples whose pictures stand on the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: bool(name and ".html" in name),
        trim_blocks=True,
    )
    told = {
        "config": config,
        "summary": summary,
        "num_samples": sum(summary["samples"].values()),
        "num_rejects": sum(number for reason, number in summary["rejects"].items() if reason != "of_benchmark"),
        "bars": _all_bars(summary),
        "curve": _abundance(counts),
        "pictures": [_picture(sample) for sample in shown[:_SHOWN_PICTURES]],
    }
    for name, template in (("README.md", "card.md.jinja"), ("index.html", "card.html.jinja")):
        write_text(join(folder, name), environment.get_template(template).render(told))


def pick_shown(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Samples for the page: of each family one, then of each a second, and so on."""
    seen: dict[tuple[str, ...], int] = {}
    rounds = []
    for sample in samples:
        family = tuple(sample[rank] for rank in RANKS[:5])
        seen[family] = seen.get(family, 0) + 1
        rounds.append(seen[family])
    order = sorted(range(len(samples)), key=lambda index: rounds[index])
    return [samples[index] for index in order[:_SHOWN_PICTURES]]


def _all_bars(summary: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    tallies = {
        "Named down to": summary["ranks"],
        "Kingdom": summary["kingdoms"],
        "Licence": summary["licenses"],
        "Matched to the backbone": summary["resolution"],
        "Left out": summary["rejects"],
    }
    return {title: _bars(tally, keep_order=title == "Named down to") for title, tally in tallies.items() if tally}


def _bars(tally: Mapping[str, int], keep_order: bool) -> list[dict[str, Any]]:
    rows = list(tally.items()) if keep_order else sorted(tally.items(), key=lambda row: -row[1])
    rest = sum(number for _, number in rows[_MOST_BARS:])
    rows = rows[:_MOST_BARS] + ([(f"{len(rows) - _MOST_BARS} others", rest)] if rest else [])
    total, most = sum(number for _, number in rows), max(number for _, number in rows) or 1
    return [
        {"name": name or "not given", "number": number, "share": 100 * number / total, "width": 100 * number / most}
        for name, number in rows
    ]


def _abundance(counts: pa.Table) -> dict[str, Any]:
    """Samples of each species, the commonest first, both axes logarithmic: points of an SVG line."""
    once = counts.filter(pc.and_(pc.not_equal(counts["split"], TRAIN_SMALL), pc.not_equal(counts["species"], "")))
    numbers = once.group_by(list(RANKS)).aggregate([("num_samples", "sum")])["num_samples_sum"].to_numpy()
    if not numbers.size:
        return {"points": "", "species": 0, "most": 0}
    numbers = np.sort(numbers)[::-1]
    places = np.unique(np.geomspace(1, numbers.size, 200).astype(int))
    width, height = _CURVE
    x = np.log(places) / max(np.log(numbers.size), 1e-9) * width
    y = height - np.log(numbers[places - 1]) / max(np.log(numbers[0]), 1e-9) * height
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return {"points": points, "species": int(numbers.size), "most": int(numbers[0])}


def _picture(sample: Mapping[str, Any]) -> dict[str, str]:
    thumbnail = decode(sample["image"], min_side=_THUMBNAIL_PIXELS)
    thumbnail.thumbnail((2 * _THUMBNAIL_PIXELS, 2 * _THUMBNAIL_PIXELS))
    taxon = Taxon.from_row(sample)
    credit = " · ".join(filter(None, (sample["source"], sample["rights_holder"], sample["license"])))
    return {
        "data": base64.b64encode(encode_jpeg(thumbnail, 80)).decode(),
        "name": taxon.label,
        "lineage": taxon.taxonomic,
        "credit": credit,
    }
