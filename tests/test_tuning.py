"""Pilot runs: what is chosen follows from the committed records by the declared rule."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from genbench import tables, tuning
from genbench.suite import load_profiles, load_suites
from genbench.tables import CELLS, COSTS, CURVES, METRICS, Results

ROOT = Path(__file__).parents[1]


def results(*pilots: tuple[str, str, str, float | None]) -> Results:
    cells = [
        {"cell": f"{model}[{variant}]", "suite": "tuning", "model": model, "variant": variant,
         "status": status}
        for model, variant, status, _ in pilots
    ]  # fmt: skip
    values = [
        {"cell": f"{model}[{variant}]", "metric": "fd", "split": split, "fraction": 1.0, "draw": 0,
         "extractor": "classifier-x", "value": value if split == "validation" else -1.0}
        for model, variant, _, value in pilots
        for split in ("validation", "test")
    ]  # fmt: skip
    return Results(
        profile="cpu",
        cells=pd.DataFrame(cells, columns=CELLS),
        metrics=pd.DataFrame(values, columns=METRICS),
        costs=pd.DataFrame(columns=COSTS),
        curves=pd.DataFrame(columns=CURVES),
        manifest={},
        folder=Path(),
    )


def test_the_lowest_on_validation_is_chosen_of_those_that_did_not_fail():
    found = tuning.chosen(
        results(
            ("dcgan", "beta1=0.5,budget=0.25,learning_rate=0.0001", "ok", 4.0),
            ("dcgan", "beta1=0,budget=0.25,learning_rate=5e-05", "ok", 3.0),
            ("dcgan", "beta1=0,budget=0.25,learning_rate=0.01", "collapsed", 1.0),
            ("vae", "budget=0.25,latent=8", "diverged", None),
            ("gpt", "budget=0.25,kind=wide", "ok", 2.0),
        )
    )
    assert found == {"dcgan": {"beta1": 0, "learning_rate": 5e-05}, "gpt": {"kind": "wide"}}


@pytest.mark.parametrize("modality", tuning.SUITES)
def test_every_trained_model_of_the_grid_has_equally_many_pilots(modality):
    profile = load_profiles()["cpu"]
    (grid,), (pilots,) = load_suites(modality), load_suites(tuning.SUITES[modality])
    tuned = pd.Series([cell.model.name for cell in pilots.cells(profile)]).value_counts()
    trained = {cell.model.name for cell in grid.cells(profile) if not cell.is_control}
    assert set(tuned.index) == trained
    assert set(tuned) == {6}
    assert all(cell.seed == 0 for cell in pilots.cells(profile))
    assert {cell.evaluation.spaces for cell in pilots.cells(profile)} == {
        (tables.OWN_SPACE[modality],)
    }


@pytest.mark.parametrize("modality", tuning.SUITES)
def test_the_profile_holds_what_the_committed_pilots_say(modality):
    results, profile = tables.load("cpu", ROOT / "results"), load_profiles()["cpu"]
    recorded = set(tuning.pilots(results, modality)["cell"])
    wanted: dict[str, set[str]] = {}
    for suite in load_suites(tuning.SUITES[modality]):
        for cell in suite.cells(profile):
            wanted.setdefault(cell.model.name, set()).add(cell.name)
    whole = {model for model, cells in wanted.items() if cells <= recorded}
    assert whole
    chosen = tuning.chosen(results, modality)
    for model in whole & set(chosen):
        tuned = getattr(profile, modality).models[model]
        assert {name: tuned[name] for name in chosen[model]} == chosen[model]
