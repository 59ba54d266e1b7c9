"""The sign table of controls, and its check against results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from genbench import controls
from genbench.metrics import IMAGE_METRICS as METRICS
from genbench.models import MODELS
from genbench.tables import CELLS, COSTS, CURVES, Results, load
from genbench.tables import METRICS as COLUMNS

REPOSITORY = Path(__file__).parents[1]


def results(values: dict[str, tuple[float, ...]], metric: str = "fd") -> Results:
    """Tables in which each control has a metric's final test value, a seed each."""
    cells, metrics = [], []
    for model, seeds in values.items():
        for seed, value in enumerate(seeds):
            name = f"images/digits/{model}/s{seed}"
            cells.append(
                {
                    "cell": name,
                    "modality": "images",
                    "dataset": "digits",
                    "model": model,
                    "seed": seed,
                    "family": "control",
                    "variant": "",
                    "data_variant": "",
                }
            )
            metrics.append({"cell": name, "metric": metric, "split": "test", "fraction": 1.0,
                            "extractor": "", "draw": 0, "value": value})  # fmt: skip
    return Results(
        profile="smoke",
        cells=pd.DataFrame(cells, columns=CELLS),
        metrics=pd.DataFrame(metrics, columns=COLUMNS),
        costs=pd.DataFrame(columns=COSTS),
        curves=pd.DataFrame(columns=CURVES),
        manifest={},
        folder=Path(),
    )


def test_the_table_speaks_of_metrics_and_controls_there_are():
    table = controls.sign_table()
    assert set(table.index) <= set(METRICS)
    family = {
        name for name, info in MODELS.items()
        if info.family == "control" and "images" in info.modalities
    }  # fmt: skip
    assert set(table.columns) == family - {
        "train-split",
        "distorted",
        "planted",
        "gaussian-mixture",
    }
    assert set(table.to_numpy().ravel()) == {"worse", ""}
    # Every metric objects to something, and every control is objected to.
    assert ((table == "worse").sum(axis=1) > 0).all()
    assert ((table == "worse").sum(axis=0) > 0).all()
    silent = {"distance_ratio", "authenticity", "ct"}  # of memory: the fault table has them
    judged = {
        name for name in METRICS if METRICS[name].needs not in ("likelihood", "reconstruction")
    }
    assert judged - silent - {"augmentation_gain_100"} == set(table.index)


def test_the_fault_table_speaks_of_metrics_and_faults_there_are():
    table = controls.fault_table()
    assert set(table.index) <= set(METRICS)
    assert set(table.columns) == set(controls.FAULTS)
    assert set(table.to_numpy().ravel()) == {"worse", "lower", ""}
    assert (table != "").any(axis=0).all()


def degrees(values, metric="fd", half=0.1, fault="blur"):
    """What `faults` gives of a metric at rising strengths."""
    return pd.DataFrame(
        [
            {"dataset": "digits", "fault": fault, "strength": float(i), "metric": metric,
             "value": value, "low": value - half, "high": value + half}
            for i, value in enumerate(values)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "metric", "fault", "agrees"),
    [
        ([1.0, 2.0, 3.0], "fd", "blur", True),
        ([1.0, 0.95, 3.0], "fd", "blur", True),  # back by less than the intervals
        ([1.0, 0.5, 3.0], "fd", "blur", False),  # back by more
        ([1.0, 1.05, 1.1], "fd", "blur", False),  # too little
        ([3.0, 2.0, 1.0], "fd", "blur", False),  # the wrong way
        ([0.9, 0.5, 0.1], "precision", "noise", True),
        ([0.1, 0.5, 0.9], "precision", "noise", False),
        ([0.9, 0.5, 0.1], "authenticity", "copies", True),
    ],
)
def test_a_fault_must_be_seen_to_grow(values, metric, fault, agrees):
    checked = controls.check_faults(degrees(values, metric, fault=fault))
    (row,) = checked[checked["metric"] == metric].to_dict("records")
    assert row["agrees"] is agrees
    assert (row["clean"], row["strongest"]) == (values[0], values[-1])


def test_a_claim_without_values_fails():
    checked = controls.check_faults(degrees([1.0, 3.0])).set_index("metric")["agrees"]
    claims = controls.fault_table()["blur"]
    assert set(checked.index) == set(claims.index[claims != ""])
    assert checked["fd"]
    assert not checked.drop("fd").any()


def test_faults_are_checked_on_the_data_sets_that_have_them():
    tables = results({"train-split": (1.0, 3.0), "distorted": (5.0,)})
    cells = tables.cells
    cells.loc[cells["model"] == "distorted", "variant"] = "kind=blur,strength=0.5"
    other = cells[cells["model"] == "train-split"].assign(dataset="another")
    metrics = tables.metrics.merge(other[["cell"]], on="cell")
    other, metrics = (frame.assign(cell="another/" + frame["cell"]) for frame in (other, metrics))
    both = replace(
        tables,
        cells=pd.concat([cells, other]),
        metrics=pd.concat([tables.metrics, metrics]),
    )
    assert "another" not in set(controls.faults(both)["dataset"])


def test_what_is_claimed_and_what_is_seen_are_put_in_words():
    table = pd.concat(
        [
            degrees([1.0, 3.0]),
            degrees([3.0, 1.0], fault="noise"),
            degrees([0.9, 0.5], "recall", fault="class-drop"),
            degrees([0.9, 0.9], "recall", fault="noise"),
        ]
    )
    words = controls.blindness(table, "digits")
    assert words.loc["fd", ["blur", "noise"]].tolist() == ["sees", "fails"]
    assert words.loc["recall", ["class-drop", "noise"]].tolist() == ["moves", "blind"]
    assert words.loc["recall", "blur"] == ""


def test_faults_are_read_off_variants_and_start_from_plain_training_images():
    tables = results({"train-split": (1.0, 3.0), "distorted": (5.0,), "planted": (7.0,)})
    cells = tables.cells
    cells.loc[cells["model"] == "distorted", "variant"] = "kind=blur,strength=0.5"
    cells.loc[cells["model"] == "planted", "variant"] = "share=0.25"
    found = controls.faults(replace(tables, cells=cells))
    rows = {(r["fault"], r["strength"]): r["value"] for r in found.to_dict("records")}
    assert rows == {("blur", 0.0): 2.0, ("blur", 0.5): 5.0, ("copies", 0.25): 7.0}


def verdicts(found: pd.DataFrame, metric="fd"):
    return dict(found[found["metric"] == metric].set_index("control")["agrees"])


def check(values, metric="fd"):
    return verdicts(controls.check(results(values, metric)), metric)


def test_a_control_must_be_worse_with_every_seed():
    assert check({"train-split": (1.0, 2.0), "noise": (3.0, 4.0)})["noise"]
    assert not check({"train-split": (1.0, 2.0), "noise": (1.5, 4.0)})["noise"]
    assert not check({"train-split": (1.0, 2.0), "noise": (2.0, 4.0)})["noise"]


def test_worse_is_lower_where_higher_is_better():
    assert check({"train-split": (0.9,), "noise": (0.1,)}, "recall")["noise"]
    assert not check({"train-split": (0.1,), "noise": (0.9,)}, "recall")["noise"]


def test_lower_and_higher_are_sides_of_a_metric_without_a_better_end():
    tables = results({"train-split": (2.0, 3.0), "ngram": (4.0, 5.0), "copier": (1.0, 1.5)},
                     "distinct_1")  # fmt: skip
    as_text = replace(tables, cells=tables.cells.assign(modality="text"))
    found = verdicts(controls.check(as_text, "text"), "distinct_1")
    assert found["ngram"]  # expected to be higher
    assert found["copier"]  # lower
    turned = results({"train-split": (2.0, 3.0), "ngram": (1.0, 2.5), "copier": (1.0, 2.5)},
                     "distinct_1")  # fmt: skip
    as_text = replace(turned, cells=turned.cells.assign(modality="text"))
    assert not any(verdicts(controls.check(as_text, "text"), "distinct_1").values())


def test_what_a_metric_is_blind_to_is_not_judged():
    found = check({"train-split": (0.9,), "noise": (0.99,), "blurred": (0.1,)}, "precision")
    assert "noise" not in found
    assert found["blurred"]


def test_what_has_no_value_does_not_agree():
    assert not check({"noise": (9.0,)})["noise"]
    assert not check({"train-split": (1.0,)})["noise"]


def test_variants_and_models_of_like_name_are_left_out():
    tables = results({"train-split": (1.0, 2.0), "noise": (3.0, 1.5)})
    assert not verdicts(controls.check(tables))["noise"]
    for column, other in (("data_variant", "fraction=0.1"), ("variant", "kept=9"),
                          ("family", "gan")):  # fmt: skip
        cells = tables.cells.copy()
        cells.loc[cells["cell"] == "images/digits/noise/s1", column] = other
        assert verdicts(controls.check(replace(tables, cells=cells)))["noise"]


@pytest.mark.skipif(
    not (REPOSITORY / "results" / "cpu" / "manifest.json").is_file(),
    reason="results/cpu is not in this clone",
)
def test_committed_controls_agree_with_the_table():
    committed = controls.check(load("cpu", REPOSITORY / "results"))
    wrong = committed[~committed["agrees"]]
    assert wrong.empty, wrong.to_string()
