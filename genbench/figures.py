"""The plots that chapters share. One look, the same bytes on every run, one colour a family.

Every function takes results (or a live run) and returns a figure; `prose.Picture` shows it with
caption, alt text and provenance.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, NullFormatter

from genbench.analysis import final, in_order, progress
from genbench.models import MODELS
from genbench.previews import preview_paths
from genbench.prose import dataset_title
from genbench.statistics import Bands, mean_interval
from genbench.tables import Results

if TYPE_CHECKING:  # it brings torch, which most chapters do without
    from genbench.live import LiveRun

# Okabe and Ito's palette: told apart with every common colour vision, and in this order by
# lightness too. A family has its colour everywhere.
COLOURS = {
    "gan": "#0072B2",
    "vae": "#D55E00",
    "transformer": "#009E73",
    "recurrent": "#E69F00",
    "diffusion": "#CC79A7",
    "control": "#6E6E6E",
}
# Models of one family differ by dash and marker.
DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "D", "^", "v", "P")
FAMILY_TITLES = {
    "gan": "GANs",
    "vae": "VAEs",
    "transformer": "Transformers",
    "recurrent": "Recurrent",
    "diffusion": "Diffusion",
    "control": "Controls",
}

AXES = {
    "train_flops": "training FLOPs",
    "examples": "images seen (repeats included)",
    "seconds": "seconds of work on training",
}


def style() -> None:
    """One look for every figure of a chapter: call it once, before the first plot."""
    # A library's wish for a widget has no place on a page, and fails its build.
    warnings.filterwarnings("ignore", message="IProgress not found")
    sns.set_theme(style="ticks", context="notebook", palette=list(COLOURS.values()))
    mpl.rcParams.update(
        {
            "figure.figsize": (7.2, 4.0),
            "figure.constrained_layout.use": True,
            "svg.fonttype": "path",
            "svg.hashsalt": "genbench",
            "font.family": ["DejaVu Sans"],
            "font.size": 10,
            "axes.labelsize": 10,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": "#444444",
            "grid.color": "#E3E3E3",
            "grid.linewidth": 0.8,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "axes.formatter.use_mathtext": True,
            "figure.max_open_warning": 0,
        }
    )


def look(model: str) -> dict[str, Any]:
    """Colour, dash and marker of a model: its family's colour, its own rank in the family."""
    family = MODELS[model].family
    rank = [name for name, info in MODELS.items() if info.family == family].index(model)
    return {
        "color": COLOURS[family],
        "linestyle": DASHES[rank % len(DASHES)],
        "marker": MARKERS[rank % len(MARKERS)],
    }


def axes_grid(rows: int, columns: int, width: float, height: float, **kwargs: Any) -> Any:
    """A figure and its axes, always as an array of two dimensions."""
    return plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, **kwargs
    )


def datasets(results: Results) -> list[str]:
    """The data sets there are, in the book's order."""
    return list(dict.fromkeys(in_order(results.cells)["dataset"]))


def models(results: Results, *, controls: bool = False) -> list[str]:
    """The models there are, in the register's order."""
    cells = in_order(results.cells)
    chosen = cells if controls else cells[cells["family"] != "control"]
    there = set(chosen["model"])
    return [name for name in MODELS if name in there]


def sample_grid(
    results: Results, dataset: str, names: Sequence[str], *, columns: int = 3
) -> Figure:
    """Samples of models on one data set, as the run with seed 0 drew them: its first 64, not
    chosen.

    A model without samples keeps its place and says why.
    """
    cells = in_order(results.cells)
    cells = cells[(cells["dataset"] == dataset) & (cells["seed"] == 0)]
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    side = 7.2 / max(columns, 2)
    fig, axes = axes_grid(rows, columns, side, side + 0.3)
    for ax in axes.flat:
        ax.axis("off")
    for ax, name in zip(axes.flat, names, strict=False):
        title = textwrap.fill(MODELS[name].title, 24)
        ax.set_title(title, color=COLOURS[MODELS[name].family], fontsize=10)
        row = cells[cells["model"] == name]
        path = None
        if len(row):
            path, *_ = preview_paths(results.folder, row.iloc[0]["cell"])
        if path is not None and path.is_file():
            ax.imshow(plt.imread(path), cmap="gray", vmin=0, vmax=1, interpolation="none")
        else:
            why = "not run" if row.empty else f"no samples: {row.iloc[0]['status']}"
            ax.text(0.5, 0.5, why, ha="center", va="center", transform=ax.transAxes)
    return fig


def quality_versus_compute(
    results: Results,
    dataset: str,
    *,
    metric: str = "fd",
    label: str = "FD",
    against: str = "train_flops",
    space: str = "classifier",
    dotted: str = "pixel-gaussian",
) -> Figure:
    """A metric on validation against what had been spent on one data set, one panel a family: lines
    are means over seeds, bands their 95% t intervals, pale lines the other families' models. Dashed
    is the real training split, dotted the control of that name.

    against: a key of AXES. space: the feature space, for a metric that has one.
    """
    table = progress(results, metric, space)
    table = table[table["dataset"] == dataset]
    controls = final(results, metric, "validation", space)
    controls = controls[controls["dataset"] == dataset]
    there = [name for name in models(results) if name in set(table["model"])]
    families = list(dict.fromkeys(MODELS[name].family for name in there))
    columns = min(2, max(1, len(families)))
    rows = -(-len(families) // columns) or 1
    fig, axes = axes_grid(rows, columns, 7.6 / columns, 3.0, sharex=True, sharey=True)
    for ax in axes.flat[len(families) :]:
        ax.axis("off")
    for ax, family in zip(axes.flat, families, strict=False):
        for name in there:
            points = _over_seeds(table[table["model"] == name], against)
            if MODELS[name].family != family:
                ax.plot(points[against], points["mean"], color="#D5D5D5", linewidth=1, zorder=1)
                continue
            form = look(name)
            ax.plot(
                points[against], points["mean"], linewidth=1.8, markersize=4, **form,
                label=textwrap.fill(MODELS[name].title, 28),
            )  # fmt: skip
            low = points["low"].clip(lower=points["mean"] / 10)  # an axis of logarithms has no zero
            ax.fill_between(
                points[against], low, points["high"], color=form["color"], alpha=0.13, linewidth=0
            )
        for control, dash in (("train-split", "--"), (dotted, ":")):
            value = controls.loc[controls["model"] == control, "value"].mean()
            if np.isfinite(value) and value > 0:
                ax.axhline(value, color=COLOURS["control"], linestyle=dash, linewidth=1.2)
        ax.set(xscale="log", yscale="log", title=FAMILY_TITLES[family])
        ax.legend(fontsize=7.5, loc="best", frameon=True, framealpha=0.85, edgecolor="none")
    for ax in axes[:, 0]:
        ax.set_ylabel(f"{label}, validation")
    for ax in axes[-1]:
        ax.set_xlabel(AXES[against])
    for ax in axes.flat[: len(families)]:
        _log_ticks(ax.xaxis)
        _log_ticks(ax.yaxis, plain=True)
    return fig


def _over_seeds(rows: pd.DataFrame, against: str) -> pd.DataFrame:
    """Of one model at each fraction of the budget: the mean of what was spent, and of the value
    with its interval; no interval where there are fewer than two seeds."""
    out = []
    for _, group in rows.groupby("fraction"):
        value = mean_interval(group["value"].to_numpy())
        out.append((group[against].mean(), value.estimate, value.low, value.high))
    return pd.DataFrame(out, columns=[against, "mean", "low", "high"])


def _log_ticks(axis: Axis, *, plain: bool = False) -> None:
    """Enough ticks on a logarithmic axis and not too many; as plain numbers where asked for."""
    low, high = axis.get_view_interval()
    if high / low < 100:
        axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5) if high / low < 30 else (1, 3)))
    if plain and low > 1e-4 and high < 1e5:
        axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    else:
        axis.set_major_formatter(
            LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(9, 9))
        )
        axis.set_tick_params(labelsize=8)
    axis.set_minor_formatter(NullFormatter())


def _legend_below(fig: Figure, handles: dict[str, Any], columns: int = 3) -> None:
    if handles:
        fig.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)


def _rows(frame: pd.DataFrame, by: str) -> list[str]:
    """What a figure's rows are called, in the order of `analysis.in_order` for all panels together:
    a data set may lack runs of a model that another has."""
    rows = in_order(frame.drop_duplicates(by).assign(dataset="", label=lambda rows: rows[by]))
    return list(rows["label"])


def every_seed(
    frame: pd.DataFrame, label: str, *, log: bool = False, column: str = "value", by: str = "title"
) -> Figure:
    """Every seed as a point and the mean as a bar, one row a model, one panel a data set.

    frame: rows of `analysis.final` or `analysis.costs`. Failed runs without a value are
    counted at the right edge. log: a logarithmic axis, where the values span a factor of three.
    """
    names = list(dict.fromkeys(frame["dataset"]))
    titles = _rows(frame, by)
    height = 0.9 + 0.36 * len(titles)
    wide = max(map(len, titles)) > 12
    fig, axes = plt.subplots(
        1, len(names), figsize=(7.6, height), squeeze=False, sharey=True,
        width_ratios=[1] * len(names),
    )  # fmt: skip
    for ax, dataset in zip(axes[0], names, strict=True):
        on_it = frame[frame["dataset"] == dataset]
        values = on_it[column].dropna()
        ax.set(xlabel=label, ylabel="", title=dataset_title(dataset))
        if values.empty:
            ax.set(xticks=[], yticks=range(len(titles)), yticklabels=titles)
            ax.text(0.5, 0.5, "no values", ha="center", va="center", transform=ax.transAxes)
            continue
        sns.stripplot(
            on_it.dropna(subset=[column]), x=column, y=by, order=titles, hue="family",
            palette=COLOURS, jitter=False, size=5.5, alpha=0.75, legend=False, ax=ax,
            edgecolor="white", linewidth=0.5,
        )  # fmt: skip
        for y, title in enumerate(titles):
            rows = on_it[on_it[by] == title]
            mean = mean_interval(rows[column].dropna().to_numpy()).estimate
            if np.isfinite(mean) and (mean > 0 or not log):
                ax.vlines(mean, y - 0.3, y + 0.3, color=COLOURS[rows.iloc[0]["family"]], lw=1.6)
            missing = int(rows[column].isna().sum())
            if missing and rows["status"].ne("ok").any():
                ax.annotate(
                    f"{missing} without", (1, y), xycoords=("axes fraction", "data"),
                    ha="right", va="center", fontsize=8, color="#A00000",
                )  # fmt: skip
        if log and 0 < 3 * values.min() < values.max():
            ax.set_xscale("log")
            _log_ticks(ax.xaxis, plain=True)
        ax.set(xlabel=label, ylabel="", title=dataset_title(dataset))
        ax.grid(axis="y", visible=False)
        if wide:
            ax.tick_params(axis="y", labelsize=8.5)
    return fig


def profiles(
    bands: Mapping[str, Bands], thresholds: np.ndarray, looks: Mapping[str, str], label: str
) -> Figure:
    """The share of runs that score above each threshold (T,), with bands: title of a model ->
    its `performance_profile`. looks: title -> the model's name in the register."""
    fig, axes = axes_grid(1, 1, 7.2, 3.2)
    ax = axes[0, 0]
    for title, band in bands.items():
        style = {**look(looks[title]), "marker": ""}
        ax.fill_between(thresholds, band.low, band.high, step="post", alpha=0.15, linewidth=0,
                        color=style["color"])  # fmt: skip
        ax.step(thresholds, band.value, where="post", label=title, **style)
    ax.set(xlabel=label, ylabel="share of runs above it", ylim=(-0.03, 1.03))
    fig.legend(loc="outside lower center", ncols=3)
    return fig


def bars(frame: pd.DataFrame, label: str) -> Figure:
    """A cost as bars of the mean over seeds, with every seed as a point, one panel a data set.

    On a linear axis from zero; for a logarithmic one there is `every_seed`.
    """
    names = list(dict.fromkeys(frame["dataset"]))
    titles = _rows(frame, "title")
    family = dict(zip(frame["title"], frame["family"], strict=True))
    palette = {title: COLOURS[family[title]] for title in titles}
    fig, axes = plt.subplots(
        1, len(names), figsize=(7.6, 0.9 + 0.45 * len(titles)), squeeze=False, sharey=True
    )
    for ax, dataset in zip(axes[0], names, strict=True):
        on_it = frame[frame["dataset"] == dataset].dropna(subset=["value"])
        sns.barplot(
            on_it, x="value", y="title", order=titles, hue="title", palette=palette,
            hue_order=titles, errorbar=None, alpha=0.55, legend=False, ax=ax, seed=0,
        )  # fmt: skip
        sns.stripplot(
            on_it, x="value", y="title", order=titles, color="#222222", jitter=False, size=4,
            legend=False, ax=ax,
        )  # fmt: skip
        ax.set(xlabel=label, ylabel="", title=dataset_title(dataset))
        ax.grid(axis="y", visible=False)
    return fig


# What the logged values of a stage are called. Nats are an image's; codes in use are a perplexity.
CURVE_LABELS = {
    "loss_D": "discriminator's loss",
    "loss_G": "generator's loss",
    "accuracy_D": "discriminator's accuracy",
    "gradient_norm": "gradient norm",
    "gradient_norm_D": "gradient norm, D",
    "gradient_norm_G": "gradient norm, G",
    "loss": "loss (nats)",
    "distortion": "distortion (nats)",
    "rate": "rate (nats)",
    "scale": "likelihood's scale",
    "commitment": "commitment",
    "codebook_perplexity": "codes in use",
}


def logged(results: Results, model: str, names: Sequence[str], *, log: bool = False) -> Figure:
    """Values logged while a model trained, against FLOPs: one row a value, one panel a data set,
    one line a seed."""
    cells = in_order(results.cells)
    cells = cells[cells["model"] == model]
    curves = results.curves.merge(cells[["cell", "dataset", "seed"]], on="cell")
    curves = curves.dropna(subset=["value"])
    there = list(dict.fromkeys(cells["dataset"]))
    fig, axes = axes_grid(len(names), len(there), 7.6 / len(there), 1.9, sharex="col", sharey="row")
    for row, name in enumerate(names):
        for column, dataset in enumerate(there):
            ax = axes[row, column]
            lines = curves[(curves["dataset"] == dataset) & (curves["name"] == name)]
            for _, line in lines.groupby(["stage", "seed"], sort=False):
                ax.plot(line["train_flops"], line["value"], color=COLOURS[MODELS[model].family],
                        linewidth=0.9, alpha=0.7)  # fmt: skip
            if log and (lines["value"] > 0).all():
                ax.set_yscale("log")
                _log_ticks(ax.yaxis, plain=True)
            if row == 0:
                ax.set_title(dataset_title(dataset))
            if row == len(names) - 1:
                ax.set_xlabel(AXES["train_flops"])
            ax.set_ylabel(CURVE_LABELS.get(name, name) if column == 0 else "")
    fig.align_ylabels()
    return fig


# --- live runs ----------------------------------------------------------------------------------


def live_curves(run: LiveRun, panels: Sequence[Sequence[str]]) -> Figure:
    """What a live run logged, against images seen: one panel for each group of values."""
    curves = run.curves
    family = MODELS[run.cell.model.name].family
    fig, axes = axes_grid(1, len(panels), 7.6 / len(panels), 2.8)
    for ax, names in zip(axes[0], panels, strict=True):
        for dash, name in zip(DASHES, names, strict=False):
            rows = curves[["examples", name]].dropna()
            ax.plot(rows["examples"], rows[name], color=COLOURS[family], linestyle=dash,
                    label=CURVE_LABELS.get(name, name))  # fmt: skip
        ax.set_xlabel("images seen")
        if len(names) > 1:
            ax.legend()
        else:
            ax.set_ylabel(CURVE_LABELS.get(names[0], names[0]))
    return fig


def tiles(images: np.ndarray, levels: int, columns: int = 8) -> np.ndarray:
    """Images (N, 1, H, W) as one grey picture in [0, 1] with thin lines between them."""
    x = np.pad(images[:, 0] / (levels - 1), ((0, 0), (1, 0), (1, 0)), constant_values=0.5)
    n, height, width = x.shape
    rows = n // columns
    x = x[: rows * columns].reshape(rows, columns, height, width)
    return x.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)


def side_by_side(panels: dict[str, np.ndarray], levels: int, columns: int = 8) -> Figure:
    """Grids of images (N, 1, H, W) beside each other, each under its title."""
    fig, axes = axes_grid(
        1, len(panels), 7.2 / max(len(panels), 2), 7.2 / max(len(panels), 2) + 0.3
    )
    for ax, (title, images) in zip(axes[0], panels.items(), strict=True):
        ax.imshow(tiles(images, levels, columns), cmap="gray", vmin=0, vmax=1, interpolation="none")
        ax.set_title(title)
        ax.axis("off")
    return fig


def beside_real(run: LiveRun, n: int = 64) -> Figure:
    """Samples of a live run beside as many real training images."""
    samples = run.sample(n).numpy()
    title = MODELS[run.cell.model.name].title
    return side_by_side(
        {"real digits": run.data.train.rows[:n], f"samples, {title}": samples},
        run.data.info.levels,
    )
