"""What the tables say of the measurements: on tables whose intervals, variances and orders are
known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genbench import metrics
from genbench.analysis import final
from genbench.models import MODELS
from genbench.reliability import (
    disagreements,
    draws,
    flattered,
    interval_honesty,
    space_agreement,
    variance_split,
)
from genbench.statistics import variance_components
from genbench.tables import CELLS, COSTS, CURVES, METRICS, Results

Z = 1.959964  # standard errors in a half-width of a normal 95% interval, from tables
Values = Mapping[tuple[str, str, int], Sequence[float]]

EMPTY = {
    draws: {"cell", "dataset", "model", "title", "seed", *METRICS},
    interval_honesty: {"dataset", "metric", "stated", "seen", "ratio"},
    variance_split: {
        "dataset",
        "model",
        "title",
        "training",
        "sampling",
        "share",
        "runs",
        "draws",
        "flag",
    },
    space_agreement: {"dataset", "metric", "n", "tau"},
}


def metric_rows(values: Values, metric="fd", error=1.0, **other) -> list[dict]:
    """Rows of metrics.csv from (dataset, model, seed) -> a final test value of each set of samples,
    each with the interval of a standard error of `error`."""
    return [
        {"cell": f"images/{dataset}/{model}/s{seed}", "metric": metric, "fraction": 1.0,
         "extractor": "classifier-x", "split": "test", "draw": draw, "value": value,
         "low": value - Z * error, "high": value + Z * error} | other
        for (dataset, model, seed), drawn in values.items()
        for draw, value in enumerate(drawn)
    ]  # fmt: skip


def tables(*parts: list[dict]) -> Results:
    """Tables of these rows, and of the cells that they name."""
    rows = [row for part in parts for row in part]
    cells = []
    for name in dict.fromkeys(row["cell"] for row in rows):
        _, dataset, model, seed = name.split("/")
        cells.append(
            {"cell": name, "suite": "images", "family": MODELS[model].family, "model": model,
             "variant": "", "data_variant": "", "dataset": dataset, "seed": int(seed[1:]),
             "status": "ok"}
        )  # fmt: skip
    return Results(
        profile="cpu",
        cells=pd.DataFrame(cells, columns=CELLS),
        metrics=pd.DataFrame(rows, columns=METRICS),
        costs=pd.DataFrame(columns=COSTS),
        curves=pd.DataFrame(columns=CURVES),
        manifest={},
        folder=Path(),
    )


def test_draws_are_final_test_values_of_trained_cells_in_the_classifiers_space():
    vae, noise = ("mnist", "vae", 0), ("mnist", "noise", 0)
    found = draws(
        tables(
            metric_rows({vae: [1.0, 2.0, math.nan]}),
            metric_rows({noise: [9.0, 9.0]}),  # a control
            metric_rows({vae: [3.0]}, split="validation"),
            metric_rows({vae: [4.0]}, fraction=0.5),
            metric_rows({vae: [5.0, 5.0]}, extractor="efficientnet-lite0-96"),
            metric_rows({vae: [6.0, 6.0]}, metric="bpd", extractor=""),
            metric_rows({vae: [7.0]}, metric="vendi"),  # never redrawn
        )
    )
    assert found[["metric", "value", "draw"]].to_numpy().tolist() == [["fd", 1, 0], ["fd", 2, 1]]
    assert found[["dataset", "model", "title"]].drop_duplicates().to_numpy().tolist() == [
        ["mnist", "vae", MODELS["vae"].title]
    ]


# Honest intervals


def spread(middles: Mapping[tuple[str, str, int], float]) -> Values:
    """Three draws of each cell, with a standard deviation of 1 about its middle."""
    return {cell: [middle - 1, middle, middle + 1] for cell, middle in middles.items()}


@pytest.mark.parametrize(("error", "ratio"), [(1.0, 1.0), (0.5, 2.0), (2.0, 0.5)])
def test_the_ratio_is_the_deviation_seen_over_the_error_stated(error, ratio):
    # Cells far apart: only what differs within a cell is sampling.
    values = spread({("mnist", "vae", s): 100.0 * s for s in range(6)})
    (row,) = interval_honesty(tables(metric_rows(values, error=error))).to_dict("records")
    assert (row["dataset"], row["metric"]) == ("mnist", "fd")
    assert row["seen"] == pytest.approx(1)
    assert row["stated"] == pytest.approx(error, rel=1e-6)
    found = row["ratio"]
    assert found.estimate == pytest.approx(ratio, rel=1e-6)
    assert found.n == 12
    # chi2 with 12 degrees of freedom lies between 4.40379 and 23.33666 in 95 of 100 cases.
    ends = [ratio * math.sqrt(12 / chi2) for chi2 in (23.33666, 4.40379)]
    assert [found.low, found.high] == pytest.approx(ends, rel=1e-5)
    assert (found.low < 1 < found.high) == (error == 1)


def test_errors_and_deviations_are_pooled_as_variances():
    quiet, loud = ("mnist", "vae", 0), ("mnist", "vae", 1)
    rows = [
        *metric_rows({quiet: [4.0, 4.0, 4.0]}, error=1.0),
        *metric_rows({loud: [0.0, 2.0, 4.0]}, error=7.0),
    ]
    (row,) = interval_honesty(tables(rows)).to_dict("records")
    assert row["stated"] == pytest.approx(5, rel=1e-6)  # 25 is the mean of 1 and 49
    assert row["seen"] == pytest.approx(math.sqrt(2))  # 2 is the mean of 0 and 4
    # Each in units of its own error: the mean of 0 and 4/49.
    assert row["ratio"].estimate == pytest.approx(math.sqrt(2) / 7, rel=1e-6)


def test_cells_of_unlike_scale_count_alike():
    """A cell with large errors must not drown one whose small errors are too small by half."""
    honest, bold = ("mnist", "vae", 0), ("mnist", "vae", 1)
    rows = [
        *metric_rows({honest: [-100.0, 0.0, 100.0]}, error=100.0),
        *metric_rows({bold: [-1.0, 0.0, 1.0]}, error=0.5),
    ]
    (row,) = interval_honesty(tables(rows)).to_dict("records")
    assert row["ratio"].estimate == pytest.approx(math.sqrt((1 + 4) / 2), rel=1e-6)


def test_intervals_of_the_ratio_hold_1_as_often_as_they_say_where_errors_are_true():
    rng = np.random.default_rng(0)
    values = {
        (f"data {i}", "vae", seed): rng.normal(5 * seed, 1, 3)
        for i in range(300)
        for seed in range(3)
    }
    ratios = interval_honesty(tables(metric_rows(values)))["ratio"]
    assert len(ratios) == 300
    # Four standard errors of a share of 95% among 300 are 5 points.
    assert np.mean([r.low < 1 < r.high for r in ratios]) == pytest.approx(0.95, abs=0.05)
    halved = interval_honesty(tables(metric_rows(values, error=0.5)))["ratio"]
    assert np.mean([r.low < 1 < r.high for r in halved]) < 0.5


def test_metrics_whose_intervals_are_not_about_samples_are_left_out():
    values = spread({("mnist", "vae", s): 0.0 for s in range(2)})
    names = [*metrics.METRICS][::-1]
    found = interval_honesty(tables(*(metric_rows(values, metric=name) for name in names)))
    about = [name for name, info in metrics.METRICS.items() if info.interval == "samples"]
    about.remove("classes_covered")
    assert found["metric"].tolist() == about
    assert {"fd", "kid", "precision"} <= set(about)
    assert not {"recall", "coverage", "detector_accuracy", "bpd", "ct"} & set(about)


def test_what_has_no_interval_or_no_second_draw_says_nothing_of_honesty():
    once = {("mnist", "vae", s): [1.0] for s in range(3)}
    twice = {("digits", "vae", 0): [1.0, 3.0], ("digits", "vae", 1): [9.0]}
    found = interval_honesty(
        tables(
            metric_rows(once | twice),
            metric_rows(twice, metric="kid", low=None, high=None),
            metric_rows(twice, metric="density", error=0.0),
        )
    )
    (row,) = found.to_dict("records")
    assert (row["dataset"], row["metric"], row["ratio"].n) == ("digits", "fd", 1)
    assert row["seen"] == pytest.approx(math.sqrt(2))


# Training and sampling


def test_the_split_is_that_of_the_components_of_variance():
    runs = {("mnist", "vae", 0): [1.0, 2.0, 4.0], ("mnist", "vae", 1): [7.0, 9.0],
            ("mnist", "vae", 2): [20.0]}  # fmt: skip
    other = {("mnist", "dcgan", 0): [1.0, 1.0], ("mnist", "dcgan", 1): [3.0, 3.0],
             ("mnist", "dcgan", 2): [5.0, 5.0]}  # fmt: skip
    found = variance_split(tables(metric_rows(runs | other), metric_rows(runs, "kid")), "fd")
    assert found["model"].tolist() == ["dcgan", "vae"]
    for row, of in zip(found.to_dict("records"), (other, runs), strict=True):
        seed, sampling = variance_components([*of.values()])
        assert row["training"] ** 2 == pytest.approx(seed.variance)
        assert row["sampling"] ** 2 == pytest.approx(sampling.variance)
        share = seed.variance / (seed.variance + sampling.variance)
        assert row["share"].estimate == pytest.approx(share)
        assert (row["share"].n, row["runs"]) == (len(of), len(of))
        assert row["title"] == MODELS[row["model"]].title
    # By hand: runs that never differ within, at 1, 3 and 5.
    assert (found["training"][0], found["sampling"][0]) == (pytest.approx(2), 0)
    assert (found["share"][0].estimate, found["flag"][0]) == (1, "")
    assert math.isnan(found["share"][0].low)
    assert found["draws"].tolist() == [2, 3]


def test_the_share_is_held_by_its_interval_as_often_as_promised():
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):  # training and sampling vary alike, so the share is a half
        runs = {("mnist", "vae", s): rng.normal() + rng.normal(size=3) for s in range(3)}
        (row,) = variance_split(tables(metric_rows(runs)), "fd").to_dict("records")
        assert 0 <= row["share"].low <= row["share"].high <= 1
        held += row["share"].low <= 0.5 <= row["share"].high
    assert held / 300 == pytest.approx(0.95, abs=0.03)


def test_a_negative_variance_of_training_is_0_and_flagged():
    runs = {("mnist", "vae", seed): [0.0, 4.0] for seed in range(3)}
    (row,) = variance_split(tables(metric_rows(runs)), "fd").to_dict("records")
    assert (row["training"], row["share"].estimate) == (0, 0)
    assert row["sampling"] == pytest.approx(math.sqrt(8))
    assert "estimated as -4" in row["flag"]


def test_models_with_few_seeds_or_without_redraws_are_not_split():
    values = {
        ("mnist", "vae", 0): [1.0, 2.0, 3.0],  # two seeds
        ("mnist", "vae", 1): [2.0, 3.0, 5.0],
        ("mnist", "dcgan", 0): [1.0],  # three seeds, drawn once each
        ("mnist", "dcgan", 1): [2.0],
        ("mnist", "dcgan", 2): [4.0],
        ("digits", "vae", 0): [1.0, 2.0],
        ("digits", "vae", 1): [3.0, math.nan],
        ("digits", "vae", 2): [4.0],
    }
    found = variance_split(tables(metric_rows(values)), "fd")
    assert found[["dataset", "model"]].to_numpy().tolist() == [["digits", "vae"]]


def test_without_any_variance_there_are_no_shares():
    runs = {("mnist", "vae", seed): [3.0, 3.0] for seed in range(3)}
    (row,) = variance_split(tables(metric_rows(runs)), "fd").to_dict("records")
    assert (row["training"], row["sampling"]) == (0, 0)
    assert math.isnan(row["share"].estimate)


# Feature spaces


def spaces(here: Mapping[str, Sequence[float]], there: Mapping[str, Sequence[float]], **other):
    """Values by model and seed in the classifier's space and in another."""
    return [
        row
        for values, extractor in ((here, "classifier-mnist"), (there, "efficientnet-lite0-96"))
        for model, seeds in values.items()
        for seed, value in enumerate(seeds)
        for row in metric_rows(
            {("mnist", model, seed): [value]}, **({"extractor": extractor} | other)
        )
    ]


ORDER = ("dcgan", "vae", "pixel-gpt", "noise")  # a control counts, too


# Controls that a metric likes


def test_controls_ahead_of_real_images_are_named():
    real = {("mnist", "train-split", seed): [10.0 + seed] for seed in range(2)}
    near, far = {("mnist", "blurred", 0): [13.0]}, {("mnist", "noise", 0): [16.0]}
    up = metric_rows(real | near | far, "precision")  # intervals of +- 1.96 meet for 13
    down = metric_rows(real | {("mnist", "noise", 0): [2.0], ("mnist", "vae", 0): [0.0]}, "fd")
    found = flattered(tables(up, down), ["precision", "fd", "kid"])
    assert found.to_dict("records") == [
        {"dataset": "mnist", "metric": metric, "title": MODELS["noise"].title, "real": 10.5,
         "value": value}
        for metric, value in (("precision", 16.0), ("fd", 2.0))
    ]  # fmt: skip
    assert flattered(tables(metric_rows(far)), ["fd"]).empty  # nothing to compare with


# Orders by two metrics


def ask(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]], **up):
    """Disagreements between an FD and a precision, by model and seed."""
    results = tables(*(
        metric_rows({("mnist", model, seed): [value]}, metric)
        for metric, values in (("fd", first), ("precision", second))
        for model, seeds in values.items()
        for seed, value in enumerate(seeds)
    ))  # fmt: skip
    up = {"first_up": False, "second_up": True} | up
    return results, disagreements(final(results, "fd"), final(results, "precision"), **up)


def test_pairs_in_opposite_orders_are_named_and_controls_are_not():
    fd = {"dcgan": [1.0, 2.0], "vae": [3.0, 4.0], "vqvae-gpt": [5.0, 6.0], "noise": [9.0, 9.0]}
    precision = {"dcgan": [0.5, 0.6], "vae": [0.8, 0.7], "vqvae-gpt": [0.4, 0.3], "noise": [1, 1]}
    _, found = ask(fd, precision)
    (row,) = found.to_dict("records")
    assert (row["title_a"], row["title_b"]) == (MODELS["dcgan"].title, MODELS["vae"].title)
    assert (row["first_a"], row["first_b"]) == (1.5, 3.5)
    assert (row["second_a"], row["second_b"]) == (pytest.approx(0.55), pytest.approx(0.75))
    assert row["every"]
    # Were lower precision better, these two would agree, and the last would be ahead of both.
    _, turned = ask(fd, precision, second_up=False)
    assert sorted(turned["title_a"]) == sorted([MODELS["dcgan"].title, MODELS["vae"].title])
    assert set(turned["title_b"]) == {MODELS["vqvae-gpt"].title}


def test_runs_that_overlap_are_told_from_runs_that_do_not():
    (row,) = ask({"dcgan": [1.0, 2.0], "vae": [1.5, 4.0]},
                 {"dcgan": [0.1, 0.2], "vae": [0.8, 0.7]})[1].to_dict("records")  # fmt: skip
    assert not row["every"]


def test_values_of_one_metric_alone_and_models_with_lost_runs_are_left_out():
    # With its second seed dcgan would be behind; it has no precision.
    fd = {"dcgan": [1.0, 99.0], "vae": [3.0, 4.0]}
    results, found = ask(fd, {"dcgan": [0.1], "vae": [0.8, 0.7]})
    assert found["first_a"].tolist() == [1.0]
    one, two = final(results, "fd"), final(results, "precision")
    lost = (one["model"] == "dcgan") & (one["seed"] == 1)
    one.loc[lost, "status"], one.loc[lost, "value"] = "diverged", math.nan
    assert disagreements(one, two, first_up=False, second_up=True).empty


@pytest.mark.parametrize(
    ("order", "tau"),
    [
        ([1, 2, 3, 4], 1.0),
        ([10, 20, 30, 1000], 1.0),
        ([4, 3, 2, 1], -1.0),
        ([2, 1, 3, 4], 2 / 3),  # one of six pairs the other way
    ],
)
def test_agreement_is_that_of_the_orders(order, tau):
    here = {model: [float(rank)] for rank, model in enumerate(ORDER)}
    there = {model: [float(rank)] for rank, model in zip(order, ORDER, strict=True)}
    found = space_agreement(tables(spaces(here, there)), ["fd"])
    (row,) = found.to_dict("records")
    assert (row["dataset"], row["metric"], row["n"]) == ("mnist", "fd", 4)
    assert row["tau"].estimate == pytest.approx(tau)


def test_orders_are_of_means_over_seeds():
    # Seed by seed the order differs; of the means, 2, 3 and 4, it does not.
    here = {"dcgan": [0.0, 4.0], "vae": [5.0, 1.0], "pixel-gpt": [3.0, 5.0]}
    there = {"dcgan": [1.0, 1.0], "vae": [2.0, 2.0], "pixel-gpt": [9.0, -3.0]}
    (row,) = space_agreement(tables(spaces(here, there)), ["fd"]).to_dict("records")
    assert (row["n"], row["tau"].estimate) == (3, 1.0)


def test_what_has_no_value_in_the_other_space_is_left_out():
    here = {"dcgan": [1.0], "vae": [2.0], "pixel-gpt": [0.0, 99.0], "noise": [7.0]}
    there = {"dcgan": [1.0], "vae": [2.0], "pixel-gpt": [3.0, math.nan]}
    (row,) = space_agreement(tables(spaces(here, there)), ["fd"]).to_dict("records")
    # Seed 1 of the third, without a value there, would have made its mean the largest.
    assert row["n"] == 3
    assert row["tau"].estimate == pytest.approx(1 / 3 - 2 / 3)


def test_each_metric_and_space_is_asked_for_by_name():
    up = {"dcgan": [1.0], "vae": [2.0]}
    down = {"dcgan": [2.0], "vae": [1.0]}
    results = tables(
        spaces(up, up),
        spaces(up, down, metric="kid"),
        metric_rows({("mnist", m, 0): v for m, v in down.items()}, extractor="inception-v3"),
    )
    found = space_agreement(results, ["kid", "fd"])
    assert [(r["metric"], r["tau"].estimate) for r in found.to_dict("records")] == [
        ("kid", -1.0), ("fd", 1.0)
    ]  # fmt: skip
    (other,) = space_agreement(results, ["fd"], other="inception").to_dict("records")
    assert other["tau"].estimate == -1.0


def test_orders_that_do_not_exist_are_left_out():
    one = {"dcgan": [1.0], "vae": [2.0]}
    tied = {"dcgan": [5.0], "vae": [5.0]}
    results = tables(spaces(one, one), spaces(one, tied, metric="kid"),
                     spaces(one, {"dcgan": [1.0]}, metric="recall"))  # fmt: skip
    found = space_agreement(results, ["fd", "kid", "recall"])
    assert found["metric"].tolist() == ["fd"]


@pytest.mark.parametrize(
    "ask",
    [
        draws,
        interval_honesty,
        variance_split,
        space_agreement,
    ],
)
def test_empty_tables_give_empty_frames_with_their_columns(ask):
    more = {variance_split: ["fd"], space_agreement: [["fd"]]}
    found = ask(tables(), *more.get(ask, []))
    assert len(found) == 0
    assert set(found.columns) == EMPTY[ask]
