"""The plan of a training run: the same everywhere, even for all workers, and every row group once an epoch."""

from hypothesis import given
from hypothesis import strategies as st

from trygon.training.plan import RowGroup, plan_legs

_ROWS = st.lists(st.integers(8, 64), min_size=4, max_size=12)


@given(rows=_ROWS, world_size=st.integers(1, 4), epochs=st.integers(1, 5), seed=st.integers(0, 9))
def test_every_row_group_is_visited_once_an_epoch(rows: list[int], world_size: int, epochs: int, seed: int) -> None:
    groups = [RowGroup("shard", index, number) for index, number in enumerate(rows)]
    legs = plan_legs(groups, epochs, 2, world_size, 4, seed)
    visits = [(visit.epoch, visit.row_group) for leg in legs for mine in leg.visits for visit in mine]
    assert sorted(visits) == [(epoch, group) for epoch in range(epochs) for group in groups]


@given(rows=_ROWS, world_size=st.integers(1, 4), seed=st.integers(0, 9))
def test_each_worker_has_rows_for_the_same_number_of_steps(rows: list[int], world_size: int, seed: int) -> None:
    groups = [RowGroup("shard", index, number) for index, number in enumerate(rows)]
    for leg in plan_legs(groups, 3, 1, world_size, 4, seed):
        assert all(sum(visit.row_group.num_rows for visit in mine) >= 4 * leg.num_steps for mine in leg.visits)


def test_plan_depends_on_the_seed_and_on_nothing_else() -> None:
    groups = [RowGroup("shard", index, 64) for index in range(8)]
    assert plan_legs(groups, 2, 1, 2, 8, 1) == plan_legs(groups[::-1], 2, 1, 2, 8, 1)
    assert plan_legs(groups, 2, 1, 2, 8, 1) != plan_legs(groups, 2, 1, 2, 8, 2)
