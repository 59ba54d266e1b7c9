from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genbench import statistics
from genbench.statistics import (
    Estimate,
    detectable_difference,
    deviation_interval,
    differences,
    mean_interval,
    over_seeds,
    paired_difference,
)
from genbench.tables import CELLS, COSTS, CURVES, METRICS, Results


def test_three_values_by_hand():
    # s = 1, so the half-width is t / sqrt(3) with t = 4.302653 for two degrees of freedom.
    result = mean_interval([1.0, 2.0, 3.0])
    assert result.estimate == 2.0
    assert result.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert result.n == 3


@pytest.mark.parametrize("n", [2, 3, 10, 100])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_agrees_with_scipy(n, confidence):
    x = np.random.default_rng(n).normal(3, 2, n)
    ours = mean_interval(x, confidence)
    theirs = stats.ttest_1samp(x, 0).confidence_interval(confidence)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(1, 1, (4000, 3))
    covered = [e.low <= 1 <= e.high for e in map(mean_interval, draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)


def test_too_few_values_have_no_interval():
    one, none = mean_interval([5.0]), mean_interval([])
    assert (one.estimate, one.n) == (5.0, 1)
    assert math.isnan(one.low)
    assert math.isnan(none.estimate)
    assert one.holds_zero  # nothing is known of its sign


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_refuses_values_that_are_none(bad):
    with pytest.raises(ValueError, match="finite"):
        mean_interval([1.0, bad])


def test_paired_difference_agrees_with_scipy_and_takes_shared_seeds():
    a, b = {0: 3.0, 1: 5.0, 2: 4.5, 7: 100.0}, {2: 1.0, 1: 2.5, 0: 1.5, 8: -100.0}
    ours = paired_difference(a, b)
    theirs = stats.ttest_rel([3.0, 5.0, 4.5], [1.5, 2.5, 1.0])
    interval = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high, ours.n) == (
        pytest.approx(interval.low),
        pytest.approx(interval.high),
        3,
    )
    assert ours.holds_zero == (theirs.pvalue > 0.05)


def test_pairing_takes_out_what_seeds_share():
    shared = {seed: 1000.0 * seed for seed in range(5)}
    a = {seed: value + 1 for seed, value in shared.items()}
    assert paired_difference(a, shared) == Estimate(1.0, 1.0, 1.0, 5)


def test_detectable_difference_is_found_as_often_as_asked():
    n, deviation = 3, 2.0
    shift = detectable_difference(deviation, n, power=0.8)
    draws = np.random.default_rng(1).normal(shift, deviation, (20_000, n))
    found = stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)
    # With many values it is the familiar (1.96 + 0.84) standard errors.
    many = detectable_difference(1.0, 10_000)
    assert many == pytest.approx((1.959964 + 0.841621) / 100, rel=1e-3)
    assert math.isnan(detectable_difference(1.0, 1))


@pytest.mark.parametrize("n", [3, 5, 20])
def test_detectable_difference_agrees_with_the_noncentral_t(n):
    shift = detectable_difference(1.0, n) * math.sqrt(n)
    critical = stats.t.ppf(0.975, n - 1)
    power = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    assert power == pytest.approx(0.8, abs=1e-3)


def test_detectable_difference_exists_for_two():
    shift = detectable_difference(1.0, 2)
    draws = np.random.default_rng(2).normal(shift, 1, (20_000, 2))
    assert (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(
        0.8, abs=0.01
    )


def test_deviation_interval_agrees_with_the_distribution():
    # (n - 1) s^2 / sigma^2 is chi-square; for n = 3 its quantiles are -2 log(1 - p).
    result = deviation_interval([1.0, 2.0, 3.0])
    assert result.estimate == pytest.approx(1.0)
    assert result.low == pytest.approx(math.sqrt(2 / (-2 * math.log(0.025))))
    assert result.high == pytest.approx(math.sqrt(2 / (-2 * math.log(0.975))))
    assert math.isnan(deviation_interval([1.0]).estimate)


def frame(values: dict[tuple[str, str], list[float | None]], family: str = "gan") -> pd.DataFrame:
    """Rows as `final` gives them, from (dataset, model) -> values by seed."""
    rows = [
        {
            "dataset": dataset, "family": "control" if model == "noise" else family,
            "model": model, "title": model, "seed": seed,
            "status": "ok" if value is not None else "diverged", "value": value,
        }
        for (dataset, model), column in values.items()
        for seed, value in enumerate(column)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_over_seeds_gives_no_mean_of_survivors():
    (row,) = over_seeds(frame({("mnist", "dcgan"): [1.0, 3.0, None]})).to_dict("records")
    assert math.isnan(row["estimate"].estimate)
    assert (row["estimate"].n, row["runs"], row["failed"]) == (0, 3, 1)


def test_differences_leave_out_controls_and_pair_by_seed():
    rows = differences(
        frame(
            {
                ("mnist", "dcgan"): [1.0, None, 2.0],
                ("mnist", "vae"): [3.0, 9.0, 5.0],
                ("mnist", "noise"): [50.0, 50.0, 50.0],
                ("digits", "vae"): [1.0, 1.0, 1.0],
            }
        )
    )
    (row,) = rows.to_dict("records")
    assert (row["dataset"], row["a"], row["b"]) == ("mnist", "dcgan", "vae")
    assert (row["difference"].estimate, row["difference"].n) == (-2.5, 2)


def test_reads_the_tables():
    def cell(name, model, family, variant=""):
        return {"cell": name, "suite": "images+study", "family": family, "model": model,
                "variant": variant, "data_variant": "", "dataset": "mnist", "seed": 0,
                "status": "ok"}  # fmt: skip

    cells = [
        cell("a", "noise", "control"),
        cell("b", "vae", "vae"),
        cell("c", "vae", "vae", "latent=2"),
        cell("d", "dcgan", "gan"),
    ]
    metrics = [
        {"cell": "b", "fraction": 1.0, "metric": "fd", "split": "test", "value": 7.0},
        {"cell": "b", "fraction": 0.5, "metric": "fd", "split": "test", "value": 9.0},
        {"cell": "b", "fraction": 1.0, "metric": "fd", "split": "validation", "value": 8.0},
    ]
    results = Results(
        profile="cpu",
        cells=pd.DataFrame(cells, columns=CELLS),
        metrics=pd.DataFrame(metrics, columns=METRICS),
        costs=pd.DataFrame([{"cell": "b", "cost": "s", "value": 1.0, "unit": "s"}], columns=COSTS),
        curves=pd.DataFrame(columns=CURVES),
        manifest={},
        folder=Path(),
    )
    plain = statistics.of_suite(results, "images")
    assert plain.cells["cell"].tolist() == ["a", "b", "d"]
    assert statistics.of_suite(results, "stud").cells.empty
    fd = statistics.final(plain, "fd")
    assert fd["cell"].tolist() == ["d", "b", "a"]  # gan, vae, control
    assert fd["value"].dropna().tolist() == [7.0]
    assert fd["title"].tolist()[1] == "Convolutional VAE"
    assert statistics.costs(plain, "s")["cell"].tolist() == ["d", "b"]


def run_of(values: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"cell": "c", "dataset": "mnist", "family": "gan", "model": "dcgan", "title": "D",
         "seed": 0, "fraction": np.arange(1, len(values) + 1) / len(values), "value": values}
    )  # fmt: skip


def test_reversals_and_what_it_took():
    table = run_of([8.0, 4.0, 5.0, 2.0])
    (row,) = statistics.reversals(table).to_dict("records")
    assert (row["moves"], row["rises"], row["largest"]) == (3, 1, 0.25)
    assert statistics.to_reach(table, 4.5)["fraction"].tolist() == [0.5]
    assert statistics.to_reach(table, 1.0).empty


def test_positions_are_read_off_the_curves():
    cells = [{"cell": "a", "suite": "images", "family": "gan", "model": "dcgan", "dataset": "mnist",
              "seed": 0, "budget_flops": 100.0, "train_flops": 98.0}]  # fmt: skip
    curves = [
        {"cell": "a", "stage": "s", "step": i, "train_flops": f, "examples": e, "seconds": t,
         "name": name, "value": 0.0}
        for i, (f, e, t) in enumerate([(10.0, 5.0, 1.0), (98.0, 49.0, 9.8)])
        for name in ("loss_D", "loss_G")
    ]  # fmt: skip
    metrics = [
        {"cell": "a", "fraction": f, "metric": "fd", "split": "validation", "value": v}
        for f, v in ((0.5, 3.0), (1.0, 2.0))
    ]
    results = Results(
        profile="cpu",
        cells=pd.DataFrame(cells, columns=CELLS),
        metrics=pd.DataFrame(metrics, columns=METRICS),
        costs=pd.DataFrame(columns=COSTS),
        curves=pd.DataFrame(curves, columns=CURVES),
        manifest={},
        folder=Path(),
    )
    table = statistics.progress(results)
    assert table["train_flops"].tolist() == [50.0, 98.0]
    assert table["examples"].tolist() == [25.0, 49.0]
    assert table["seconds"].tolist() == pytest.approx([5.0, 9.8])
    assert table["value"].tolist() == [3.0, 2.0]
