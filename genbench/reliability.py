"""What the tables say of the measurements themselves: whether intervals over samples keep their
word, what of a difference is training and what is sampling, and whether feature spaces agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from genbench.analysis import final, in_order
from genbench.metrics import METRICS
from genbench.metrics.measured import Z
from genbench.statistics import Estimate, rank_agreement, variance_components
from genbench.tables import Results


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
    seed and from drawing finitely many samples, `share`, training's part of the variance, and
    `flag` where its estimate was negative.

    results: of plain models and data (`analysis.of_suite`), as variants are not told apart.
    """
    rows = []
    table = draws(results)
    table = table[table["metric"] == metric]
    for (dataset, model, title), group in table.groupby(["dataset", "model", "title"], sort=False):
        values = [part["value"].to_numpy() for _, part in group.groupby("seed")]
        if len(values) < 2 or sum(map(len, values)) <= len(values):
            continue
        seed, sampling = variance_components(values)
        total = seed.variance + sampling.variance
        rows.append(
            {
                "dataset": dataset,
                "model": model,
                "title": title,
                "training": math.sqrt(seed.variance),
                "sampling": math.sqrt(sampling.variance),
                "share": seed.variance / total if total else math.nan,
                "flag": seed.flag,
            }
        )
    columns = ["dataset", "model", "title", "training", "sampling", "share", "flag"]
    return pd.DataFrame(rows, columns=columns)


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
