"""Two results folders side by side: what differs by more than training again from other seeds
would make it differ."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from tabulate import tabulate

from genbench.errors import UserError
from genbench.statistics import FEWEST, ROUNDING, holm, mean_interval, paired_difference
from genbench.tables import Results, altered, load, rebuilding

MODEL = ["dataset", "data_variant", "model", "variant"]
KEY = [*MODEL, "metric", "extractor"]
COLUMNS = [
    *KEY, "higher_is_better", "mean_a", "mean_b", "n_a", "n_b", "failed_a", "failed_b",
    "difference", "low", "high", "relative", "test", "p", "p_holm", "verdict", "why",
]  # fmt: skip
NUMBERS = ["mean_a", "mean_b", "difference", "low", "high", "relative", "p", "p_holm"]

Runs = tuple[int, frozenset[str]]
"""How many runs a model has, and the names of those that failed."""

# What is known of one value.
_VALUES = ["cell", "seed", "value", "metric_version", "n_samples", "higher_is_better"]
_CELLS = {"cell", "seed", "status", *MODEL}
_METRICS = {
    "cell", "fraction", "metric", "metric_version", "extractor", "split", "value", "n_samples",
    "higher_is_better",
}  # fmt: skip


def load_folder(path: Path) -> Results:
    """The results in a profile's folder, or in a folder of results that holds one profile alone.
    Raises UserError for any other, and for tables that are damaged or were changed since they were
    built."""
    try:
        folder = path.resolve(strict=True)
        if not (folder / "manifest.json").is_file():
            profiles = sorted(found.parent for found in folder.glob("*/manifest.json"))
            if len(profiles) != 1:
                names = ", ".join(profile.name for profile in profiles) or "none"
                raise UserError(
                    f"{path}: expected the results of one profile, and it holds {names}; name a "
                    "folder with a manifest.json, such as results/cpu"
                )
            (folder,) = profiles
        results = load(folder.name, folder.parent)
    # pandas' and pyarrow's errors of damaged files are ValueErrors; RuntimeError: a loop of links.
    except (OSError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise UserError(
            f"{path}: cannot be read ({said}); name a folder of results, or build its tables again"
        ) from None
    for name, table, needed in (
        ("cells", results.cells, _CELLS),
        ("metrics", results.metrics, _METRICS),
    ):
        if lacking := needed - set(table.columns):
            raise UserError(f"{folder / name}.csv lacks {', '.join(sorted(lacking))}")
    # A table that was cut at the end of a line reads well, and would be compared as if whole.
    if changed := altered(results):
        raise UserError(
            f"{folder / changed[0]}: is not what manifest.json says was built (its sha256 "
            f"differs), so it was cut or changed; {rebuilding(folder)}"
        )
    for column in ("value", "fraction", "n_samples", "metric_version"):
        numbers = pd.to_numeric(results.metrics[column], errors="coerce")
        wrong = int((results.metrics[column].notna() & ~np.isfinite(numbers)).sum())
        if wrong:
            raise UserError(f"{folder / 'metrics.csv'}: {wrong} of '{column}' are no finite number")
    return results


def compare(a: Results, b: Results, *, metrics: Iterable[str] | None = None) -> pd.DataFrame:
    """One row for each data set, model, variant, metric and extractor with a final value, on the
    test split, of each run's own samples, in `a` or `b`. metrics: names of those wanted; None for
    all.

    Columns (COLUMNS): `mean_a`, `mean_b` over the `n_a`, `n_b` seeds with a value, and how many
    runs failed; `difference` b - a with its 95% interval `low`, `high`; `relative`, the difference
    over |the mean in a of the seeds that it rests on|; two-sided `p` and, over all rows that have
    one, Holm's adjusted `p_holm`. What does not exist is NaN.

    `test` is "paired" where at least FEWEST cells of equal name are on both sides, or all that one
    side has, and the difference is then over those seeds alone; else "Welch" (unequal variances).
    Both rest on normality.

    `verdict` on b, by the interval: "better", "worse", "differs" (a metric of which neither end is
    better), "no clear difference", "cannot be judged" (values without an interval, as of one seed,
    or of fewer than FEWEST seeds), "not comparable", "only in a", "only in b"; `why` says what
    stood in the way. Many rows are judged at once, and the interval knows nothing of it: one in
    twenty without a difference is not "no clear difference". `p_holm` allows for that.

    A failed run without a value leaves no mean: one over the survivors would reward the model that
    fails most. Raises UserError for a metric that neither side has, and for rows that occur twice.
    """
    sides = {"a": a, "b": b}
    finals = {side: _final(results) for side, results in sides.items()}
    valued = {model for rows in finals.values() for model, _ in rows.groupby(MODEL)}
    if metrics is not None:
        wanted = list(metrics)
        known = set(finals["a"]["metric"]) | set(finals["b"]["metric"])
        if unknown := [name for name in wanted if name not in known]:
            raise UserError(
                f"metric '{unknown[0]}' has no value on either side; there are "
                f"{', '.join(sorted(known))}"
            )
        finals = {side: rows[rows["metric"].isin(wanted)] for side, rows in finals.items()}
    values = {side: dict(list(rows.groupby(KEY)[_VALUES])) for side, rows in finals.items()}
    nothing = pd.DataFrame(columns=_VALUES)
    runs = {side: _runs(results.cells) for side, results in sides.items()}
    extractors = {
        side: rows.groupby(KEY[:-1])["extractor"].agg(lambda x: ", ".join(sorted(set(x)))).to_dict()
        for side, rows in finals.items()
    }
    keys = set(values["a"]) | set(values["b"])
    # A model without a value is not passed over in silence: it has one row, of no metric.
    keys |= {(*model, "", "") for model in {*runs["a"], *runs["b"]} - valued}
    rows = []
    for key in sorted(keys):
        model = key[: len(MODEL)]
        row = _row(
            {side: found.get(key, nothing) for side, found in values.items()},
            {side: found.get(model, (0, frozenset())) for side, found in runs.items()},
            {side: found.get(key[:-1], "") for side, found in extractors.items()},
        )
        rows.append({**dict(zip(KEY, key, strict=True)), **row})
    table = pd.DataFrame(rows, columns=COLUMNS)
    table = table.astype(dict.fromkeys(NUMBERS, "float64"))
    tested = table["p"].notna()
    if tested.any():
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].tolist())
    return table


def _final(results: Results) -> pd.DataFrame:
    """Final test values of the runs' own samples, with what is known of their cells."""
    rows = results.metrics
    if "draw" in rows:  # and without one, as in older tables, a value is of the run's own samples
        rows = rows[rows["draw"].fillna(0) == 0]
    rows = rows[(rows["split"] == "test") & (rows["fraction"] == 1)].dropna(subset=["value"])
    twice = int(rows.duplicated(["cell", "metric", "extractor"]).sum())
    if twice:
        raise UserError(
            f"{results.folder}: {twice} final values occur twice; build its tables again"
        )
    rows = rows.merge(results.cells[["cell", "seed", *MODEL]], on="cell", validate="many_to_one")
    # Thousands of rows are taken apart by pairs, and pandas is slow with Arrow's strings then.
    return rows.astype({"cell": object})


def _runs(cells: pd.DataFrame) -> dict[tuple[Hashable, ...], Runs]:
    return {
        model: (len(group), frozenset(group.loc[group["status"] != "ok", "cell"]))
        for model, group in cells.groupby(MODEL)
    }


def _row(
    values: dict[str, pd.DataFrame], runs: dict[str, Runs], extractors: dict[str, str]
) -> dict[str, Any]:
    """What `compare` says of one metric of one model. For each side: its values, its runs, and the
    extractors with which it has the metric."""
    row: dict[str, Any] = {"test": "", "verdict": "not comparable", "why": ""}
    survivors = []
    for side in ("a", "b"):
        count, failed = runs[side]
        lost = len(failed.difference(values[side]["cell"]))
        row |= {f"n_{side}": len(values[side]), f"failed_{side}": len(failed)}
        if lost:
            survivors.append(f"{lost} failed of {count} runs in {side} left no value")
        else:
            row[f"mean_{side}"] = mean_interval(values[side]["value"].to_numpy()).estimate
    both = pd.concat([values["a"], values["b"]])
    directions = set(both["higher_is_better"].dropna())
    row["higher_is_better"] = bool(directions.pop()) if len(directions) == 1 else None
    for side, other in (("a", "b"), ("b", "a")):
        if not runs[other][0]:
            return row | {"verdict": f"only in {side}", "why": f"{other} has no such runs"}
    if survivors:
        return row | {"why": "; ".join(survivors)}
    for side, other in (("a", "b"), ("b", "a")):
        if values[other].empty and extractors[other]:
            return row | {"why": f"{other} has the extractor {extractors[other]}"}
        if values[other].empty and len(values[side]):
            return row | {"verdict": f"only in {side}", "why": f"{other}'s runs lack the metric"}
    if both.empty:
        return row | {"why": "no run has a value"}
    for column in ("metric_version", "n_samples"):
        found = sorted({f"{value:g}" for value in both[column].dropna()})
        if len(found) > 1:
            return row | {"why": f"{column} is {' and '.join(found)}"}
    return row | _difference(values["a"], values["b"], row["higher_is_better"])


def _difference(a: pd.DataFrame, b: pd.DataFrame, higher_is_better: bool | None) -> dict[str, Any]:
    """The part of a row that rests on the values of both sides, each at least one."""
    shared = set(a["cell"]) & set(b["cell"])
    # Few shared seeds of many would throw the others away, unless one side has no others.
    paired = len(shared) >= FEWEST or 0 < len(shared) == min(len(a), len(b))
    why = []
    if paired:
        if len(shared) < max(len(a), len(b)):
            why.append(f"over the {_seeds(len(shared))} that both have")
        a, b = (x[x["cell"].isin(shared)].sort_values("cell") for x in (a, b))
    x, y = a["value"].to_numpy(np.float64), b["value"].to_numpy(np.float64)
    difference = y.mean() - x.mean()
    row: dict[str, Any] = {
        "difference": difference,
        "relative": difference / abs(x.mean()) if x.mean() else math.nan,
        "verdict": "cannot be judged",
    }
    n = min(len(x), len(y))

    def because(reason: str) -> dict[str, Any]:
        return row | {"why": "; ".join([*why, reason])}

    if paired and (x == y).all():
        if n >= FEWEST:
            row |= {"low": 0.0, "high": 0.0, "p": 1.0}
            row |= {"verdict": "no clear difference", "test": "paired"}
        return because("equal" if n == 1 else "equal for every seed")
    if n < 2:
        return because("one seed gives no interval")
    least = ROUNDING * max(np.abs(x).max(), np.abs(y).max())
    if max(map(np.ptp, [y - x] if paired else [x, y])) <= least:
        return because("nothing varies over seeds, which gives no interval")
    if paired:
        seeds = a["seed"].tolist()
        estimate = paired_difference(
            dict(zip(seeds, y, strict=True)), dict(zip(seeds, x, strict=True))
        )
        low, high, p = estimate.low, estimate.high, stats.ttest_rel(y, x).pvalue
    else:
        welch = stats.ttest_ind(y, x, equal_var=False)
        (low, high), p = welch.confidence_interval(0.95), welch.pvalue
    row |= {"test": "paired" if paired else "Welch", "low": low, "high": high}
    if n < FEWEST:
        return because(f"{_seeds(n)} are too few to be tested")
    row |= {"p": p, "verdict": "no clear difference", "why": "; ".join(why)}
    if low > 0 or high < 0:
        better = "better" if (low > 0) == higher_is_better else "worse"
        row["verdict"] = "differs" if higher_is_better is None else better
    return row


def _seeds(n: int) -> str:
    return "one seed" if n == 1 else f"{n} seeds"


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `compare`, for JSON: None in place of NaN."""
    rows = table.astype(object).where(table.notna(), None).itertuples(index=False)
    return [dict(zip(table.columns, row, strict=True)) for row in rows]


def format_table(table: pd.DataFrame) -> str:
    """The rows of `compare` that both sides have as text, and below them how many there are of
    each verdict. What one side alone has is counted there, and listed by `to_records`."""
    if table.empty:
        return "neither side has runs"
    both = table[~table["verdict"].isin(["only in a", "only in b"])]

    def text(value: Any, form: str = ".4g") -> str:
        return "" if pd.isna(value) else format(value, form)

    lines = [
        {
            "data": " ".join(filter(None, (row["dataset"], row["data_variant"]))),
            "model": " ".join(filter(None, (row["model"], row["variant"]))),
            "metric": row["metric"],
            "extractor": row["extractor"],
            "a": text(row["mean_a"]),
            "b": text(row["mean_b"]),
            "seeds": f"{row['n_a']}, {row['n_b']}",
            "failed": f"{row['failed_a']}, {row['failed_b']}",
            "b - a": text(row["difference"], "+.4g"),
            "95% interval": f"{text(row['low'], '+.3g')} to {text(row['high'], '+.3g')}"
            if pd.notna(row["low"])
            else "",
            "relative": text(row["relative"], "+.1%"),
            "p, Holm": text(row["p_holm"], ".2g"),
            "b is": ": ".join(filter(None, (row["verdict"], row["why"]))),
        }
        for row in to_records(both)
    ]
    counts = table["verdict"].value_counts()
    closing = ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts.index))
    clear = int((table["p_holm"] < 0.05).sum())
    body = tabulate(lines, headers="keys", disable_numparse=True)
    closing = f"{len(table)} rows: {closing}; {clear} with p < 0.05 by Holm's correction"
    if len(both) < len(table):
        closing += "; --json lists those on one side alone"
    return f"{body}\n{closing}" if lines else closing
