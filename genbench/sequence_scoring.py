"""What rows of tokens are scored for beside distances, whether they are text or music."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from genbench.metrics.measured import Measured, proportion
from genbench.models.interface import Model, Reconstructs
from genbench.scoring import SUPPORTS, Judge, Score, batches
from genbench.suite import Cell

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


@torch.inference_mode()
def reconstruction(cell: Cell, model: Model, rows: np.ndarray, device: str) -> Measured | str:
    """Share of tokens that are reconstructed; the interval is over tokens."""
    if not isinstance(model, Reconstructs):
        return "the model does not encode rows"
    right = 0
    for batch in batches(rows, cell.sample.batch_size, device):
        right += int((model.reconstruct(batch) == batch).sum())
    return proportion(right, rows.size)


def outcome(judge: Judge, scores: Iterable[Score]) -> tuple[str, str]:
    """("collapsed", why) where too few samples differ from all others, else ("ok", "")."""
    (found,) = [s.result for s in scores if s.metric == "distinct_rows"]
    assert isinstance(found, Measured)
    if found.value < LEAST_DISTINCT:
        return "collapsed", f"{found.value:.0%} of samples differ from all others"
    return "ok", ""
