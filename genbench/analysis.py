"""What a comparison reads from the results tables: which cells, their final values and costs, their
course over the budget, and summaries over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from genbench.models import FAMILIES, MODELS
from genbench.statistics import (
    FEWEST,
    Floats,
    deviation_interval,
    holm,
    mean_interval,
    paired_difference,
    paired_test,
    with_failures,
)
from genbench.tables import Results, final_rows, of_space, relative_scale

FAILED = ("diverged", "collapsed", "crashed")

DECIDED = 0.05  # the corrected p-value up to which a difference is called decided


def of_suite(results: Results, suite: str) -> Results:
    """The results of the cells that belong to a suite, with plain data and plain models."""
    cells = results.cells
    member = cells["suite"].str.split("+").map(lambda names: suite in names)
    plain = (cells["variant"] == "") & (cells["data_variant"] == "")
    return keep(results, cells[member & plain]["cell"])


def keep(results: Results, names: Iterable[str]) -> Results:
    """The results of the named cells alone."""
    wanted = set(names)

    def within(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["cell"].isin(wanted)].reset_index(drop=True)

    return replace(
        results,
        cells=within(results.cells),
        metrics=within(results.metrics),
        costs=within(results.costs),
        curves=within(results.curves),
    )


def in_order(cells: pd.DataFrame) -> pd.DataFrame:
    """Rows by data set, then family and model as the register has them, then seed; the columns
    `title` (a model's name for readers) is added."""
    models = list(MODELS)
    known = cells["model"].map(lambda name: models.index(name) if name in models else len(models))
    family = cells["family"].map(lambda name: FAMILIES.index(name) if name in FAMILIES else 9)
    dataset = cells["dataset"].map({"digits": 0, "mnist": 1, "fashion-mnist": 2}).fillna(3)
    order = pd.DataFrame(
        {"dataset": dataset, "name": cells["dataset"], "family": family, "model": known,
         "seed": cells["seed"]}
    ).sort_values(["dataset", "name", "family", "model", "seed"])  # fmt: skip
    titles = cells["model"].map(lambda name: MODELS[name].title if name in MODELS else name)
    return cells.assign(title=titles).loc[order.index].reset_index(drop=True)


def final(
    results: Results, metric: str, split: str = "test", space: str = "classifier"
) -> pd.DataFrame:
    """Every cell, in order, with the metric's final value in `value`; NaN where it has none.
    space: the feature space, for a metric that has one."""
    values = final_rows(results.metrics, metric, split, space)[["cell", "value"]]
    return in_order(results.cells).merge(values, on="cell", how="left", validate="one_to_one")


def costs(results: Results, cost: str) -> pd.DataFrame:
    """Every cell that is not a control, in order, with a cost in `value`; NaN where it has none."""
    cells = results.cells[results.cells["family"] != "control"]
    rows = results.costs[results.costs["cost"] == cost]
    values = rows[["cell", "value"]]
    return in_order(cells).merge(values, on="cell", how="left", validate="one_to_one")


def over_seeds(frame: pd.DataFrame, column: str = "value") -> pd.DataFrame:
    """One row for each data set and model of `final` or `costs`: `estimate` (an Estimate over the
    seeds), `runs` and `failed` (how many there are, and how many failed).

    Where a failed run left no value there is no mean, and `estimate` is empty (n = 0): one over
    the survivors would reward the model that fails most.
    """
    keys = ["dataset", "family", "model", "title"]
    rows = []
    for key, group in frame.groupby(keys, sort=False):
        rows.append(
            {
                **dict(zip(keys, key, strict=True)),
                "estimate": mean_interval([*_by_seed(group, column).values()]),
                "runs": len(group),
                "failed": int(group["status"].isin(FAILED).sum()),
            }
        )
    return pd.DataFrame(rows, columns=[*keys, "estimate", "runs", "failed"])


def _by_seed(runs: pd.DataFrame, column: str) -> dict[int, float]:
    """Seed -> value of one model's runs on one data set; empty where a failed run left none."""
    if (runs["status"].isin(FAILED) & runs[column].isna()).any():
        return {}
    valued = runs.dropna(subset=[column])
    return dict(zip(valued["seed"], valued[column], strict=True))


def ranked(summary: pd.DataFrame, *, higher_is_better: bool) -> pd.DataFrame:
    """Rows of `over_seeds` from best to worst: by failed runs, fewest first, by the declared rule,
    then by the mean, models without one last."""
    if summary.empty:
        return summary
    sign = -1 if higher_is_better else 1
    means = [sign * e.estimate if e.n else np.inf for e in summary["estimate"]]
    keys = pd.DataFrame({"failed": summary["failed"].to_numpy(), "mean": means})
    order = keys.sort_values(["failed", "mean"], kind="stable").index
    return summary.iloc[order].reset_index(drop=True)


def leaders(summary: pd.DataFrame, *, higher_is_better: bool) -> dict[str, str]:
    """Data set -> the model that leads on it, controls left out, by rows of `over_seeds`."""
    models = ranked(summary[summary["family"] != "control"], higher_is_better=higher_is_better)
    return {str(data): rows["model"].iloc[0] for data, rows in models.groupby("dataset")}


def champions(
    results: Results,
    metric: str = "fd",
    *,
    space: str = "classifier",
    one: str = "pixel-gaussian",
) -> list[str]:
    """The best model of each family, in the register's order, of those that learn without labels:
    they are given what the others are not. The best is the one that comes closest to real data on
    the *validation* split, by the mean over data sets and seeds of the place between train split
    and the control `one`; models with failed runs behind those without. The data sets are those
    that most models of the family have runs on, and models without one of them are no candidates.
    space: the feature space, for a metric that has one."""
    table = in_order(
        relative_scale(results.metrics, results.cells, metric, "validation", space=space, one=one)
    )
    labelled = [name for name, info in MODELS.items() if info.labelled]
    table = table[(table["family"] != "control") & ~table["model"].isin(labelled)]
    if table.empty:
        return []
    rows = []
    for family, of_family in table.groupby("family", sort=False):
        n_models = of_family.groupby("dataset")["model"].nunique()
        asked = n_models.index[n_models == n_models.max()]
        there = of_family[of_family["dataset"].isin(asked)]
        for model, group in there.groupby("model", sort=False):
            means = group.groupby("dataset")["relative"].mean()
            failed = int(group["status"].isin(FAILED).sum())
            if len(means) == len(asked):
                mean = means.mean() if means.notna().all() else np.inf
                rows.append((family, failed, mean, model))
    best = pd.DataFrame(rows, columns=["family", "failed", "mean", "model"])
    best = best.sort_values(["failed", "mean"], kind="stable").drop_duplicates("family")
    return [name for name in MODELS if name in set(best["model"])]


def differences(
    frame: pd.DataFrame,
    column: str = "value",
    *,
    against: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Paired differences between pairs of models, controls left out, on each data set: all pairs,
    or, with `against` (data set -> model), each other model and that one, which is then `a`.

    Columns: dataset, a, b (models), title_a, title_b; `difference`, the Estimate of a - b;
    `deviation` of the differences over seeds; `p` of the paired t test, and `corrected`, the same
    by Holm's method over the rows that have one: at most 0.05 is what chapters call decided. Where
    a failed run of either left no value, the difference is empty (n = 0), and deviation and p are
    NaN.
    """
    models = frame[frame["family"] != "control"]
    pairs: list[tuple[Any, Any, Any]] = []
    for dataset, on_it in models.groupby("dataset", sort=False):
        groups = list(on_it.groupby(["model", "title"], sort=False))
        if against is None:
            pairs += [(dataset, first, second) for first, second in combinations(groups, 2)]
        else:
            one = [group for group in groups if group[0][0] == against.get(str(dataset))]
            rest = [group for group in groups if group[0][0] != against.get(str(dataset))]
            pairs += [(dataset, first, second) for first in one for second in rest]
    rows = []
    for dataset, ((a, title_a), first), ((b, title_b), second) in pairs:
        left, right = _by_seed(first, column), _by_seed(second, column)
        shared = sorted(set(left) & set(right))
        rows.append(
            {
                "dataset": dataset,
                "a": a,
                "b": b,
                "title_a": title_a,
                "title_b": title_b,
                "difference": paired_difference(left, right),
                "deviation": deviation_interval([left[s] - right[s] for s in shared]).estimate,
                "p": paired_test(left, right),
            }
        )
    columns = ["dataset", "a", "b", "title_a", "title_b", "difference", "deviation", "p"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(corrected=corrected(table["p"].to_numpy(dtype=float)))


def verdicts(frame: pd.DataFrame, column: str = "value", *, higher_is_better: bool) -> pd.DataFrame:
    """How sure an order of models on one data set is: rows of `differences` for all pairs, `a`
    ranked before `b`, from the first to the last, with `verdict`:

    failed     b lost more runs than a, and ranks behind by the declared rule, whatever its values
    few        they share fewer than FEWEST seeds
    decided    the difference is in a's favour and its corrected p-value at most DECIDED
    open       the seeds do not decide
    """
    ranking = ranked(over_seeds(frame, column), higher_is_better=higher_is_better)
    place = {model: i for i, model in enumerate(ranking["model"])}
    failed = dict(zip(ranking["model"], ranking["failed"], strict=True))
    rows = []
    for row in differences(frame, column).to_dict("records"):
        if place[row["a"]] > place[row["b"]]:
            e = row["difference"]
            row |= {"a": row["b"], "b": row["a"], "difference": replace(
                e, estimate=-e.estimate, low=-e.high, high=-e.low
            ), "title_a": row["title_b"], "title_b": row["title_a"]}  # fmt: skip
        gain = row["difference"].estimate * (1 if higher_is_better else -1)
        if failed[row["b"]] > failed[row["a"]]:
            row["verdict"] = "failed"
        elif row["difference"].n < FEWEST:
            row["verdict"] = "few"
        else:
            row["verdict"] = "decided" if gain > 0 and row["corrected"] <= DECIDED else "open"
        rows.append(row)
    rows.sort(key=lambda row: (place[row["a"]], place[row["b"]]))
    columns = ["dataset", "a", "b", "title_a", "title_b", "difference", "deviation", "p"]
    return pd.DataFrame(rows, columns=[*columns, "corrected", "verdict"])


def corrected(p_values: Floats) -> Floats:
    """p-values (m,) corrected for each other by Holm's method; NaN, of comparisons that could not
    be made, stays and corrects nothing."""
    p = p_values.copy()
    known = np.isfinite(p)
    p[known] = holm(p[known])
    return p


def by_task(
    frame: pd.DataFrame, column: str = "value", *, higher_is_better: bool
) -> dict[str, dict[str, np.ndarray]]:
    """Runs as `statistics` takes them: title of each model, controls left out -> data set -> its
    values over seeds, (n,) float64, more being better.

    Values of which less is better change their sign, and a failed run that left no value is the
    worst there is, -inf. A model is left out where it misses a data set, or a run that did not
    fail has no value.
    """
    models = frame[frame["family"] != "control"]
    tasks = models["dataset"].unique()
    scores: dict[str, dict[str, np.ndarray]] = {}
    for title, group in models.groupby("title", sort=False):
        failed = group["status"].isin(FAILED)
        if set(group["dataset"]) != set(tasks) or (group[column].isna() & ~failed).any():
            continue
        ranked = group.assign(value=with_failures(group[column], failed, higher_is_better))
        sign = 1 if higher_is_better else -1
        scores[str(title)] = {
            str(task): sign * rows["value"].to_numpy()
            for task, rows in ranked.groupby("dataset", sort=False)
        }
    return scores


def positions(results: Results) -> pd.DataFrame:
    """One row a cell and evaluated fraction of its budget: `fraction`, and what had been spent by
    then as `train_flops`, `examples` and `seconds`, read off the training curves.

    seconds: of work, as the cost `train_seconds`; curves have wall times, so it is that total times
    the share of the wall time that had passed. NaN where the total was not recorded.
    """
    rows = []
    cells = results.cells[results.cells["family"] != "control"]
    fractions = results.metrics.groupby("cell")["fraction"].unique()
    curves = dict(list(results.curves.groupby("cell")))
    work = costs(results, "train_seconds").set_index("cell")["value"]
    for cell in cells.to_dict("records"):
        name = cell["cell"]
        if name not in curves or name not in fractions:
            continue
        points = curves[name].drop_duplicates("train_flops").sort_values("train_flops")
        points = points.assign(seconds=points["seconds"] / points["seconds"].iloc[-1] * work[name])
        for fraction in sorted(fractions[name]):
            flops = min(fraction * cell["budget_flops"], cell["train_flops"])
            spent = {
                column: float(np.interp(flops, points["train_flops"], points[column]))
                for column in ("examples", "seconds")
            }
            rows.append({"cell": name, "fraction": fraction, "train_flops": flops, **spent})
    columns = ["cell", "fraction", "train_flops", "examples", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def progress(results: Results, metric: str = "fd", space: str = "classifier") -> pd.DataFrame:
    """A metric on the validation split at every evaluated fraction of the budget, in order, beside
    what had been spent by then. Fractions without a value are left out. space: the feature space,
    for a metric that has one."""
    rows = results.metrics
    wanted = (rows["metric"] == metric) & (rows["split"] == "validation")
    rows = rows[wanted & of_space(rows, space)]
    rows = rows[["cell", "fraction", "value"]].dropna()
    cells = in_order(results.cells).drop(columns=["train_flops", "examples"])
    return cells.merge(positions(results).merge(rows, on=["cell", "fraction"]), on="cell")


def reversals(table: pd.DataFrame) -> pd.DataFrame:
    """How steadily each cell of `progress` fell: one row a cell with `moves` (from one evaluated
    fraction to the next), `rises` among them, and `largest` rise as a share of the value before
    (0 where there is none)."""
    rows = []
    for cell, group in table.groupby("cell", sort=False):
        values = group.sort_values("fraction")["value"].to_numpy()
        change = values[1:] / values[:-1] - 1
        rises = change[change > 0]
        largest = float(rises.max()) if len(rises) else 0.0
        rows.append({"cell": cell, "moves": len(change), "rises": len(rises), "largest": largest})
    cells = table.drop_duplicates("cell")[["cell", "dataset", "family", "model", "title", "seed"]]
    columns = ["cell", "moves", "rises", "largest"]
    return cells.merge(pd.DataFrame(rows, columns=columns), on="cell")


def to_reach(table: pd.DataFrame, target: float) -> pd.DataFrame:
    """The first row of each cell of `progress` at or under `target`; cells that never get there
    have no row."""
    reached = table[table["value"] <= target].sort_values("fraction", kind="stable")
    return reached.drop_duplicates("cell")
