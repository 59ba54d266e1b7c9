"""What all tests share: folders of their own, one thread, and a cell small enough to train here."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from genbench import suite
from genbench.data import DATASETS, Data, load
from genbench.data.sources import cache_root
from genbench.data.text import TextData, load_text
from genbench.metrics import utility
from genbench.models import build
from genbench.models.interface import Model
from genbench.records import RunDirectory
from genbench.suite import (
    Budget,
    Cell,
    DataSpec,
    EvaluationSpec,
    ModelSpec,
    Profile,
    SampleSpec,
    Scale,
    TrainSpec,
)

# About 1,500 parameters each, and budgets of a dozen or two steps at 16 images.
SIZES: dict[str, dict[str, suite.Scalar]] = {
    "mlp-gan": {"width": 8, "latent": 8},
    "dcgan": {"width": 4, "latent": 8},
    "lsgan": {"width": 4, "latent": 8},
    "wgan-gp": {"width": 4, "latent": 8},
    "sngan": {"width": 4, "latent": 8},
    "cgan": {"width": 4, "latent": 8},
    "mlp-vae": {"width": 8, "latent": 4},
    "vae": {"width": 4, "latent": 4},
    "beta-vae": {"width": 4, "latent": 4},
    "cvae": {"width": 4, "latent": 4},
    "vqvae": {"width": 4, "codes": 8, "code_width": 4, "downsampling": 2},
    "vae-gan": {"width": 4, "latent": 4},
    "diffusion": {"width": 4, "inner": 4, "steps": 3},
    "pixel-gpt": {"width": 8, "layers": 1, "heads": 2},
    "vqvae-gpt": {
        "width": 4, "codes": 8, "code_width": 4, "downsampling": 2,
        "prior_width": 8, "prior_layers": 1, "prior_heads": 2, "autoencoder_share": 0.2,
    },
    "class-vqvae-gpt": {
        "width": 4, "codes": 8, "code_width": 4, "downsampling": 2,
        "prior_width": 8, "prior_layers": 1, "prior_heads": 2, "autoencoder_share": 0.2,
    },
    "vqvae-lstm": {
        "width": 4, "codes": 8, "code_width": 4, "downsampling": 2,
        "prior_width": 8, "prior_layers": 1, "autoencoder_share": 0.2,
    },
}  # fmt: skip
FLOPS = {
    "mlp-gan": 2.2e6, "dcgan": 1.3e7, "lsgan": 1.3e7, "wgan-gp": 7e7, "sngan": 1.3e7, "cgan": 1.3e7,
    "mlp-vae": 1.2e6, "vae": 0.8e7, "beta-vae": 0.8e7, "cvae": 1e7,
    "vqvae": 2.1e7, "vae-gan": 2.8e7, "diffusion": 2.1e7, "pixel-gpt": 1.5e8, "vqvae-gpt": 6e7,
    "class-vqvae-gpt": 6e7, "vqvae-lstm": 6e7,
}  # fmt: skip
TRAINED = tuple(SIZES)
CONTROLS = (
    "train-split", "copier", "class-dropped", "blurred", "gaussian-mixture", "pixel-gaussian",
    "noise",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device, and torch finds none")
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of this session: downloads are the user's, what is derived from them is its own."""
    folder = tmp_path_factory.mktemp("cache")
    for name in ("data", "wheels"):
        downloads = cache_root() / name
        downloads.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(downloads)
    return folder


@pytest.fixture(autouse=True)
def _on_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, session_cache: Path
) -> Iterator[None]:
    """No test writes into the clone or the user's folders, or leaves figures open."""
    monkeypatch.setenv("GENBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("GENBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("GENBENCH_CACHE", str(session_cache))
    torch.set_num_threads(1)
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def tiny_cell(
    model: str = "vae",
    *,
    flops: float | None = None,
    fractions: tuple[float, ...] = (0.25, 0.5, 1.0),
    data: str = "digits",
    fraction: float = 1.0,
    seed: int = 0,
    n: int = 120,
    n_intermediate: int = 80,
    train: dict[str, int | float | bool] | None = None,
    size: dict[str, suite.Scalar] | None = None,
    **params: suite.Scalar,
) -> Cell:
    """A cell whose whole way takes a second or two; `params` as in a suite file."""
    return Cell(
        modality="images",
        data=DataSpec(name=data, fraction=fraction),
        model=ModelSpec(name=model, params=params, tuned=SIZES.get(model, {}) | (size or {})),
        budget=Budget(train_flops=flops or FLOPS.get(model, 1.0), fractions=fractions),
        train=TrainSpec(**({"batch_size": 16} | (train or {}))),
        sample=SampleSpec(n=n, n_intermediate=n_intermediate, batch_size=50),
        evaluation=EvaluationSpec(
            spaces=("classifier", "inception"), kid_subsets=5, kid_subset_size=40, projections=8,
            redraws=1, importance_samples=4, likelihood_images=300,
        ),
        seed=seed,
    )  # fmt: skip


def svg(draw: Callable[[], Figure]) -> bytes:
    """What a plot is as a file."""
    buffer = io.BytesIO()
    draw().savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


@pytest.fixture
def quick_classifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classifiers that metrics train learn for a few steps only: their values mean nothing then,
    and a cell takes a quarter of the time."""
    monkeypatch.setattr(utility, "STEPS", 8)


@pytest.fixture
def make_cell() -> Callable[..., Cell]:
    return tiny_cell


@pytest.fixture
def make_model() -> Callable[..., Model]:
    """A freshly initialised tiny model for a data set's shape, in evaluation mode."""

    def make(name: str, data: str = "digits", **params: suite.Scalar) -> Model:
        torch.manual_seed(0)
        size = dict(SIZES.get(name, {}))
        if "vqvae-" in name and data != "digits":
            size["downsampling"] = 4
        return build(ModelSpec(name=name, params=params, tuned=size), DATASETS[data]).eval()

    return make


@pytest.fixture
def make_directory(tmp_path: Path) -> Callable[..., RunDirectory]:
    """The directory of a cell's run, in a folder of its own."""

    def make(cell: Cell, name: str = "runs") -> RunDirectory:
        return RunDirectory(tmp_path / name, cell, "cpu")

    return make


@pytest.fixture(scope="session")
def digits() -> Data:
    return load("digits")


@pytest.fixture(scope="session")
def little_shakespeare() -> TextData:
    """Shakespeare with 40,000 characters to train on: of the whole split, an encoder would take a
    minute for the passages of which memorisation is measured."""
    data = load_text("shakespeare")
    return replace(data, train=data.train[:40_000])


@pytest.fixture
def tiny_profile() -> Profile:
    """What the fixture cells are made of, as a profile; one budget of some steps for each model."""
    cell = tiny_cell()
    return Profile(
        title="For tests.",
        seeds=2,
        images=Scale(
            datasets=("digits",),
            budget=Budget(train_flops=6e7, fractions=(0.5, 1.0)),
            train=cell.train,
            sample=cell.sample,
            evaluation=cell.evaluation,
            models=SIZES | {"pixel-gpt": SIZES["pixel-gpt"] | {"width": 4}},
        ),
    )
