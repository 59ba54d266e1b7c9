"""What a plan says of time: measured, estimated from like cells, or guessed."""

from __future__ import annotations

import pytest
from conftest import tiny_cell

from genbench import plan
from genbench.plan import plan_rows


@pytest.fixture(autouse=True)
def _known_peak(monkeypatch):
    monkeypatch.setattr(plan, "matmul_peak", lambda device, threads: 1e9)


def record(cell, seconds=20.0, wall=30.0, flops=8e6, status="ok", device="cpu"):
    costs = [] if cell.is_control else [{"cost": "train_seconds", "value": seconds}]
    return {
        "model": cell.model.name, "seed": cell.seed, "status": status,
        "provenance": {"device": device},
        "costs": costs, "train_flops": flops, "wall_seconds": wall,
        "specification": cell.model_dump(mode="json"),
    }  # fmt: skip


def test_a_done_cell_takes_what_it_took():
    cell = tiny_cell()
    (row,) = plan_rows([cell], {cell.name: record(cell)}, {cell.name}, "cpu")
    assert (row["state"], row["source"], row["seconds"]) == ("done", "measured", 30.0)
    assert row["parameters"] > 0
    assert row["steps"] > 0
    assert 0 < row["train_flops"] <= cell.budget.train_flops


def test_other_seeds_and_budgets_are_estimated_from_its_speed():
    cell, other = tiny_cell(), tiny_cell(seed=1, flops=1.6e7)
    (row,) = plan_rows([other], {cell.name: record(cell)}, {cell.name}, "cpu")
    assert (row["state"], row["source"]) == ("to do", "estimated")
    # Twice the FLOPs at the same speed, and the same ten seconds beside training.
    assert row["seconds"] == pytest.approx(10 + 2 * 20, rel=0.1)


def test_what_comes_beside_training_is_that_of_as_many_samples():
    few, many = tiny_cell(n=30), tiny_cell(n=120, seed=1)
    records = {few.name: record(few, wall=21.0), many.name: record(many, wall=50.0)}
    other = tiny_cell(n=120, seed=2)
    (row,) = plan_rows([other], records, set(), "cpu")
    assert row["seconds"] == pytest.approx(20 + 30, rel=0.1)


def test_seeds_that_are_measured_more_thoroughly_tell_of_others_only_where_none_is_known():
    first, second, third = (tiny_cell(seed=seed) for seed in range(3))
    records = {first.name: record(first, wall=50.0)}
    (row,) = plan_rows([third], records, set(), "cpu")
    assert row["seconds"] == pytest.approx(20 + 30, rel=0.1)
    records[second.name] = record(second, wall=25.0)
    (row,) = plan_rows([third], records, set(), "cpu")
    assert row["seconds"] == pytest.approx(20 + 5, rel=0.1)


def test_without_a_like_record_it_is_guessed_from_the_machine():
    cell = tiny_cell(flops=3e10)
    (row,) = plan_rows([cell], {}, set(), "cpu")
    assert row["source"] == "guessed"
    evaluation = plan.EVALUATION_SECONDS * cell.sample.n / 10_000
    expected = 3e10 / (plan.ASSUMED_UTILISATION * 1e9) + evaluation
    assert row["seconds"] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("other", [{"status": "crashed"}, {"device": "cuda"}])
def test_crashes_and_other_devices_tell_nothing_of_speed(other):
    cell, known = tiny_cell(), tiny_cell(seed=1)
    (row,) = plan_rows([cell], {known.name: record(known, **other)}, set(), "cpu")
    assert row["source"] == "guessed"


def test_a_control_is_estimated_by_its_like_and_has_no_training():
    cell, known = tiny_cell("noise"), tiny_cell("noise", seed=1)
    (row,) = plan_rows([cell], {known.name: record(known, wall=3.0)}, set(), "cpu")
    assert (row["source"], row["seconds"]) == ("estimated", 3.0)
    assert row["parameters"] == row["steps"] == row["train_flops"] == 0
