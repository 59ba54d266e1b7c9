"""Plots of what metrics do: as faults grow, as copies are planted, and as samples become few."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from genbench.controls import FAULTS
from genbench.figures import axes_grid
from genbench.metrics import METRICS

# What the strength of each fault is measured in.
STRENGTHS = {
    "blur": "deviation / (width/14)",
    "noise": "deviation / grey range",
    "salt-and-pepper": "share of pixels",
    "class-drop": "share of classes",
    "copies": "share of samples",
}


def _line(ax: Axes, x: pd.Series, rows: pd.DataFrame, colour: str) -> Line2D:
    """A line with its intervals as a band."""
    low, high = rows["low"].fillna(rows["value"]), rows["high"].fillna(rows["value"])
    ax.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
    (line,) = ax.plot(x, rows["value"], color=colour, marker="o", markersize=3.5)
    return line


def fault_curves(table: pd.DataFrame, dataset: str, metrics: Sequence[str]) -> Figure:
    """Metrics (rows) against the strength of each fault (columns), with the intervals over samples
    as bands. table: of `controls.faults`."""
    seen = set(table.loc[table["dataset"] == dataset, "fault"])
    there = [fault for fault in FAULTS if fault in seen and fault != "copies"]
    fig, axes = axes_grid(
        len(metrics), len(there), 7.6 / len(there), 1.45, sharex="col", sharey="row"
    )
    for row, metric in enumerate(metrics):
        for column, fault in enumerate(there):
            ax = axes[row, column]
            chosen = (table["dataset"] == dataset) & (table["fault"] == fault)
            rows = table[chosen & (table["metric"] == metric)].sort_values("strength")
            _line(ax, rows["strength"], rows, "#2B5C8A")
            if row == 0:
                ax.set_title(fault)
            if row == len(metrics) - 1:
                ax.set_xlabel(STRENGTHS[fault], fontsize=8)
            if column == 0:
                ax.set_ylabel(METRICS[metric].title.replace(", ", "\n"), fontsize=8)
            ax.tick_params(labelsize=7)
    fig.align_ylabels()
    return fig


def dose_response(table: pd.DataFrame, dataset: str, metrics: Sequence[str]) -> Figure:
    """Measures of memorisation against the share of training images planted among fresh ones."""
    fig, axes = axes_grid(1, len(metrics), 7.6 / len(metrics), 2.6)
    for ax, metric in zip(axes[0], metrics, strict=True):
        chosen = (table["dataset"] == dataset) & (table["fault"] == "copies")
        rows = table[chosen & (table["metric"] == metric)].sort_values("strength")
        _line(ax, rows["strength"], rows, "#8A3B2B")
        ax.set(title=METRICS[metric].title.replace(", ", "\n"), xlabel=STRENGTHS["copies"])
    return fig


def against_n(table: pd.DataFrame, metrics: Sequence[str], columns: int = 3) -> Figure:
    """Metrics of one generator against the number of samples, with the intervals over samples as
    bands and a dashed line at the value of the largest number, where one without bias stays.

    table: columns metric, n_samples, value, low, high.
    """
    rows = -(-len(metrics) // columns)
    fig, axes = axes_grid(rows, columns, 7.6 / columns, 2.2)
    for ax in axes.flat[len(metrics) :]:
        ax.axis("off")
    for ax, metric in zip(axes.flat, metrics, strict=False):
        of_metric = table[table["metric"] == metric].sort_values("n_samples")
        _line(ax, of_metric["n_samples"], of_metric, "#2B5C8A")
        ax.axhline(of_metric["value"].iloc[-1], color="#888888", linewidth=0.8, linestyle="--")
        ax.set(title=METRICS[metric].title, xscale="log")
        ticks = of_metric["n_samples"]
        ax.set_xticks(ticks, [f"{int(n):,}" for n in ticks], fontsize=7, rotation=45)
        ax.minorticks_off()
    return fig
