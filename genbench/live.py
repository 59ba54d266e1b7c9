"""Train a small model while the reader waits, by the same loop that made the committed results."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from genbench.data import Data, info, load
from genbench.errors import UserError
from genbench.models import MODELS
from genbench.models.interface import Model
from genbench.records import RunDirectory
from genbench.suite import Cell, Scale, load_profiles, validate
from genbench.training import Training, train, trained_model


@dataclass(frozen=True)
class LiveRun:
    """A model in evaluation mode with averaged weights, the data it learned from, its curves."""

    cell: Cell
    data: Data
    model: Model
    training: Training

    @property
    def curves(self) -> pd.DataFrame:
        """One row a logged point: stage, step, train_flops, examples, seconds and the losses."""
        return pd.DataFrame(self.training.curves)

    @torch.inference_mode()
    def sample(self, n: int, seed: int = 0) -> torch.Tensor:
        """n samples (n, *shape) uint8, such as images (n, 1, 8, 8) of digits with levels 0..16."""
        return self.model.sample(n, torch.Generator().manual_seed(seed))


def train_live(
    model: str, *, train_flops: float, data: str = "digits", seed: int = 0, **params: float
) -> LiveRun:
    """Train a model by name, on the CPU, with the smoke profile's sizes.

    data: a data set of the smoke profile: "digits", "descriptions" (text) or "chorales" (music).
    params: parameters of the model (its file's `Params`). Raises UserError for an unknown model,
    data set or parameter, for a model of another modality, for a number out of its range, and if
    the run diverges.
    """
    modality = info(data).modality
    scale: Scale = getattr(load_profiles()["smoke"], modality)
    if data not in scale.datasets:
        known = ", ".join(scale.datasets)
        raise UserError(f"train_live: {data} is too large to wait for; of {modality} take {known}")
    if model in MODELS and modality not in (can := MODELS[model].modalities):
        raise UserError(f"train_live: {model} is for {' and '.join(can)}, and {data} is {modality}")
    content = {
        "modality": modality,
        "data": {"name": data},
        "model": {"name": model, "params": params, "tuned": scale.models.get(model, {})},
        "budget": {"train_flops": train_flops, "fractions": (1.0,)},
        "train": scale.train_of(model, {}),
        "sample": scale.sample,
        "evaluation": scale.evaluation,
        "seed": seed,
    }
    cell = validate(Cell, content, "train_live")
    loaded = load(data)
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder), cell, "cpu")
        training = train(cell, loaded, directory, "cpu")
        if training.status != "ok":
            raise UserError(f"{model} {training.status}: {training.reason}; try a smaller rate")
        trained = trained_model(cell, directory, 1.0, "cpu")
    return LiveRun(cell, loaded, trained, training)
