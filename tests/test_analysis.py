"""What is read from the results tables."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genbench import analysis
from genbench.analysis import by_task, differences, over_seeds
from genbench.tables import CELLS, COSTS, CURVES, METRICS, Results


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


def test_runs_by_task_are_better_the_higher_and_failures_are_worst():
    table = frame(
        {
            ("mnist", "dcgan"): [1.0, 3.0, None],
            ("fashion-mnist", "dcgan"): [2.0, 2.5, 2.25],
            ("mnist", "noise"): [4.0, 6.0, 5.0],
        }
    )
    lower = by_task(table, higher_is_better=False)
    assert {title: list(tasks) for title, tasks in lower.items()} == {
        "dcgan": ["mnist", "fashion-mnist"]
    }
    np.testing.assert_array_equal(lower["dcgan"]["mnist"], [-1, -3, -math.inf])
    np.testing.assert_array_equal(lower["dcgan"]["fashion-mnist"], [-2, -2.5, -2.25])
    higher = by_task(table, higher_is_better=True)
    np.testing.assert_array_equal(higher["dcgan"]["mnist"], [1, 3, -math.inf])


def test_runs_by_task_leave_out_what_cannot_be_ranked_on_every_task():
    table = frame(
        {
            ("mnist", "dcgan"): [1.0],
            ("mnist", "vae"): [1.0],
            ("mnist", "gpt"): [None],
            ("digits", "dcgan"): [1.0],
            ("digits", "gpt"): [1.0],
        }
    )
    assert list(by_task(table, higher_is_better=False)) == ["dcgan", "gpt"]
    # A run that ended well but has no value cannot be ranked.
    assert list(by_task(table.assign(status="ok"), higher_is_better=False)) == ["dcgan"]


def test_differences_leave_out_controls_and_pair_by_seed():
    rows = differences(
        frame(
            {
                ("mnist", "dcgan"): [1.0, 7.0, 2.0],
                ("mnist", "vae"): [3.0, 9.0, 6.0],
                ("mnist", "noise"): [50.0, 50.0, 50.0],
                ("digits", "vae"): [1.0, 1.0, 1.0],
            }
        )
    )
    (row,) = rows.to_dict("records")
    assert (row["dataset"], row["a"], row["b"]) == ("mnist", "dcgan", "vae")
    assert (row["difference"].estimate, row["difference"].n) == (pytest.approx(-8 / 3), 3)
    assert row["deviation"] == pytest.approx(math.sqrt(4 / 3))
    # t = (8/3) / (deviation / sqrt 3) = 4, and with 2 degrees of freedom p = 1 - t / sqrt(t^2 + 2).
    assert row["p"] == pytest.approx(1 - 4 / math.sqrt(18))


def test_there_is_no_difference_of_survivors():
    values = {("mnist", "dcgan"): [1.0, None, 2.0], ("mnist", "vae"): [3.0, 9.0, 5.0],
              ("mnist", "gpt"): [1.0, 2.0, 4.0]}  # fmt: skip
    rows = differences(frame(values)).set_index(["a", "b"])
    for pair in (("dcgan", "vae"), ("dcgan", "gpt")):
        assert rows.loc[pair, "difference"].n == 0
        assert math.isnan(rows.loc[pair, "p"])
        assert math.isnan(rows.loc[pair, "deviation"])
    assert rows.loc[("vae", "gpt"), "difference"].n == 3


def test_leaders_are_those_with_the_fewest_failures_then_the_best_mean():
    values = {("mnist", "dcgan"): [1.0, None], ("mnist", "vae"): [3.0, 4.0],
              ("mnist", "gpt"): [2.0, 7.0], ("digits", "dcgan"): [1.0, 2.0],
              ("digits", "noise"): [0.0, 0.0]}  # fmt: skip
    summary = over_seeds(frame(values))
    found = analysis.leaders(summary, higher_is_better=False)
    assert found == {"mnist": "vae", "digits": "dcgan"}
    assert analysis.leaders(summary, higher_is_better=True)["mnist"] == "gpt"


def test_against_one_model_each_pair_is_asked_for_once():
    values = {
        ("mnist", m): [x, x + 1, x + 3] for m, x in zip("abcd", (4.0, 1.0, 2.0, 3.0), strict=True)
    }
    values |= {("digits", "a"): [1.0, 2.0, 5.0], ("digits", "b"): [1.0, 2.5, 5.0]}
    rows = differences(frame(values), against={"mnist": "b", "digits": "a"})
    found = rows[["dataset", "a", "b"]].to_numpy().tolist()
    assert found == [
        ["mnist", "b", "a"], ["mnist", "b", "c"], ["mnist", "b", "d"], ["digits", "a", "b"]
    ]  # fmt: skip
    assert [d.estimate for d in rows["difference"]][:3] == [-3, -1, -2]


def test_champions_are_chosen_on_validation_over_all_data_sets():
    def rows(model, family, dataset, validation, test, seed=0, status="ok"):
        cell = f"{dataset}/{model}/{seed}"
        cells.append({"cell": cell, "suite": "images", "family": family, "model": model,
                      "variant": "", "data_variant": "", "dataset": dataset, "seed": seed,
                      "status": status})  # fmt: skip
        for split, value in (("validation", validation), ("test", test)):
            row = {"cell": cell, "fraction": 1.0, "metric": "fd", "split": split, "draw": 0}
            metrics.append(row | {"extractor": "classifier-x", "value": value})

    cells, metrics = [], []
    for dataset in ("mnist", "fashion-mnist"):
        rows("train-split", "control", dataset, 0.0, 0.0)
        rows("pixel-gaussian", "control", dataset, 10.0, 10.0)
        rows("dcgan", "gan", dataset, 3.0, 1.0)
        rows("lsgan", "gan", dataset, 2.0, 5.0)
        rows("sngan", "gan", dataset, 1.0, 1.0, status="collapsed")
        rows("cgan", "gan", dataset, 0.5, 0.5)  # which is told the labels
        rows("vae", "vae", dataset, 4.0, 4.0)
    rows("vae", "vae", "mnist", 4.0, 4.0, seed=1)

    def champions():
        return analysis.champions(
            Results(
                profile="cpu",
                cells=pd.DataFrame(cells, columns=CELLS),
                metrics=pd.DataFrame(metrics, columns=METRICS),
                costs=pd.DataFrame(columns=COSTS),
                curves=pd.DataFrame(columns=CURVES),
                manifest={},
                folder=Path(),
            )
        )

    assert champions() == ["lsgan", "vae"]
    # A set that few have yet spares or costs none of them anything.
    rows("dcgan", "gan", "digits", 0.0, 0.0)
    assert champions() == ["lsgan", "vae"]
    # All are compared on the same sets, here on the one that one more model has.
    rows("mlp-gan", "gan", "mnist", 0.1, 0.1)
    assert champions() == ["mlp-gan", "vae"]


def test_verdicts_are_of_the_ranked_order():
    values = {("mnist", "vae"): [9.0, 9.1, 9.2, 9.3], ("mnist", "dcgan"): [1.0, 1.1, 1.0, 1.2],
              ("mnist", "vqvae-gpt"): [1.1, 1.0, 1.2, 1.3], ("mnist", "lsgan"): [0.5, 0.6],
              ("mnist", "noise"): [0.0, 0.0]}  # fmt: skip

    def found(changed=(), up=False):
        rows = frame(values)
        for model in changed:  # one run collapsed, and its value is kept
            first = (rows["model"] == model) & (rows["seed"] == 0)
            rows.loc[first, "status"] = "collapsed"
        table = analysis.verdicts(rows, higher_is_better=up)
        return {(row.a, row.b): row.verdict for row in table.itertuples()}

    assert found() == {
        ("lsgan", "dcgan"): "few", ("lsgan", "vqvae-gpt"): "few", ("lsgan", "vae"): "few",
        ("dcgan", "vqvae-gpt"): "open", ("dcgan", "vae"): "decided",
        ("vqvae-gpt", "vae"): "decided",
    }  # fmt: skip
    # A model that lost a run ranks behind, which no difference of values has decided.
    lost = found(["dcgan"])
    assert list(lost)[-1] == ("vae", "dcgan")
    assert [lost[m, "dcgan"] for m in ("lsgan", "vqvae-gpt", "vae")] == ["failed"] * 3
    assert next(iter(found(up=True))) == ("vae", "vqvae-gpt")
    table = analysis.verdicts(frame(values), higher_is_better=False)
    assert [d.estimate < 0 for d in table["difference"]] == [True] * 6
    assert analysis.verdicts(frame(values)[:0], higher_is_better=False).empty


def test_differences_are_corrected_for_each_other():
    values = {("mnist", "dcgan"): [0.0, 0.1, 0.2], ("mnist", "vae"): [1.0, 1.2, 1.1],
              ("mnist", "vqvae-gpt"): [0.3, 0.1, 0.4], ("mnist", "lsgan"): [5.0]}  # fmt: skip
    rows = differences(frame(values), against={"mnist": "dcgan"}).set_index("b")
    assert math.isnan(rows.loc["lsgan", "corrected"])  # one seed makes no test, and no correction
    low, high = sorted(rows.loc[["vae", "vqvae-gpt"], "p"])
    assert sorted(rows["corrected"].dropna()) == pytest.approx([2 * low, max(2 * low, high)])


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
        {"cell": "b", "fraction": fraction, "metric": "fd", "split": split,
         "extractor": "classifier:v1", "draw": 0, "value": value}
        for fraction, split, value in (
            (1.0, "test", 7.0), (0.5, "test", 9.0), (1.0, "validation", 8.0)
        )
    ]  # fmt: skip
    results = Results(
        profile="cpu",
        cells=pd.DataFrame(cells, columns=CELLS),
        metrics=pd.DataFrame(metrics, columns=METRICS),
        costs=pd.DataFrame([{"cell": "b", "cost": "s", "value": 1.0, "unit": "s"}], columns=COSTS),
        curves=pd.DataFrame(columns=CURVES),
        manifest={},
        folder=Path(),
    )
    plain = analysis.of_suite(results, "images")
    assert plain.cells["cell"].tolist() == ["a", "b", "d"]
    assert analysis.of_suite(results, "stud").cells.empty
    fd = analysis.final(plain, "fd")
    assert fd["cell"].tolist() == ["d", "b", "a"]  # gan, vae, control
    assert fd["value"].dropna().tolist() == [7.0]
    assert fd["title"].tolist()[1] == "Convolutional VAE"
    assert analysis.costs(plain, "s")["cell"].tolist() == ["d", "b"]


def run_of(values: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"cell": "c", "dataset": "mnist", "family": "gan", "model": "dcgan", "title": "D",
         "seed": 0, "fraction": np.arange(1, len(values) + 1) / len(values), "value": values}
    )  # fmt: skip


def test_reversals_and_what_it_took():
    table = run_of([8.0, 4.0, 5.0, 2.0])
    (row,) = analysis.reversals(table).to_dict("records")
    assert (row["moves"], row["rises"], row["largest"]) == (3, 1, 0.25)
    assert analysis.to_reach(table, 4.5)["fraction"].tolist() == [0.5]
    assert analysis.to_reach(table, 1.0).empty


def test_positions_are_read_off_the_curves():
    cells = [{"cell": "a", "suite": "images", "family": "gan", "model": "dcgan", "dataset": "mnist",
              "seed": 0, "budget_flops": 100.0, "train_flops": 98.0}]  # fmt: skip
    curves = [
        {"cell": "a", "stage": "s", "step": i, "train_flops": f, "examples": e, "seconds": t,
         "name": name, "value": 0.0}
        for i, (f, e, t) in enumerate([(10.0, 5.0, 1.0), (98.0, 49.0, 9.8)])
        for name in ("loss_D", "loss_G")
    ]  # fmt: skip
    costs = [{"cell": "a", "cost": "train_seconds", "value": 4.9, "unit": "s"}]
    metrics = [
        {
            "cell": "a",
            "fraction": f,
            "metric": "fd",
            "extractor": space,
            "split": "validation",
            "value": v,
        }
        for f, v, space in ((0.5, 3.0, "classifier"), (1.0, 2.0, "classifier"), (1.0, 9.0, "other"))
    ]
    results = Results(
        profile="cpu",
        cells=pd.DataFrame(cells, columns=CELLS),
        metrics=pd.DataFrame(metrics, columns=METRICS),
        costs=pd.DataFrame(costs, columns=COSTS),
        curves=pd.DataFrame(curves, columns=CURVES),
        manifest={},
        folder=Path(),
    )
    table = analysis.progress(results)
    assert table["train_flops"].tolist() == [50.0, 98.0]
    assert table["examples"].tolist() == [25.0, 49.0]
    # Half of what it took to do the work, which is less than the wall time of a busy machine.
    assert table["seconds"].tolist() == pytest.approx([2.5, 4.9])
    assert table["value"].tolist() == [3.0, 2.0]
