"""results/README.md documents what the tables hold: no column or cost more, none less."""

import re
from pathlib import Path

import pytest

from genbench import tables
from genbench.cost import Usage
from genbench.engines.local import costs
from genbench.evaluation import Evaluation
from genbench.metrics import METRICS
from genbench.sampling import Sampling
from genbench.training import Training

README = Path(__file__).parents[1] / "results" / "README.md"


def documented(heading: str) -> set[str]:
    """Names set as code in the first column of the tables under a heading."""
    section = re.split(r"^## ", README.read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(heading)]
    cells = re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("cells.csv", tables.CELLS),
        ("curves.parquet", tables.CURVES),
        ("benchmarks/*.csv", tables.BENCHMARKS),
    ],
)
def test_every_column_is_documented(heading, columns):
    assert documented(heading) == set(columns)


def test_every_metric_and_column_of_metrics_is_documented():
    assert documented("metrics.csv") == {*tables.METRICS, *METRICS}


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_documented_as_they_are_declared(name):
    info = METRICS[name]
    (line,) = [
        row
        for row in README.read_text("utf-8").splitlines()
        if re.match(rf"\| .*`{name}`.* \|.*\|.*\|.*\|", row)
    ]
    _, unit, better, over, _ = (cell.strip() for cell in line.strip("|").split("|"))
    assert better == {True: "higher", False: "lower", None: "neither"}[info.higher_is_better]
    assert over == (info.interval or "none")
    assert unit == info.unit or info.unit.split()[-1] in unit


def test_every_cost_is_documented(make_cell):
    cell = make_cell("vae")
    usage = Usage(2.0, 1.0, 0.5, 100)
    curves = [{"criterion": 1.0}]  # of a run that may stop early, which has all costs
    training = Training("ok", "", 10, 640, 1000, 50, [1.0], {}, usage, curves, {})
    rows = costs(
        cell,
        training,
        Sampling(100, 10, usage, 2.0),
        Evaluation("ok", "", [], 1.0),
        "cpu",
        1e11,
    )
    assert documented("costs.csv") == {row["cost"] for row in rows}


def test_rates_are_per_second_of_work(make_cell):
    cell = make_cell("vae")
    usage = Usage(seconds=100.0, cpu_seconds=8.0 * cell.train.threads)
    training = Training("ok", "", 10, 640, 1000, 50, [1.0], {}, usage, [], {})
    by_device = {
        device: {
            row["cost"]: row["value"]
            for row in costs(cell, training, None, Evaluation("ok", "", [], 1.0), device, 1e3)
        }
        for device in ("cpu", "cuda")
    }
    assert by_device["cpu"]["examples_per_second"] == 640 / 8
    assert by_device["cuda"]["examples_per_second"] == 640 / 100
    assert by_device["cpu"]["utilisation"] == 1000 / 8 / 1e3
