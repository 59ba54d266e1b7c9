from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import svg
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from PIL import Image

from genbench import analysis, figures
from genbench.models import MODELS
from genbench.statistics import Bands
from genbench.tables import CELLS, COSTS, CURVES, METRICS, Results

MODELS_HERE = {
    "dcgan": 3.0,
    "vae": 4.0,
    "vqvae-gpt": 5.0,
    "train-split": 0.1,
    "pixel-gaussian": 20.0,
}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Three models and two controls on two data sets, two seeds; one run diverged."""
    cells, metrics, costs, curves = [], [], [], []
    for dataset in ("fashion-mnist", "mnist"):
        for model, value in MODELS_HERE.items():
            for seed in range(2):
                name = f"images/{dataset}/{model}/s{seed}"
                family = MODELS[model].family
                lost = (dataset, model, seed) == ("mnist", "vae", 0)
                cells.append(
                    {"cell": name, "suite": "images", "family": family, "model": model,
                     "variant": "", "data_variant": "", "dataset": dataset, "seed": seed,
                     "status": "diverged" if lost else "ok", "budget_flops": 1e12,
                     "train_flops": 1e12, "examples": 100}
                )  # fmt: skip
                fractions = (1.0,) if family == "control" else (0.25, 0.5, 1.0)
                for fraction in fractions:
                    for split in ("validation", "test") if fraction == 1 else ("validation",):
                        metrics.append(
                            {"cell": name, "fraction": fraction, "metric": "fd", "split": split,
                             "extractor": "classifier", "draw": 0,
                             "value": None if lost else (value + 0.1 * seed) / fraction}
                        )  # fmt: skip
                if family == "control":
                    continue
                costs.append({"cell": name, "cost": "train_seconds", "value": 5.0, "unit": "s"})
                for flops in (1e11, 5e11, 1e12):
                    curves.append(
                        {"cell": name, "stage": "s", "step": 1, "train_flops": flops,
                         "examples": flops / 1e10, "seconds": flops / 1e10, "name": "loss",
                         "value": 1e12 / flops}
                    )  # fmt: skip
                if not lost:
                    path = tmp_path / "samples" / f"{name.replace('/', '__')}.png"
                    path.parent.mkdir(exist_ok=True)
                    Image.fromarray(np.zeros((16, 16), np.uint8)).save(path)
    return Results(
        profile="cpu",
        cells=pd.DataFrame(cells, columns=CELLS),
        metrics=pd.DataFrame(metrics, columns=METRICS),
        costs=pd.DataFrame(costs, columns=COSTS),
        curves=pd.DataFrame(curves, columns=CURVES),
        manifest={},
        folder=tmp_path,
    )


def test_a_family_has_one_colour_and_models_differ_within_it():
    looks = {name: figures.look(name) for name in MODELS if MODELS[name].family != "control"}
    for name, look in looks.items():
        assert look["color"] == figures.COLOURS[MODELS[name].family]
    assert looks["pixel-gpt"] != looks["vqvae-gpt"]


def test_colours_differ_in_lightness_too():
    # Relative luminance: what is left for a reader, or a printer, without colour.
    luminance = [
        float(np.dot([0.2126, 0.7152, 0.0722], np.power(to_rgb(c), 2.2)))
        for c in (figures.COLOURS[f] for f in ("gan", "vae", "transformer"))
    ]
    gaps = np.diff(sorted(luminance))
    assert gaps.min() > 0.02


def test_data_sets_and_models_come_in_the_books_order(results):
    assert figures.datasets(results) == ["mnist", "fashion-mnist"]
    assert figures.models(results) == ["dcgan", "vae", "vqvae-gpt"]
    assert figures.models(results, controls=True)[-1] == "pixel-gaussian"


def drawings(results: Results):
    fd = analysis.final(results, "fd")
    yield lambda: figures.sample_grid(results, "mnist", ["dcgan", "vae"])
    yield lambda: figures.quality_versus_compute(results, "mnist", against="seconds")
    yield lambda: figures.every_seed(fd, "FD", log=True)
    yield lambda: figures.bars(analysis.costs(results, "train_seconds"), "seconds")
    yield lambda: figures.logged(results, "vae", ["loss"], log=True)


def test_every_drawing_is_the_same_bytes_each_time(results):
    figures.style()
    for draw in drawings(results):
        assert svg(draw) == svg(draw)


def texts(fig) -> str:
    return " ".join(t.get_text() for ax in fig.axes for t in ax.texts)


def test_failed_runs_are_shown(results):
    assert "no samples: diverged" in texts(figures.sample_grid(results, "mnist", ["dcgan", "vae"]))
    assert "1 without" in texts(figures.every_seed(analysis.final(results, "fd"), "FD"))
    assert "not run" in texts(figures.sample_grid(results, "mnist", ["noise"]))


def test_rows_are_in_the_books_order_where_a_data_set_lacks_a_model(results):
    fd = analysis.final(results, "fd")
    fd = fd[(fd["model"] != "dcgan") | (fd["dataset"] != "mnist")]
    (ax, _) = figures.every_seed(fd, "FD").axes
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[:3] == [MODELS[name].title for name in ("dcgan", "vae", "vqvae-gpt")]


def test_tiles():
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1).repeat(2, 2).repeat(2, 3)
    picture = figures.tiles(images, levels=3, columns=3)
    assert picture.shape == (3, 9)
    assert picture[1, 1::3].tolist() == [0.0, 0.5, 1.0]


def test_profiles_draw_the_shares_and_their_bands():
    thresholds = np.array([0.0, 0.5, 1.0])
    bands = Bands(np.array([1.0, 0.5, 0.0]), np.array([1.0, 0.25, 0.0]), np.array([1, 0.75, 0.5]))
    plot = figures.profiles({"A VAE": bands}, thresholds, {"A VAE": "vae"}, "closeness")
    (ax,) = plot.axes
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_ydata(), bands.value)
    assert to_rgb(line.get_color()) == to_rgb(figures.COLOURS["vae"])
    corners = ax.collections[0].get_paths()[0].vertices
    assert {(0.5, 0.25), (0.5, 0.75), (1.0, 0.5)} <= {tuple(xy) for xy in corners.tolist()}
    plt.close(plot)
