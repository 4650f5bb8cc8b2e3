"""Splits follow from the seed and the pictures' ids alone; what is held out is nowhere else."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.data.splits import (
    SplitRule,
    assign_splits,
    depths,
    held_out,
    lineage_ids,
    may_show,
    of_clade,
    share_of,
    subset,
)
from trygon.errors import UserError
from trygon.taxonomy.taxon import RANKS, Rank

names = st.sampled_from(["", "Aus", "Bus"])
lineages = st.tuples(*[names] * 6, st.sampled_from(["", "albus", "niger"]))
lineage_lists = st.lists(lineages, min_size=1, max_size=40)


def _pictures(rows: list[tuple[str, ...]]) -> pa.Table:
    columns = {rank: [row[level] for row in rows] for level, rank in enumerate(RANKS)}
    ids = [str(index) for index in range(len(rows))]
    return pa.table({"source": ["here"] * len(rows), "source_id": ids, **columns})


def _depth(row: tuple[str, ...]) -> int:
    return max((level for level, name in enumerate(row) if name), default=-1)


def _many(number: int = 2000, species: int = 100) -> pa.Table:
    rows = [
        ("Animalia", "P", "C", "O", f"F{i % species // 10}", f"G{i % species // 5}", f"s{i % species}")
        for i in range(number)
    ]
    return _pictures(rows)


@given(lineage_lists)
def test_ids_are_equal_where_the_lineages_are(rows: list[tuple[str, ...]]) -> None:
    ids = lineage_ids(_pictures(rows))
    for a, first in enumerate(rows):
        for b, second in enumerate(rows):
            assert (ids[a] == ids[b]) == (first == second)


@given(lineage_lists)
def test_depth_is_the_deepest_name(rows: list[tuple[str, ...]]) -> None:
    assert depths(_pictures(rows)).tolist() == [_depth(row) for row in rows]


@given(lineage_lists, st.floats(0, 0.99), st.sampled_from(list(Rank)), st.integers(0, 5))
def test_held_out_clades_are_held_out_whole(rows: list[tuple[str, ...]], share: float, rank: Rank, seed: int) -> None:
    pictures = _pictures(rows)
    held = held_out(pictures, SplitRule(seed=seed, holdout=share, holdout_rank=rank))
    doubt = may_show(pictures, held)
    drawn = {_name(row, rank) for row in rows if share_of(seed, str(rank), _name(row, rank)) < share} - {""}
    assert held.tolist() == _within(rows, rank, drawn)
    names = [{_name(row, at) for row, is_held in zip(rows, held, strict=True) if is_held} - {""} for at in Rank]
    for row, is_held, is_doubtful in zip(rows, held, doubt, strict=True):
        depth = _depth(row)
        # By name, whatever stands above it: sources disagree there.
        assert is_doubtful == (not is_held and depth >= 0 and _name(row, Rank(depth)) in names[depth])
        if not is_held:
            assert not any(_name(row, at) in names[at] for at in (Rank.GENUS, Rank.SPECIES) if at >= rank)


def _within(rows: list[tuple[str, ...]], rank: Rank, names: set[str]) -> list[bool]:
    """Which rows have one of the names at the rank, or below it one of a row that is known to be within."""
    within = [_name(row, rank) in names for row in rows]
    for below in list(Rank)[rank + 1 :]:
        shared = {_name(row, below) for row, is_in in zip(rows, within, strict=True) if is_in} - {""}
        within = [is_in or _name(row, below) in shared for row, is_in in zip(rows, within, strict=True)]
    return within


def _name(row: tuple[str, ...], rank: Rank) -> str:
    if rank is Rank.SPECIES:
        return f"{row[5]} {row[6]}" if row[5] and row[6] else ""
    return row[rank]


@pytest.mark.parametrize(
    "rule", [SplitRule(clades=("Felidae",)), SplitRule(holdout=0.999, holdout_rank=Rank.FAMILY)], ids=["name", "share"]
)
def test_a_source_that_leaves_the_held_out_rank_blank_brings_nothing_of_it_to_training(rule: SplitRule) -> None:
    above = ("Animalia", "Chordata", "Mammalia", "Carnivora")
    held = [(*above, "Felidae", "Panthera", "leo")]
    held += [(*above, "", "Panthera", epithet) for epithet in ("leo", "tigris", "")]
    held += [("Metazoa", "", "", "", "", "Panthera", "leo")]
    others = [(*above, "", "Canis", "lupus"), (*above, "", "", "")]
    pictures = _pictures(held + others)
    assert held_out(pictures, rule).tolist() == [True] * len(held) + [False] * len(others)


def test_holding_out_a_species_leaves_its_genus() -> None:
    rows = [("Animalia", "", "", "", "", "Panthera", epithet) for epithet in ("leo", "tigris")]
    assert held_out(_pictures(rows), SplitRule(clades=("Panthera leo",))).tolist() == [True, False]


def test_a_picture_that_another_source_names_widely_might_show_what_is_held_out() -> None:
    """Of its names the deepest one counts: what sources say above it differs."""
    lion = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo")
    wide = [("Metazoa", "", "Mammalia", "", "", "Panthera", ""), ("", "", "", "", "Felidae", "", "")]
    others = [("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "", ""), ("",) * 7]
    pictures = _pictures([lion, *wide, *others])
    held = held_out(pictures, SplitRule(clades=("Panthera leo",)))
    assert may_show(pictures, held).tolist() == [False, True, True, False, False]


def test_sources_that_disagree_above_the_species_do_not_split_it_nor_hold_out_more() -> None:
    whole = [("Animalia", "P", "C", "O", "F", "G", f"s{i}") for i in range(400)]
    sources = [whole, *([(*row[:gap], "", *row[gap + 1 :]) for row in whole] for gap in range(5))]
    held = held_out(_pictures([row for rows in sources for row in rows]), SplitRule(holdout=0.25)).reshape(6, -1)
    assert (held == held[0]).all()
    assert 0.2 < held.mean() < 0.3


def test_a_held_out_clade_stays_so_when_others_come_and_go() -> None:
    rule, pictures = SplitRule(seed=3, holdout=0.3), _many()
    held = held_out(pictures, rule)
    some = np.arange(0, pictures.num_rows, 3)
    assert held_out(pictures.take(pa.array(some)), rule).tolist() == held[some].tolist()
    assert 0.15 < held.mean() < 0.45


def test_clades_are_held_out_by_name() -> None:
    pictures = _many()
    held = held_out(pictures, SplitRule(clades=("F3", "G0 s1")))
    assert held.sum() == pictures.num_rows // 10 + pictures.num_rows // 100
    assert of_clade(pictures, "G0 s1").sum() == pictures.num_rows // 100
    with pytest.raises(UserError, match="held-out clade Felidea"):
        held_out(pictures, SplitRule(clades=("Felidea",)))


@given(st.integers(0, 10), st.permutations(range(60)))
def test_a_pictures_split_depends_on_no_order_and_no_neighbour(seed: int, order: list[int]) -> None:
    pictures, rule = _many(60, 6), SplitRule(seed=seed, val=0.3)
    nobody = np.zeros(60, bool)
    splits = assign_splits(pictures, nobody, rule)
    assert assign_splits(pictures.take(pa.array(order)), nobody, rule).tolist() == splits[order].tolist()
    assert assign_splits(pictures.slice(0, 20), nobody[:20], rule).tolist() == splits[:20].tolist()


def test_another_interpreter_makes_the_same_splits() -> None:
    """Upstream sampled from a set, whose order changes with PYTHONHASHSEED: the seed alone did not give the splits."""
    program = (
        "import pyarrow as pa; from trygon.data.splits import *; import numpy as np;"
        "t = pa.table({'source': ['s'] * 99, 'source_id': [str(i) for i in range(99)],"
        " **{r: ['x'] * 99 for r in RANKS}});"
        "print(''.join(s[0] for s in assign_splits(t, np.zeros(99, bool), SplitRule(seed=5, val=.4))))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    assert {"t", "v"} <= set(told.pop())


def test_the_share_for_validation_is_kept() -> None:
    pictures = _many(5000)
    splits = assign_splits(pictures, np.zeros(5000, bool), SplitRule(val=0.05))
    assert 0.035 < (splits == "val").mean() < 0.065


def test_stratified_validation_takes_its_share_of_each_species() -> None:
    pictures = _pictures(
        [("K", "P", "C", "O", "F", "G", "common")] * 40
        + [("K", "P", "C", "O", "F", "G", "two")] * 2
        + [("K", "P", "C", "O", "F", "G", "one")]
        + [("K", "P", "C", "O", "F", "", "")] * 9
    )
    splits = assign_splits(pictures, np.zeros(52, bool), SplitRule(val=0.1, stratify=True))
    assert [int((part == "val").sum()) for part in (splits[:40], splits[40:42], splits[42:43], splits[43:])] == [
        4,
        1,
        0,
        0,
    ]


def test_held_out_pictures_are_neither_for_training_nor_for_validation() -> None:
    pictures, rule = _many(), SplitRule(val=0.5, holdout=0.5)
    held = held_out(pictures, rule)
    splits = assign_splits(pictures, held, rule)
    assert ((splits == "unseen") == held).all()


def test_a_subset_is_of_training_pictures_and_grows_without_changing() -> None:
    pictures = _many(500)
    splits = assign_splits(pictures, np.zeros(500, bool), SplitRule(val=0.2))
    small, large = subset(pictures, splits, 50, 0), subset(pictures, splits, 120, 0)
    assert (small.sum(), large.sum()) == (50, 120)
    assert large[small].all()
    assert (splits[large] == "train").all()
    assert subset(pictures, splits, 10_000, 0).sum() == (splits == "train").sum()


def test_a_subset_has_all_views_of_its_pictures() -> None:
    pictures = _many(100)
    views = pa.concat_tables([pictures] * 3)
    splits = np.full(300, "train")
    chosen = subset(views, splits, 20, 0)
    once = subset(pictures, splits[:100], 20, 0)
    assert chosen.reshape(3, 100).tolist() == [once.tolist()] * 3
