"""What the plots of metrics show: the table's own numbers, each in the panel it belongs to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import svg
from matplotlib import pyplot as plt

from genbench import figures
from genbench.controls import FAULTS
from genbench.metric_figures import STRENGTHS, against_n, dose_response, fault_curves
from genbench.metrics import METRICS

# Out of order, and each with its own band: (strength, value, low, high).
BLUR = {
    "fd": [(1.0, 9.0, 8.5, 9.75), (0.0, 1.0, 0.5, 1.25), (0.5, 3.0, 2.0, 5.0)],
    "recall": [(1.0, 0.25, 0.125, 0.5), (0.0, 0.75, 0.5, 1.0), (0.5, 0.5, 0.25, 0.625)],
}
NOISE = {
    "fd": [(0.2, 4.0, 3.5, 4.5), (0.0, 1.0, 0.75, 1.5)],
    "recall": [(0.2, 0.625, 0.5, 0.75), (0.0, 0.75, 0.625, 1.0)],
}
COPIES = {
    "authenticity": [(0.5, 0.25, 0.125, 0.5), (0.0, 0.5, 0.375, 0.75)],
    "fd": [(0.5, 1.5, 1.0, 2.0), (0.0, 1.25, 1.0, 1.5)],
}


def of_fault(fault, points, dataset="mnist"):
    """Rows as `controls.faults` has them."""
    return pd.DataFrame(
        [
            {"dataset": dataset, "fault": fault, "strength": x, "metric": metric,
             "value": value, "low": low, "high": high}
            for metric, four in points.items()
            for x, value, low, high in four
        ]
    )  # fmt: skip


@pytest.fixture
def faults():
    elsewhere = {metric: [(0.0, 77.0, 76.0, 78.0), (1.0, 88.0, 87.0, 89.0)] for metric in BLUR}
    return pd.concat(
        [
            of_fault("copies", COPIES),
            of_fault("noise", NOISE),
            of_fault("blur", BLUR),
            of_fault("blur", elsewhere, dataset="digits"),
            of_fault("copies", elsewhere, dataset="digits"),
        ],
        ignore_index=True,
    )


def panels(fig) -> list:
    """The axes that are shown, row by row."""
    return [ax for ax in fig.axes if ax.axison]


def curves(ax) -> list[list[tuple[float, ...]]]:
    """What each line with a band shows: (x, value, low, high) from left to right."""
    found = []
    for line, band in zip(ax.lines, ax.collections, strict=False):
        assert line.get_color() == plt.matplotlib.colors.to_hex(band.get_facecolor()[0]).upper()
        corners = np.concatenate([path.vertices for path in band.get_paths()])
        points = []
        for x, value in zip(line.get_xdata(), line.get_ydata(), strict=True):
            ends = corners[corners[:, 0] == x][:, 1]
            points.append((x, value, ends.min(), ends.max()))
        assert {corner[0] for corner in corners} == {point[0] for point in points}
        found.append(points)
    return found


def test_a_fault_is_a_column_a_metric_a_row_and_each_panel_has_the_tables_numbers(faults):
    axes = panels(fault_curves(faults, "mnist", ["fd", "recall"]))
    assert len(axes) == 4
    expected = [points[metric] for metric in ("fd", "recall") for points in (BLUR, NOISE)]
    for ax, points in zip(axes, expected, strict=True):
        assert curves(ax) == [sorted(points)]


def test_rows_and_columns_say_what_they_are(faults):
    top_left, top_right, low_left, low_right = panels(
        fault_curves(faults, "mnist", ["mmd_rbf", "fd_infinity"])
    )
    # The book's order of faults, whatever the table's; copies have a figure of their own.
    assert (top_left.get_title(), top_right.get_title()) == ("blur", "noise")
    assert (low_left.get_xlabel(), low_right.get_xlabel()) == (
        STRENGTHS["blur"],
        STRENGTHS["noise"],
    )
    assert top_left.get_ylabel() == METRICS["mmd_rbf"].title
    assert low_left.get_ylabel() == METRICS["fd_infinity"].title.replace(", ", "\n")
    assert [ax.get_ylabel() for ax in (top_right, low_right)] == ["", ""]
    assert [ax.get_xlabel() for ax in (top_left, top_right)] == ["", ""]


def test_every_fault_has_a_unit_of_strength():
    assert set(STRENGTHS) == set(FAULTS)


def test_where_there_is_no_interval_the_band_closes(faults):
    faults[["low", "high"]] = np.nan
    first = panels(fault_curves(faults, "mnist", ["fd"]))[0]
    assert curves(first) == [[(x, value, value, value) for x, value, *_ in sorted(BLUR["fd"])]]


def test_a_dose_is_the_share_of_copies_and_each_measure_has_a_panel(faults):
    first, second = panels(dose_response(faults, "mnist", ["authenticity", "fd"]))
    assert curves(first) == [sorted(COPIES["authenticity"])]
    assert curves(second) == [sorted(COPIES["fd"])]
    assert (first.get_title(), second.get_title()) == ("Authenticity", "FD")
    assert first.get_xlabel() == second.get_xlabel() == STRENGTHS["copies"]


# Against the number of samples


def sized(points, metric="fd"):
    """Rows from (n_samples, value, low, high)."""
    rows = pd.DataFrame(points, columns=["n_samples", "value", "low", "high"])
    return rows.assign(metric=metric)


FEW = [(4000, 2.0, 1.0, 3.0), (1000, 8.0, 6.0, 10.0), (2000, 4.0, 3.0, 5.0)]
BELOW_0 = [(1000, 0.5, 0.25, 0.75), (4000, -0.125, -0.25, 0.25)]


def test_each_metric_has_a_panel_with_its_numbers_and_spare_ones_are_blank():
    table = pd.concat([sized(FEW), sized(BELOW_0, "kid"), sized(FEW[:2], "recall")])
    fig = against_n(table, ["recall", "fd", "kid"], columns=2)
    assert len(fig.axes) == 4
    axes = panels(fig)
    assert [ax.get_title() for ax in axes] == ["Recall", "FD", "KID"]
    assert [curves(ax) for ax in axes] == [[sorted(FEW[:2])], [sorted(FEW)], [BELOW_0]]


@pytest.mark.parametrize(("points", "last"), [(FEW, 2.0), (BELOW_0, -0.125)])
def test_a_dashed_line_is_at_the_value_of_the_most_samples(points, last):
    (ax,) = panels(against_n(sized(points), ["fd"], columns=1))
    _, level = ax.lines
    assert list(level.get_ydata()) == [last, last]
    assert level.get_linestyle() == "--"


def test_ticks_are_the_numbers_of_samples():
    (ax,) = panels(against_n(sized(FEW), ["fd"], columns=1))
    assert ax.get_xscale() == "log"
    assert ax.get_xticks().tolist() == [1000, 2000, 4000]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1,000", "2,000", "4,000"]


def test_every_drawing_is_the_same_bytes_each_time(faults):
    figures.style()
    for draw in (
        lambda: fault_curves(faults, "mnist", ["fd", "recall"]),
        lambda: dose_response(faults, "mnist", ["authenticity"]),
        lambda: against_n(sized(FEW), ["fd"]),
    ):
        assert svg(draw) == svg(draw)
