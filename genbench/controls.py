"""Do the metrics order the controls as they must? The committed sign table, and its check."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd
import yaml

from genbench.metrics import METRICS
from genbench.models import MODELS
from genbench.tables import Results

BASELINE = "train-split"


def sign_table() -> pd.DataFrame:
    """Metric (rows) x control (columns): "worse" than the real train split, or "" where the
    metric is blind."""
    text = (files("genbench") / "metrics" / "controls.yaml").read_text("utf-8")
    controls = [name for name, info in MODELS.items() if info.family == "control"]
    columns = [name for name in controls if name != BASELINE]
    table = pd.DataFrame.from_dict(yaml.safe_load(text), orient="index")
    return table.reindex(columns=columns).fillna("")


def check(results: Results) -> pd.DataFrame:
    """The sign table against the final test values, one row a data set, metric and control with
    an expectation.

    Columns: dataset, metric, control, expected, train_split and control_value (means over seeds),
    agrees. It agrees when every seed of the control is worse than every seed of the train split.
    """
    final = results.metrics[(results.metrics["split"] == "test") & results.metrics["value"].notna()]
    values = final.merge(results.cells[["cell", "dataset", "model"]], on="cell")
    table = sign_table()
    rows = []
    for (dataset, metric), group in values.groupby(["dataset", "metric"]):
        by_model = {str(model): part["value"] for model, part in group.groupby("model")}
        if metric not in table.index or BASELINE not in by_model:
            continue
        real = by_model[BASELINE]
        for control in table.columns:
            if table.at[metric, control] != "worse" or control not in by_model:
                continue
            value = by_model[control]
            if METRICS[str(metric)].higher_is_better:
                agrees = value.max() < real.min()
            else:
                agrees = value.min() > real.max()
            rows.append(
                {
                    "dataset": dataset,
                    "metric": metric,
                    "control": control,
                    "expected": "worse",
                    "train_split": real.mean(),
                    "control_value": value.mean(),
                    "agrees": bool(agrees),
                }
            )
    columns = ["dataset", "metric", "control", "expected", "train_split", "control_value", "agrees"]
    return pd.DataFrame(rows, columns=columns)
