"""Do the metrics order the controls as they must? The committed sign table, and its check."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import pandas as pd
import yaml

from genbench.metrics import METRICS
from genbench.models import MODELS
from genbench.tables import OWN_SPACE, Results, final_rows

BASELINE = "train-split"

# The faults that come in degrees, in the book's order.
FAULTS = ("blur", "noise", "salt-and-pepper", "class-drop", "copies")


def sign_table(modality: str = "images") -> pd.DataFrame:
    """Metric (rows) x control (columns): what the metric must say of the control beside the real
    train split, "worse", "lower" or "higher", or "" where the metric is blind."""
    text = (files("genbench") / "metrics" / f"controls_{modality}.yaml").read_text("utf-8")
    table = pd.DataFrame.from_dict(yaml.safe_load(text), orient="index")
    return table.reindex(columns=[name for name in MODELS if name in table]).fillna("")


def fault_table() -> pd.DataFrame:
    """Metric (rows) x fault (columns): what the metric must say as the fault grows, "worse" or
    "lower", or "" where it claims nothing."""
    text = (files("genbench") / "metrics" / "faults.yaml").read_text("utf-8")
    return pd.DataFrame.from_dict(yaml.safe_load(text), orient="index").fillna("")


def faults(results: Results) -> pd.DataFrame:
    """Every final test value of cells with a fault by degrees, in the classifier's features where
    it has any. One row a metric and cell: dataset, fault, strength, metric, value, low, high.

    Strength 0 is the mean over seeds of the plain training split; for copies, a share of 0.
    """
    cells = results.cells[results.cells["data_variant"] == ""]
    plain = cells[(cells["model"] == BASELINE) & (cells["variant"] == "")]
    rows = []
    for cell in cells.to_dict("records"):
        setting = dict(re.findall(r"(\w+)=([^,]+)", cell["variant"]))
        if cell["model"] == "distorted":
            fault, strength = setting["kind"], setting["strength"]
        elif cell["model"] == "planted":
            fault, strength = "copies", setting["share"]
        else:
            continue
        rows.append((cell["cell"], cell["dataset"], fault, float(strength)))
    faulty = pd.DataFrame(rows, columns=["cell", "dataset", "fault", "strength"])
    kinds = faulty.loc[faulty["fault"] != "copies", ["dataset", "fault"]].drop_duplicates()
    clean = plain[["cell", "dataset"]].merge(kinds, on="dataset")
    together = pd.concat([clean.assign(strength=0.0), faulty])
    measured = final_rows(results.metrics)[["cell", "metric", "value", "low", "high"]]
    values = together.merge(measured.dropna(subset=["value"]), on="cell")
    keys = ["dataset", "fault", "strength", "metric"]
    return values.groupby(keys, sort=True)[["value", "low", "high"]].mean().reset_index()


def check_faults(table: pd.DataFrame) -> pd.DataFrame:
    """The fault table against the rows of `faults`, one row a data set, metric and fault with an
    expectation: dataset, metric, fault, expected, clean and strongest (values), agrees.

    It agrees when the strongest fault is worse (lower) than none with intervals that do not meet,
    and no step to a stronger fault goes the other way by more than the intervals allow; a metric
    without values does not agree.
    """
    expectations = fault_table()
    rows = []
    for (dataset, fault), on_it in table.groupby(["dataset", "fault"]):
        for metric, expected in expectations.get(fault, pd.Series(dtype=str)).items():
            if not expected:
                continue
            group = on_it[on_it["metric"] == metric].sort_values("strength")
            up = expected == "worse" and not METRICS[str(metric)].higher_is_better
            rows.append(
                {
                    "dataset": dataset,
                    "metric": metric,
                    "fault": fault,
                    "expected": expected,
                    "clean": group["value"].iloc[0] if len(group) else np.nan,
                    "strongest": group["value"].iloc[-1] if len(group) else np.nan,
                    "agrees": _rises(group if up else _upside_down(group)),
                }
            )
    columns = ["dataset", "metric", "fault", "expected", "clean", "strongest", "agrees"]
    return pd.DataFrame(rows, columns=columns)


def _rises(group: pd.DataFrame) -> bool:
    """Whether values rise with the rows: the last clearly above the first, and no step down beyond
    the intervals. A metric without interval is exact."""
    if len(group) < 2:
        return False
    value = group["value"].to_numpy()
    low, high = (group[end].fillna(group["value"]).to_numpy() for end in ("low", "high"))
    half = (high - low) / 2
    steps = np.diff(value) >= -np.hypot(half[1:], half[:-1])
    return bool(steps.all() and low[-1] > high[0])


def _upside_down(group: pd.DataFrame) -> pd.DataFrame:
    return group.assign(value=-group["value"], low=-group["high"], high=-group["low"])


def blindness(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """What each metric (rows) was seen to do as each fault (columns) grew, in a word: "sees" where
    it moved as the fault table says, "fails" where it did not, "moves" where it claims nothing and
    the strongest fault moved it by more than the intervals, "blind" where nothing moved it, and ""
    where it was not measured."""
    verdicts = check_faults(table).set_index(["dataset", "metric", "fault"])["agrees"]
    on_it = table[table["dataset"] == dataset]
    words: dict[str, dict[str, str]] = {}
    for (metric, fault), group in on_it.groupby(["metric", "fault"]):
        group = group.sort_values("strength")
        if len(group) < 2:  # real images alone have it
            continue
        first, last = group.iloc[0], group.iloc[-1]
        agrees = verdicts.get((dataset, metric, fault))
        if agrees is None:
            apart = last["low"] > first["high"] or last["high"] < first["low"]
            word = "moves" if apart else "blind"
        else:
            word = "sees" if agrees else "fails"
        words.setdefault(str(fault), {})[str(metric)] = word
    there = {metric for column in words.values() for metric in column}
    order = [name for name in METRICS if name in there]
    columns = [name for name in FAULTS if name in words]
    return pd.DataFrame(words).reindex(index=order, columns=columns).fillna("")


def check(results: Results, modality: str = "images") -> pd.DataFrame:
    """A modality's sign table against the final test values of its controls, one row a data set,
    metric and control with an expectation.

    Columns: dataset, metric, control, expected, train_split and control_value (means over seeds),
    agrees. It agrees when every seed of the control is on the expected side of every seed of the
    train split; a control without values does not.
    """
    all_cells = results.cells
    plain = (all_cells["variant"] == "") & (all_cells["data_variant"] == "")
    controls = (all_cells["family"] == "control") & (all_cells["modality"] == modality)
    cells = all_cells[plain & controls]
    final = final_rows(results.metrics, space=OWN_SPACE[modality])
    values = cells[["cell", "dataset", "model"]].merge(final, on="cell")
    rows = []
    for dataset, on_it in values.groupby("dataset"):
        for metric, signs in sign_table(modality).iterrows():
            of_metric = on_it[on_it["metric"] == metric]
            by_model = {str(model): part["value"] for model, part in of_metric.groupby("model")}
            real = by_model.get(BASELINE, pd.Series(dtype=float))
            for control, expected in signs[signs != ""].items():
                value = by_model.get(str(control), pd.Series(dtype=float))
                higher = value.min() - real.max()
                lower = real.min() - value.max()
                worse = lower if METRICS[str(metric)].higher_is_better else higher
                gap = {"higher": higher, "lower": lower, "worse": worse}[expected]
                rows.append(
                    {
                        "dataset": dataset,
                        "metric": metric,
                        "control": control,
                        "expected": expected,
                        "train_split": real.mean(),
                        "control_value": value.mean(),
                        "agrees": bool(gap > 0),
                    }
                )
    columns = ["dataset", "metric", "control", "expected", "train_split", "control_value", "agrees"]
    return pd.DataFrame(rows, columns=columns)
