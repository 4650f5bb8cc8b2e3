"""What becomes of each picture: nothing is lost, nothing doubled, and the benchmark's species are gone."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from trygon.data.parts import RENDER
from trygon.data.selection import SelectionRule, binomials, join_records, select, shows_species
from trygon.data.splits import SplitRule
from trygon.schemas import REJECT
from trygon.taxonomy.taxon import RANKS

LION = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo")
LION_OF_OLD_BOOKS = ("Metazoa", "", "Mammalia", "", "", "Panthera", "leo")
TIGER = (*LION[:6], "tigris")
CAT = (*LION[:5], "", "")

RULE = SelectionRule(10, SplitRule(val=0))


def _renders(source: str, *rows: dict[str, Any]) -> pa.Table:
    """Renders with fingerprints that differ in all bits unless `mark` is the same."""
    columns: dict[str, list[Any]] = {name: [] for name in RENDER.names}
    for number, row in enumerate(rows):
        mark = row.get("mark", f"{source}{number}")
        bits = np.random.default_rng(list(mark.encode())).integers(0, 256, 32, np.uint8)
        bits[0] ^= row.get("flip", 0)
        values = {
            "source_id": row["id"], "view": 0, "sample_id": number, "offset": 0, "bytes": 1,
            "digest": row.get("digest", mark).encode().ljust(16)[:16],
            "fingerprint": None if row.get("flat") else bits.tobytes(), "reason": row.get("reason", ""),
        }  # fmt: skip
        for name, value in values.items():
            columns[name].append(value)
    table = pa.table(columns, schema=RENDER)
    return table.append_column("source", pa.array([source] * len(rows), pa.string()))


def _records(*rows: tuple[str, tuple[str, ...]]) -> pa.Table:
    columns = {rank: [lineage[level] for _, lineage in rows] for level, rank in enumerate(RANKS)}
    rest = {name: [""] * len(rows) for name in ("common", "license", "rights_holder", "resolution")}
    strings = {"source_id": [identity for identity, _ in rows], **columns, **rest}
    return pa.table({name: pa.array(values, pa.string()) for name, values in strings.items()})


def _reasons(rejects: pa.Table) -> dict[str, str]:
    assert rejects.schema == REJECT
    return dict(zip(rejects["source_id"].to_pylist(), rejects["reason"].to_pylist(), strict=True))


def test_pictures_and_records_that_do_not_meet_have_a_reason() -> None:
    renders = _renders("a", {"id": "1"}, {"id": "2"}, {"id": "3"}, {"id": "4", "reason": "truncated"})
    joined, missing = join_records(renders, _records(("1", LION), ("3", ("",) * 7), ("5", TIGER)), "a", False)
    assert dict(zip(joined["source_id"].to_pylist(), joined["reason"].to_pylist(), strict=True)) == {
        "1": "", "2": "unlabelled", "3": "no_name", "4": "truncated",
    }  # fmt: skip
    assert _reasons(missing) == {"5": "missing"}
    found = select(joined, set(), RULE)
    assert found.pictures["source_id"].to_pylist() == ["1"]
    assert _reasons(found.rejects) == {"2": "unlabelled", "3": "no_name", "4": "truncated"}


def test_copies_across_sources_keep_the_deepest_name_then_the_first_source() -> None:
    first = _renders("first", {"id": "near", "mark": "x"}, {"id": "same", "mark": "y"}, {"id": "own"})
    second = _renders("second", {"id": "near", "mark": "x", "flip": 7, "digest": "z"}, {"id": "same", "mark": "y"})
    pictures = pa.concat_tables([
        join_records(first, _records(("near", CAT), ("same", LION), ("own", LION)), "first", False)[0],
        join_records(second, _records(("near", LION), ("same", LION)), "second", False)[0],
    ])  # fmt: skip
    found = select(pictures, set(), RULE)
    kept = set(zip(found.pictures["source"].to_pylist(), found.pictures["source_id"].to_pylist(), strict=True))
    assert kept == {("second", "near"), ("first", "same"), ("first", "own")}
    told = {(row["source"], row["source_id"]): (row["reason"], row["copy_of"]) for row in found.rejects.to_pylist()}
    assert told == {
        ("first", "near"): ("near_duplicate", "second:near"),
        ("second", "same"): ("duplicate", "first:same"),
    }
    exact_only = select(pictures, set(), SelectionRule(-1, SplitRule(val=0)))
    assert exact_only.pictures.num_rows == 4


def test_a_file_name_that_an_archive_holds_twice_gives_one_sample() -> None:
    joined, _ = join_records(_renders("a", {"id": "1"}, {"id": "1"}), _records(("1", LION)), "a", False)
    found = select(joined, set(), RULE)
    assert found.pictures.num_rows == 1
    assert _reasons(found.rejects) == {"1": "repeated_id"}


def test_flat_pictures_are_copies_only_where_they_are_equal() -> None:
    renders = _renders("a", *({"id": str(i), "mark": "wall", "digest": str(i // 2), "flat": True} for i in range(4)))
    joined, _ = join_records(renders, _records(*((str(i), LION) for i in range(4))), "a", False)
    found = select(joined, set(), RULE)
    assert found.pictures["source_id"].to_pylist() == ["0", "2"]


def test_the_benchmark_is_kept_out_by_species_and_by_picture() -> None:
    """Upstream compared `Cyclonaias tuberculata` with `Animalia-Mollusca-…-tuberculata` and excluded nothing."""
    benchmark = _renders("rarespecies", {"id": "r1", "mark": "photo"})
    records = _records(("r1", LION))
    source = _renders(
        "eol",
        {"id": "other_lion"},
        {"id": "old_lion"},
        {"id": "copy", "mark": "photo", "flip": 3, "digest": "z"},
        {"id": "tiger"},
    )
    labels = _records(("other_lion", LION), ("old_lion", LION_OF_OLD_BOOKS), ("copy", TIGER), ("tiger", TIGER))
    pictures = pa.concat_tables(
        [join_records(benchmark, records, "rarespecies", True)[0], join_records(source, labels, "eol", False)[0]]
    )
    species = binomials(records)
    assert species == {("Panthera", "leo")}
    found = select(pictures, species, RULE)
    assert found.pictures["source_id"].to_pylist() == ["tiger"]
    assert not shows_species(found.pictures, species).any()
    assert _reasons(found.rejects) == {
        "r1": "of_benchmark", "copy": "near_duplicate", "other_lion": "benchmark_species",
        "old_lion": "benchmark_species",
    }  # fmt: skip


def test_the_benchmarks_pictures_stand_guard_whatever_they_are_called() -> None:
    benchmark = _renders("bench", {"id": "b1", "mark": "x"}, {"id": "b2", "mark": "x", "flip": 1, "digest": "b2"})
    guard = join_records(benchmark, _records(("b2", ("",) * 7)), "bench", True)[
        0
    ]  # one without record, one without name
    source = _renders("a", {"id": "near_b2", "mark": "x", "flip": 1, "digest": "n"}, {"id": "wrong", "mark": "y"})
    other = _renders("b", {"id": "lion", "mark": "y"})
    labels = _records(("near_b2", TIGER), ("wrong", TIGER))
    pictures = pa.concat_tables(
        [
            guard,
            join_records(source, labels, "a", False)[0],
            join_records(other, _records(("lion", LION)), "b", False)[0],
        ]
    )
    found = select(pictures, {("Panthera", "leo")}, RULE)
    assert found.pictures.num_rows == 0
    assert _reasons(found.rejects) == {
        "b1": "of_benchmark", "b2": "of_benchmark", "near_b2": "near_duplicate", "wrong": "duplicate",
        "lion": "benchmark_species",
    }  # fmt: skip


def test_a_picture_that_might_show_a_held_out_clade_is_in_no_split() -> None:
    renders = _renders("a", {"id": "lion"}, {"id": "cat"})
    joined, _ = join_records(renders, _records(("lion", LION), ("cat", CAT)), "a", False)
    found = select(joined, set(), SelectionRule(10, SplitRule(val=0, clades=("Panthera leo",))))
    assert found.split.tolist() == ["unseen"]
    assert _reasons(found.rejects) == {"cat": "may_show_held_out_clade"}


picture_rows = st.fixed_dictionaries(
    {
        "mark": st.sampled_from("abcdefgh"),
        "flip": st.integers(0, 3),
        "flat": st.booleans(),
        "reason": st.sampled_from(["", "", "", "truncated"]),
        "lineage": st.sampled_from([LION, TIGER, CAT, ("",) * 7, None]),
        "source": st.sampled_from(["a", "b", "bench"]),
    }
)


@given(st.lists(picture_rows, min_size=1, max_size=30), st.integers(-1, 12), st.sampled_from([0.0, 0.5]))
def test_every_picture_is_kept_once_or_has_one_reason(
    rows: list[dict[str, Any]], copy_bits: int, holdout: float
) -> None:
    tables: list[pa.Table] = []
    expected: list[str] = []
    for source in ("bench", "a", "b"):
        own: list[dict[str, Any]] = [
            row | {"id": f"{source}{i}"} for i, row in enumerate(rows) if row["source"] == source
        ]
        records = _records(*((row["id"], row["lineage"]) for row in own if row["lineage"]))
        tables.append(join_records(_renders(source, *own), records, source, source == "bench")[0])
        expected += [row["id"] for row in own]
    found = select(
        pa.concat_tables(tables), {("Panthera", "leo")}, SelectionRule(copy_bits, SplitRule(holdout=holdout))
    )
    told = found.pictures["source_id"].to_pylist() + found.rejects["source_id"].to_pylist()
    assert sorted(told) == sorted(expected)
    assert not shows_species(found.pictures, {("Panthera", "leo")}).any()
    assert "bench" not in found.pictures["source"].to_pylist()
    assert len(found.split) == found.pictures.num_rows
