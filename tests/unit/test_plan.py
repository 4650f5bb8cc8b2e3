"""The plan of a training run: the same everywhere, even for all workers, and every sample once an epoch."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from trygon.data.plan import Plan, RowGroup, shares

_ROWS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def _plan(rows: list[int], epochs: int = 3, steps_per_leg: int = 2, batch_size: int = 12, seed: int = 0) -> Plan:
    groups = [RowGroup("shard", index, number) for index, number in enumerate(rows)]
    return Plan.of(groups, epochs, steps_per_leg, batch_size, seed)


def _samples(plan: Plan, leg: int, rank: int, world_size: int) -> list[tuple[int, int, int]]:
    """(epoch, row group, row) of what a worker reads in a leg."""
    visits = plan.visits(plan.leg(leg), rank, world_size)
    return [(it.epoch, it.row_group.index, row) for it in visits for row in range(it.first, it.last)]


@given(rows=_ROWS, epochs=st.integers(1, 5), steps_per_leg=st.integers(1, 4), worlds=st.data(), seed=st.integers(0, 9))
def test_every_sample_comes_once_an_epoch_however_many_workers_there_are(
    rows: list[int], epochs: int, steps_per_leg: int, worlds: st.DataObject, seed: int
) -> None:
    """The number of workers may change at any leg."""
    plan = _plan(rows, epochs, steps_per_leg, seed=seed)
    read: Counter[tuple[int, int, int]] = Counter()
    for leg in range(plan.num_legs):
        world_size = worlds.draw(st.integers(1, 12))
        for rank, share in enumerate(shares(12, world_size)):
            mine = _samples(plan, leg, rank, world_size)
            assert len(mine) == plan.leg(leg).num_steps * share
            read.update(mine)
    assert set(read.values()) <= {1}
    left = plan.num_rows * epochs - read.total()
    assert 0 <= left < 12
    # Whole epochs are whole; only the end of the last one may be left out.
    expected = {(epoch, index, row) for epoch in range(epochs) for index, n in enumerate(rows) for row in range(n)}
    assert all(epoch == epochs - 1 or plan.num_rows < 12 for epoch, _, _ in expected - set(read))


@given(rows=_ROWS, seed=st.integers(0, 9), world_size=st.integers(1, 12))
def test_a_leg_holds_the_same_samples_for_any_number_of_workers(rows: list[int], seed: int, world_size: int) -> None:
    plan = _plan(rows, seed=seed)
    for leg in range(plan.num_legs):
        alone = _samples(plan, leg, 0, 1)
        assert [it for rank in range(world_size) for it in _samples(plan, leg, rank, world_size)] == alone


@given(total=st.integers(1, 100_000), world_size=st.integers(1, 300))
def test_shares_are_all_of_it_and_as_even_as_they_can_be(total: int, world_size: int) -> None:
    of_each = shares(total, world_size)
    assert sum(of_each) == total
    assert of_each == sorted(of_each, reverse=True)
    assert of_each[0] - of_each[-1] <= 1


def test_plan_depends_on_the_seed_and_on_nothing_else() -> None:
    groups = [RowGroup("shard", index, 64) for index in range(8)]

    def visits(row_groups: list[RowGroup], seed: int) -> list[object]:
        plan = Plan.of(row_groups, 2, 100, 8, seed)
        return list(plan.visits(plan.leg(0), 1, 2))

    assert visits(groups, 1) == visits(groups[::-1], 1)
    assert visits(groups, 1) != visits(groups, 2)


def test_epochs_differ_in_order() -> None:
    plan = _plan([12] * 20, epochs=2, steps_per_leg=20)
    first, second = ([group for _, group, _ in _samples(plan, leg, 0, 1)] for leg in (0, 1))
    assert sorted(first) == sorted(second)
    assert first != second


def test_a_plan_of_a_month_is_made_at_once() -> None:
    """TreeOfLife-10M over 100 epochs, somewhere in the middle."""
    groups = [RowGroup(f"shard-{index // 160}", index % 160, 64) for index in range(160_000)]
    plan = Plan.of(groups, 100, 100, 32_768, 0)
    leg = plan.leg(plan.num_legs // 2)
    assert sum(it.last - it.first for it in plan.visits(leg, 3, 8)) == 100 * 32_768 // 8
