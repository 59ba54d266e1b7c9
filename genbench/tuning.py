"""What the pilot runs say: each model's settings, by the rule that the suites of pilots declare."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import pandas as pd

from genbench.analysis import FAILED
from genbench.suite import Scalar
from genbench.tables import OWN_SPACE, Results, final_rows

SUITES = {"images": "tuning", "text": "tuning-text", "music": "tuning-music"}
"""Modality -> the suite of its pilots."""


def settings(variant: str) -> dict[str, Scalar]:
    """A model's settings from the variant of a pilot's name, such as
    "beta1=0.5,budget=0.25,learning_rate=0.0005": all but the budget."""
    pairs = (part.split("=", 1) for part in variant.split(","))
    return {name: _value(text) for name, text in pairs if name != "budget"}


def _value(text: str) -> Scalar:
    try:
        value: Scalar = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value


def pilots(results: Results, modality: str = "images") -> pd.DataFrame:
    """Every pilot run of a modality, one a row, in the order of their cells' names: model, variant,
    status, and `value`, the final FD in the modality's space against the validation split; NaN for
    a run without one."""
    cells = results.cells
    member = cells["suite"].str.split("+").map(lambda names: SUITES[modality] in names)
    values = final_rows(results.metrics, "fd", "validation", OWN_SPACE[modality])[["cell", "value"]]
    table = cells[member & cells["variant"].ne("")].merge(values, on="cell", how="left")
    return table[["cell", "model", "variant", "status", "value"]].reset_index(drop=True)


def chosen(results: Results, modality: str = "images") -> Mapping[str, dict[str, Scalar]]:
    """Model -> the settings of the pilot with the lowest value among those that did not fail; a
    model whose pilots all failed is left out."""
    table = pilots(results, modality)
    good = table[~table["status"].isin(FAILED)].dropna(subset=["value"])
    best = good.loc[good.groupby("model")["value"].idxmin()]
    return {row["model"]: settings(row["variant"]) for row in best.to_dict("records")}
