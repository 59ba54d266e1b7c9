"""Train a small model while the reader waits, by the same loop that made the committed results."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from genbench.data import Data, load
from genbench.errors import UserError
from genbench.models.interface import Model
from genbench.records import RunDirectory
from genbench.suite import Cell, load_profiles, validate
from genbench.training import Training, train, trained_model


@dataclass(frozen=True)
class LiveRun:
    """A model trained on digits, in evaluation mode with averaged weights, and its curves."""

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
        """n images (n, 1, 8, 8) uint8 with grey levels 0..16."""
        return self.model.sample(n, torch.Generator().manual_seed(seed))


def train_on_digits(model: str, *, train_flops: float, seed: int = 0, **params: float) -> LiveRun:
    """Train a model by name on the digits, on the CPU, with the smoke profile's sizes.

    params: parameters of the model (its file's `Params`). Raises UserError for an unknown model
    or parameter, for a number out of its range, and if the run diverges.
    """
    scale = load_profiles()["smoke"].images
    content = {
        "modality": "images",
        "data": {"name": "digits"},
        "model": {"name": model, "params": params, "tuned": scale.models.get(model, {})},
        "budget": {"train_flops": train_flops, "fractions": (1.0,)},
        "train": scale.train_of(model, {}),
        "sample": scale.sample,
        "evaluation": scale.evaluation,
        "seed": seed,
    }
    cell = validate(Cell, content, "train_on_digits")
    data = load("digits")
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder), cell, "cpu")
        training = train(cell, data, directory, "cpu")
        if training.status != "ok":
            raise UserError(f"{model} {training.status}: {training.reason}; try a smaller rate")
        trained = trained_model(cell, directory, 1.0, "cpu")
    return LiveRun(cell, data, trained, training)
