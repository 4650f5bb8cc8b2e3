"""The formulas of the cost on paper, on figures that can be worked out by hand."""

import runpy
from pathlib import Path
from typing import Any

import pytest

SCALING: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks/scaling.py"))


def test_a_rate_and_its_gpu_hours_are_each_others_inverse() -> None:
    rate = SCALING["samples_per_s"](samples=3600 * 1000, epochs=2, num_gpus=4, hours=5)
    assert rate == 100
    assert SCALING["gpu_hours"](3600 * 1000, 2, rate) == 4 * 5


def test_utilisation_counts_a_forward_pass_and_twice_as_much_back() -> None:
    model = SCALING["Architecture"]("tiny", 2e9, 1e9)
    assert SCALING["training_flops"](model) == 9e9
    assert SCALING["utilisation"](1000, model, "A100") == pytest.approx(9e12 / 312e12)
    assert SCALING["rate_at"](0.5, model, "A100") == pytest.approx(156e12 / 9e9)


def test_cores_are_whole_and_enough() -> None:
    assert [SCALING["cores_per_gpu"](rate, 500) for rate in (1, 500, 501, 1500)] == [1, 1, 2, 3]
    assert SCALING["bytes_per_s"](100, 8, 20_000) == 16e6


def test_published_runs_come_out_as_published() -> None:
    took = SCALING["published"]()[0]
    assert took.samples_per_s == pytest.approx(346, abs=1)
    assert SCALING["gpu_hours"](SCALING["TREE_OF_LIFE_10M"], SCALING["EPOCHS"], took.samples_per_s) == pytest.approx(
        768
    )


def test_tables_are_whole() -> None:
    text = "\n".join(SCALING["lines"](588, 28_000, 0.4))
    assert "| published | 768 | 4.0 |" in text
    for block in text.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1
