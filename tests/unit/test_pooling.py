"""What events held: animals over the frames of a burst, their pooled names, and how many there were."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trygon.archive.naming.counts import count_rows
from trygon.archive.naming.pooling import meant
from trygon.archive.run_folder.labelling import Naming
from trygon.archive.run_folder.run import Run
from trygon.labelling.classification import Classifier
from trygon.labelling.decisions import ANIMAL, HUMAN, TYPES, UNKNOWN
from trygon.schemas import EVENT, OBSERVATION
from trygon.taxonomy.taxon import RANKS, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.bursts import BANK, PLACE, box, write_burst


def _held(run: Run) -> list[list[tuple[str, str | None, int | None]]]:
    return [[(it["type"], it["scientific"], it["count"]) for it in event] for event in run.events["taxa"].to_pylist()]


def test_name_is_that_of_all_frames_together(tmp_path: Path) -> None:
    """Two frames that see a lion outweigh one that takes it for a jaguar: by their scores, not by votes."""
    frames = [[box(lion=0.8)], [box(jaguar=0.5)], [box(lion=0.8)]]
    run = write_burst(tmp_path, *frames)
    assert run.observations["scientific"].to_pylist() == ["Panthera leo", "Panthera onca", "Panthera leo"]
    assert _held(run) == [[("animal", "Panthera leo", 1)]]
    mean = np.mean([frame[0]["vector"].astype(np.float32) for frame in frames], axis=0)
    expected = Classifier(BANK).classify(mean[None])[0].probability
    assert run.events["taxa"][0].as_py()[0]["probability"] == pytest.approx(expected, abs=1e-3)


def test_pooling_is_the_mean_of_log_probabilities(tmp_path: Path) -> None:
    frames = [[box(lion=0.6, wolf=0.1)], [box(lion=0.5, jaguar=0.4)]]
    run = write_burst(tmp_path, *frames)
    vectors = np.stack([frame[0]["vector"] for frame in frames]).astype(np.float32)
    pooled = np.exp(np.log(Classifier(BANK).probabilities(vectors)).mean(0))
    (taxon,) = run.events["taxa"][0].as_py()
    assert taxon["rank"] == "species"
    assert taxon["probability"] == pytest.approx(pooled[PLACE["lion"]] / pooled.sum(), abs=1e-3)


def test_animals_of_one_frame_are_counted_apart_and_over_frames_once(tmp_path: Path) -> None:
    lions = [box(0.1, lion=0.9), box(0.5, lion=0.9)]
    assert _held(write_burst(tmp_path, lions, lions, lions[:1])) == [[("animal", "Panthera leo", 2)]]


def test_names_that_contradict_are_two_animals(tmp_path: Path) -> None:
    run = write_burst(tmp_path, [box(0.1, lion=0.9)], [box(0.6, wolf=0.8)])
    assert sorted(_held(run)[0]) == [("animal", "Canis lupus", 1), ("animal", "Panthera leo", 1)]
    both = write_burst(tmp_path / "both", *[[box(0.1, lion=0.9), box(0.6, wolf=0.8)]] * 3)
    assert sorted(_held(both)[0]) == [("animal", "Canis lupus", 1), ("animal", "Panthera leo", 1)]


def test_animal_that_comes_later_and_is_seen_once_keeps_its_own_name(tmp_path: Path) -> None:
    run = write_burst(tmp_path, [box(0.1, lion=0.9)], [box(0.1, lion=0.9)], [box(0.6, wolf=0.8)])
    assert sorted(_held(run)[0]) == [("animal", "Canis lupus", 1), ("animal", "Panthera leo", 1)]


def test_what_stays_where_it_is_is_one_animal_whatever_its_names(tmp_path: Path) -> None:
    run = write_burst(tmp_path, [box(lion=0.9), box(0.7, lion=0.9)], [box(wolf=0.4)], [box(lion=0.9)])
    assert _held(run) == [[("animal", "Panthera leo", 2)]]


def test_ancestor_is_taken_for_what_the_event_names_below_it(tmp_path: Path) -> None:
    run = write_burst(tmp_path, [box(0.1, lion=0.9), box(0.6, lion=0.3, jaguar=0.305)])
    assert sorted(name or "" for name in run.observations["scientific"].to_pylist()) == ["Panthera", "Panthera leo"]
    assert _held(run) == [[("animal", "Panthera leo", 2)]]


def test_people_are_counted_beside_animals(tmp_path: Path) -> None:
    people = [box(0.1, "person", lion=0.9), box(0.5, "person", wolf=0.9)]
    run = write_burst(tmp_path, people, [box(0.1, human=0.9)], [box(0.1, lion=0.9)])
    assert _held(run) == [[("animal", "Panthera leo", 1), ("human", None, 2)]]
    kinds = zip(run.observations["type"].to_pylist(), run.observations["decided_by"].to_pylist(), strict=True)
    expected = [("human", "detector")] * 2 + [("human", "classifier"), ("animal", "classifier")]
    assert list(kinds) == expected


def test_frames_without_boxes_are_blank_and_so_is_an_event_of_them(tmp_path: Path) -> None:
    run = write_burst(tmp_path, [], [box(lion=0.9)], gap=600)
    assert _held(run) == [[("blank", None, None)], [("animal", "Panthera leo", 1)]]
    assert run.observations["type"].to_pylist() == ["animal", "blank"]
    counted = run.rows("SELECT number, count FROM event_taxa ORDER BY start")
    assert [(row["number"], row["count"]) for row in counted] == [(0, None), (0, 1)]


def test_tables_have_the_stored_types(tmp_path: Path) -> None:
    run = write_burst(tmp_path, [box(lion=0.9)], [])
    assert run.predictions.schema.equals(OBSERVATION)
    assert run.events.schema.names == EVENT.names
    row = run.predictions.to_pylist()[0]
    assert (row["common"], row["genus"], row["species"]) == ("lion", "Panthera", "leo")
    assert len(row["rank_probabilities"]) == 7
    assert row["top_scientific"][0] == "Panthera leo"
    assert sum(row["top_probability"]) == pytest.approx(1, abs=1e-3)


def test_box_that_repeats_is_set_aside_and_its_frames_are_blank(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [[box(0.4 + 0.002 * rng.standard_normal(), lion=0.6)] for _ in range(30)]
    frames[7].append(box(0.1, wolf=0.9))
    run = write_burst(tmp_path, *frames, gap=100, naming=Naming(Classifier(BANK), repeats=20))
    assert run.observations["type"].to_pylist().count("blank") == 29
    assert set(run.predictions["set_aside"].to_pylist()) == {None, "repeated"}
    assert run.summary["num_set_aside"] == {"repeated": 30}
    assert [held for held in _held(run) if held[0][0] != "blank"] == [[("animal", "Canis lupus", 1)]]
    (place,) = (tmp_path / "repeats.csv").read_text().splitlines()[1:]
    assert place.startswith('"a",30,30,0.3998,0.2,0.2,0.2,')
    assert "0000.jpg" in place
    kept = write_burst(tmp_path / "kept", *frames, gap=100, naming=Naming(Classifier(BANK), repeats=0))
    assert kept.predictions["set_aside"].null_count == 31
    # Where animals pass all the time, some boxes are alike by chance.
    passing = [[box(left, lion=0.6)] for left in 0.3 + 0.2 * rng.random(300)]
    trail = write_burst(
        tmp_path / "trail", *passing, gap=100, part_size=100, naming=Naming(Classifier(BANK), repeats=20)
    )
    assert trail.predictions["set_aside"].null_count == 300
    # An animal that rests through a burst is none.
    resting = write_burst(tmp_path / "resting", *frames, gap=1, naming=Naming(Classifier(BANK), repeats=20))
    assert resting.predictions["set_aside"].null_count == 31


_some_boxes = st.lists(
    st.tuples(st.floats(0, 0.7), st.sampled_from(["animal", "person"]), st.sampled_from(sorted(PLACE))), max_size=3
)


@settings(max_examples=15)
@given(st.lists(_some_boxes, min_size=1, max_size=6), st.sampled_from([1, 100]), st.integers(1, 3))
def test_every_box_is_counted_in_its_event(
    tmp_path_factory: pytest.TempPathFactory, frames: list[Any], gap: int, part_size: int
) -> None:
    boxes = [[box(left, category, **{name: 0.7}) for left, category, name in frame] for frame in frames]
    run = write_burst(tmp_path_factory.mktemp("run"), *boxes, gap=gap, part_size=part_size)
    assert run.observations.num_rows == sum(max(1, len(frame)) for frame in frames)
    most = [max(map(len, frames))] if gap == 1 else [len(frame) for frame in frames]
    for held, largest in zip(_held(run), most, strict=True):
        counts = [count for _, _, count in held]
        assert counts == [None] if not largest else largest <= sum(count or 0 for count in counts)
        assert len(set(held)) == len(held)


_paths = st.tuples(*[st.integers(0, 1)] * 3).map(lambda it: (it[0], 2 * it[0] + it[1], 4 * it[0] + 2 * it[1] + it[2]))
_taxa = st.tuples(st.sampled_from([ANIMAL, HUMAN]), st.integers(-1, 2), _paths, st.integers(0, 3))


@given(st.lists(st.lists(_taxa, min_size=1, max_size=5), min_size=1, max_size=4))
def test_ancestors_stand_for_the_surest_of_the_deepest_below_them(events: list[list[Any]]) -> None:
    groups = [sorted(rows, key=lambda row: row[0]) for rows in events]
    rows = [(event, *row) for event, group in enumerate(groups) for row in group]
    key_K4 = np.asarray([(event, kind, rank, 0) for event, kind, rank, _, _ in rows])
    path_KR = np.asarray([path for *_, path, _ in rows])
    probability_K = np.asarray([share / 3 if rank >= 0 else np.nan for _, _, rank, _, share in rows])

    expected = []
    for upper in range(len(rows)):
        inside = [lower for lower in range(len(rows)) if _within(rows, upper, lower)]
        ends = [it for it in inside if not any(_within(rows, it, other) for other in inside)]
        expected.append(max(ends, key=lambda it: (np.nan_to_num(probability_K[it]), -it), default=upper))
    assert meant(key_K4, path_KR, probability_K).tolist() == expected


def _within(rows: list[Any], upper: int, lower: int) -> bool:
    """Whether a name is one of those below another in its event."""
    (event, kind, rank, path, _), (other, its_kind, its_rank, its_path, _) = rows[upper], rows[lower]
    if (event, kind, ANIMAL) != (other, its_kind, kind) or its_rank <= rank:
        return False
    return rank < 0 or path[rank] == its_path[rank]


_MAMMAL = ("Animalia", "Chordata", "Mammalia")
TREE = TaxonTree.from_taxa(
    [
        Taxon((*_MAMMAL, "Carnivora", "Felidae", "Panthera", "leo")),
        Taxon((*_MAMMAL, "Carnivora", "Felidae", "Panthera", "onca")),
        Taxon((*_MAMMAL, "Carnivora", "Canidae", "Canis", "lupus")),
        Taxon((*_MAMMAL, "", "", "Morus", "incertus")),
        Taxon(("Animalia", "Chordata", "Aves", "Suliformes", "Sulidae", "Morus", "bassanus")),
        Taxon(("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Moraceae", "Morus", "alba")),
    ]
)
NAMELESS = (-1, 0)
NAMES = [NAMELESS, *((rank, clade) for rank in Rank for clade in np.flatnonzero(TREE.clade_named[rank]).tolist())]


@given(st.sets(st.tuples(st.sampled_from([ANIMAL, UNKNOWN, HUMAN]), st.sampled_from(NAMES)), min_size=1), st.randoms())
def test_an_ancestor_stands_for_the_same_descendant_before_and_after_a_review(
    seen: set[tuple[int, tuple[int, int]]], random: Random
) -> None:
    """Predictions are counted as columns, and what people said something of as rows: both by one rule."""
    names = sorted({(kind, *(NAMELESS if kind == HUMAN else name)) for kind, name in seen})
    sure = [number / 1000 for number in random.sample(range(1, 1000), len(names))]
    rows, paths = [], []
    for number, ((kind, rank, clade), probability) in enumerate(zip(names, sure, strict=True)):
        start = int(TREE.clade_starts[max(rank, 0)][clade])
        lineage = TREE.taxon(start).at(Rank(rank)).lineage if rank >= 0 else ("",) * len(RANKS)
        about = {"observation_id": number, "media_id": number, "frame_number": None, "event_count": None}
        about |= {"type": TYPES[kind], "reviewed_by": None, "probability": probability if rank >= 0 else None}
        rows.append(about | dict(zip(RANKS, lineage, strict=True)))
        paths.append(TREE.clade_ids[:, start])
    stands_for = {one: row["observation_id"] for row in count_rows(rows) for one in row["observation_ids"]}
    key_K4 = np.asarray([(0, *name) for name in names])
    probability_K = np.asarray([row["probability"] or np.nan for row in rows], np.float32)
    assert meant(key_K4, np.stack(paths), probability_K).tolist() == [stands_for[at] for at in range(len(names))]
