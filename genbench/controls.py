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
    """The sign table against the final test values of the controls, one row a data set, metric
    and control with an expectation.

    Columns: dataset, metric, control, expected, train_split and control_value (means over seeds),
    agrees. It agrees when every seed of the control is worse than every seed of the train split;
    a control without values does not.
    """
    plain = (results.cells["variant"] == "") & (results.cells["data_variant"] == "")
    cells = results.cells[plain & (results.cells["family"] == "control")]
    final = results.metrics[results.metrics["split"] == "test"]
    values = cells[["cell", "dataset", "model"]].merge(final, on="cell")
    rows = []
    for dataset, on_it in values.groupby("dataset"):
        for metric, controls in sign_table().iterrows():
            of_metric = on_it[on_it["metric"] == metric]
            by_model = {str(model): part["value"] for model, part in of_metric.groupby("model")}
            real = by_model.get(BASELINE, pd.Series(dtype=float))
            for control in controls.index[controls == "worse"]:
                value = by_model.get(control, pd.Series(dtype=float))
                gap = value.min() - real.max()
                if METRICS[str(metric)].higher_is_better:
                    gap = real.min() - value.max()
                rows.append(
                    {
                        "dataset": dataset,
                        "metric": metric,
                        "control": control,
                        "expected": "worse",
                        "train_split": real.mean(),
                        "control_value": value.mean(),
                        "agrees": bool(gap > 0),
                    }
                )
    columns = ["dataset", "metric", "control", "expected", "train_split", "control_value", "agrees"]
    return pd.DataFrame(rows, columns=columns)
