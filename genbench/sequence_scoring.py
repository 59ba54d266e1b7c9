"""What rows of tokens are scored for beside distances, whether they are text or music."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from genbench.metrics.measured import Measured, mean, proportion
from genbench.models.interface import HasMeasuredPosterior, Model, Reconstructs
from genbench.scoring import SUPPORTS, Judge, Score, batches
from genbench.suite import Cell
from genbench.training import seeded

QUICK_METRICS = ("fd", "kid", *SUPPORTS)
"""What `scoring.quick_scores` gives in a space without classes."""

# A model of tokens has collapsed when fewer than this share of its samples differ from all others.
LEAST_DISTINCT = 0.5


def distinct_rows(rows: np.ndarray) -> Measured:
    """Share of samples (N, *shape) that differ from all others; Wilson's interval over samples."""
    _, times = np.unique(rows.reshape(len(rows), -1), axis=0, return_counts=True)
    return proportion(int((times == 1).sum()), len(rows))


def model_scores(
    cell: Cell, model: Model, judge: Judge, device: str
) -> Iterator[tuple[str, int, Score]]:
    """What needs the model itself: (split, number of rows, score)."""
    for split in ("validation", "test"):
        real = getattr(judge.data, split).rows
        accuracy = reconstruction(cell, model, real, device)
        yield split, len(real), Score("token_accuracy", "", accuracy)
        yield split, len(real), Score("rate", "", rate(cell, model, real, split, device))
        yield split, len(real), Score("active_units", "", active_units(model, real, device))


@torch.inference_mode()
def reconstruction(cell: Cell, model: Model, rows: np.ndarray, device: str) -> Measured | str:
    """Share of tokens that are reconstructed; the interval is over rows, since a wrong token leads
    those after it astray."""
    if not isinstance(model, Reconstructs):
        return "the model does not encode rows"
    parts = batches(rows, cell.sample.batch_size, device)
    right = [(model.reconstruct(batch) == batch).flatten(1).double().mean(1) for batch in parts]
    return mean(torch.cat(right).cpu().numpy())


NO_POSTERIOR = "the model has no posterior"


@torch.inference_mode()
def rate(cell: Cell, model: Model, rows: np.ndarray, split: str, device: str) -> Measured | str:
    """Mean over rows of KL(q(z|x) || p(z)), nats; the interval is over rows."""
    if not isinstance(model, HasMeasuredPosterior):
        return NO_POSTERIOR
    generator = seeded(device, cell.seed, "rate", split)
    parts = batches(rows, cell.sample.batch_size, device)
    rates = torch.cat([model.elbo_terms(batch, generator)[1] for batch in parts])
    return mean(rates.cpu().double().numpy())


@torch.inference_mode()
def active_units(model: Model, rows: np.ndarray, device: str) -> Measured | str:
    """Latent dimensions in use (Burda et al. 2016, section 5.2), over all of the rows."""
    if not isinstance(model, HasMeasuredPosterior):
        return NO_POSTERIOR
    found = model.active_units(torch.from_numpy(rows).to(device))
    return Measured(float(found), math.nan, math.nan)


def outcome(judge: Judge, scores: Iterable[Score]) -> tuple[str, str]:
    """("collapsed", why) where too few samples differ from all others, else ("ok", "")."""
    (found,) = [s.result for s in scores if s.metric == "distinct_rows"]
    assert isinstance(found, Measured)
    if found.value < LEAST_DISTINCT:
        return "collapsed", f"{found.value:.0%} of samples differ from all others"
    return "ok", ""
