"""What the tables say of the measurements themselves: whether intervals over samples keep their
word, what of a difference is training and what is sampling, and whether feature spaces agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pandas as pd
from scipy import stats

from genbench.analysis import FAILED, final, in_order
from genbench.metrics import METRICS
from genbench.metrics.measured import Z
from genbench.statistics import FEWEST, Estimate, rank_agreement, variance_components
from genbench.tables import Results, final_rows


def draws(results: Results) -> pd.DataFrame:
    """Final test values of every set of samples of each trained cell, in the classifier's space:
    rows of metrics.csv with dataset, model, title and seed."""
    cells = in_order(results.cells[results.cells["family"] != "control"])
    rows = results.metrics
    space = rows["extractor"].str.startswith("classifier")
    chosen = rows[(rows["split"] == "test") & (rows["fraction"] == 1) & space]
    redrawn = chosen.groupby("metric")["draw"].max()
    chosen = chosen[chosen["metric"].isin(redrawn[redrawn > 0].index)].dropna(subset=["value"])
    return cells[["cell", "dataset", "model", "title", "seed"]].merge(chosen, on="cell")


def interval_honesty(results: Results) -> pd.DataFrame:
    """Stated standard errors of samples against the deviation between redraws, one row a data set
    and metric: `stated` and `seen` (root mean squares over cells) and `ratio`, an Estimate of the
    deviation in units of its own cell's stated error, pooled over cells, with the chi-square
    interval of a pooled variance.

    Metrics whose intervals are about real images are left out, as they answer another question, and
    so is the number of classes covered, which is a small whole number and anything but normal.
    """
    rows = []
    table = draws(results)
    about_samples = [
        name
        for name, info in METRICS.items()
        if info.interval == "samples" and name != "classes_covered"
    ]
    table = table[table["metric"].isin(about_samples)].dropna(subset=["low", "high"])
    for (dataset, metric), group in table.groupby(["dataset", "metric"], sort=False):
        cells = group.groupby("cell")
        squared_error = ((group["high"] - group["low"]) / (2 * Z)) ** 2
        stated = squared_error.groupby(group["cell"]).transform("mean")
        degrees = int((cells["value"].count() - 1).sum())
        if degrees < 1 or not (stated > 0).all():
            continue
        squares = (group["value"] - cells["value"].transform("mean")) ** 2
        ratio = math.sqrt(float((squares / stated).sum()) / degrees)
        low, high = (
            ratio * math.sqrt(degrees / stats.chi2.ppf(tail, degrees)) for tail in (0.975, 0.025)
        )
        rows.append(
            {
                "dataset": dataset,
                "metric": metric,
                "stated": math.sqrt(float(stated.mean())),
                "seen": math.sqrt(float(squares.sum()) / degrees),
                "ratio": Estimate(ratio, float(low), float(high), degrees),
            }
        )
    order = list(METRICS)
    frame = pd.DataFrame(rows, columns=["dataset", "metric", "stated", "seen", "ratio"])
    return frame.sort_values("metric", key=lambda names: names.map(order.index), kind="stable")


def variance_split(results: Results, metric: str) -> pd.DataFrame:
    """Of one measurement of each model: `training` and `sampling`, standard deviations from the
    seed and from drawing finitely many samples, `share`, an Estimate of training's part of the
    variance over `runs` runs of `draws` sets of samples at most, and `flag` where its estimate was
    negative. Models of fewer than FEWEST runs are left out.

    The interval of the share is that of the intraclass correlation, from the F quantiles of the
    ratio of mean squares, which rests on normality; of unequal draws it is approximate, as the
    components themselves are.

    results: of plain models and data (`analysis.of_suite`), as variants are not told apart.
    """
    rows = []
    table = draws(results)
    table = table[table["metric"] == metric]
    for (dataset, model, title), group in table.groupby(["dataset", "model", "title"], sort=False):
        values = [part["value"].to_numpy() for _, part in group.groupby("seed")]
        if len(values) < FEWEST or sum(map(len, values)) <= len(values):
            continue
        seed, sampling = variance_components(values)
        total = seed.variance + sampling.variance
        share = seed.variance / total if total else math.nan
        rows.append(
            {
                "dataset": dataset,
                "model": model,
                "title": title,
                "training": math.sqrt(seed.variance),
                "sampling": math.sqrt(sampling.variance),
                "share": Estimate(share, *_share_ends(values, sampling.variance), len(values)),
                "runs": len(values),
                "draws": max(map(len, values)),
                "flag": seed.flag,
            }
        )
    columns = ["dataset", "model", "title", "training", "sampling", "share"]
    columns += ["runs", "draws", "flag"]
    return pd.DataFrame(rows, columns=columns)


def _share_ends(values: Sequence[np.ndarray], within: float) -> tuple[float, float]:
    """Ends of the 95% interval of the seeds' part of the variance, in [0, 1]; NaN where nothing
    varies within the runs."""
    k, total = len(values), sum(map(len, values))
    if not within:
        return math.nan, math.nan
    n = k / sum(1 / len(run) for run in values)
    ratio = n * float(np.var([run.mean() for run in values], ddof=1)) / within
    upper, lower = (float(stats.f.ppf(end, k - 1, total - k)) for end in (0.975, 0.025))
    low, high = ((ratio / f - 1) / (ratio / f - 1 + n) for f in (upper, lower))
    return max(0.0, low), max(0.0, high)


def disagreements(
    first: pd.DataFrame, second: pd.DataFrame, *, first_up: bool, second_up: bool
) -> pd.DataFrame:
    """Pairs of trained models that two metrics put in opposite orders, by means over the cells that
    have a value of both: one row a data set and pair, `a` ahead by the first metric and `b` by the
    second.

    first, second: of `analysis.final`, of plain models and data; first_up, second_up: whether
    higher is better. Columns: dataset, title_a, title_b; first_a, first_b, second_a, second_b (the
    means); `every`, whether all runs of the one are ahead of all runs of the other by both metrics.
    A model with a failed run that left no value of the first metric has no order and no row.
    """
    models = first[first["family"] != "control"]
    lost = models[models["status"].isin(FAILED) & models["value"].isna()]
    gone = set(zip(lost["dataset"], lost["model"], strict=True))
    both = models.merge(second[["cell", "value"]].rename(columns={"value": "second"}), on="cell")
    both = both.dropna(subset=["value", "second"])
    signs = (1 if first_up else -1, 1 if second_up else -1)
    rows = []
    for dataset, on_it in both.groupby("dataset", sort=False):
        groups = [
            (title, group["value"].to_numpy(), group["second"].to_numpy())
            for (model, title), group in on_it.groupby(["model", "title"], sort=False)
            if (dataset, model) not in gone
        ]
        for a, b in permutations(groups, 2):
            by_first = signs[0] * (a[1].mean() - b[1].mean())
            by_second = signs[1] * (b[2].mean() - a[2].mean())
            if by_first <= 0 or by_second <= 0:
                continue
            every = min(signs[0] * a[1]) > max(signs[0] * b[1])
            every = every and min(signs[1] * b[2]) > max(signs[1] * a[2])
            rows.append(
                (dataset, a[0], b[0], a[1].mean(), b[1].mean(), a[2].mean(), b[2].mean(), every)
            )
    columns = ["dataset", "title_a", "title_b", "first_a", "first_b", "second_a", "second_b"]
    return pd.DataFrame(rows, columns=[*columns, "every"])


def flattered(results: Results, metrics: Sequence[str]) -> pd.DataFrame:
    """Controls that a metric calls better than real training images: every run of the control ahead
    of every run of the train split, with intervals over samples apart. One row a data set, metric
    and control: dataset, metric, title (the control's), real and value (means over runs).

    results: of plain models and data (`analysis.of_suite`), as variants are not told apart.
    """
    rows = []
    for metric in metrics:
        cells = in_order(results.cells[results.cells["family"] == "control"])
        cells = cells[["cell", "dataset", "model", "title"]]
        values = cells.merge(final_rows(results.metrics, metric), on="cell")
        sign = 1 if METRICS[metric].higher_is_better else -1
        ends = np.sort(sign * values[["low", "high"]].to_numpy(), axis=1)
        values = values.assign(least=ends[:, 0], most=ends[:, 1])
        for dataset, on_it in values.groupby("dataset", sort=False):
            real = on_it[on_it["model"] == "train-split"]
            for title, control in on_it.groupby("title", sort=False):
                if control["least"].min() > real["most"].max():
                    row = (dataset, metric, title, real["value"].mean(), control["value"].mean())
                    rows.append(row)
    return pd.DataFrame(rows, columns=["dataset", "metric", "title", "real", "value"])


def space_agreement(
    results: Results, metrics: Sequence[str], other: str = "efficientnet"
) -> pd.DataFrame:
    """Kendall's tau between the classifier's space and another one, over the mean values of models
    and controls: one row a data set and metric, with `n` rows compared and `tau`, an Estimate.

    results: of plain models and data (`analysis.of_suite`), as variants are not told apart.
    """
    rows = []
    for metric in metrics:
        one = final(results, metric).rename(columns={"value": "here"})
        two = final(results, metric, space=other)[["cell", "value"]]
        both = one.merge(two, on="cell").dropna(subset=["here", "value"])
        for dataset, group in both.groupby("dataset", sort=False):
            means = group.groupby("model")[["here", "value"]].mean()
            if len(means) < 2:
                continue
            tau = rank_agreement(means["here"].to_numpy(), means["value"].to_numpy())
            rows.append({"dataset": dataset, "metric": metric, "n": len(means), "tau": tau})
    frame = pd.DataFrame(rows, columns=["dataset", "metric", "n", "tau"])
    return frame[np.array([np.isfinite(e.estimate) for e in frame["tau"]], dtype=bool)]
