"""What a classifier of the data set says of samples: score, and balance of classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch_fidelity.metric_isc import (
    KEY_METRIC_ISC_MEAN,
    KEY_METRIC_ISC_STD,
    isc_features_to_metric,
)

from genbench.metrics.checks import check_rows

Histogram = NDArray[np.float64]
"""Fractions (C,) of samples in each class: non-negative, of sum 1."""


class InceptionScore(NamedTuple):
    """Mean and standard deviation over splits; between 1 and the number of classes."""

    mean: float
    std: float


def inception_score(logits: np.ndarray, *, splits: int = 10, seed: int = 2020) -> InceptionScore:
    """exp E KL(p(y|x) || p(y)) from logits (N, C), N >= `splits` >= 1, shuffled by `seed`.

    Salimans et al. 2016, "Improved techniques for training GANs", section 4; here with a
    classifier of the data set in place of Inception, so it compares only with itself. Raises
    ValueError for NaN, a wrong shape or too few rows.
    """
    if splits < 1:
        raise ValueError(f"splits: expected a number >= 1, got {splits}")
    z = torch.from_numpy(check_rows(logits, "logits", least=splits))
    out = isc_features_to_metric(z, splits=splits, shuffle=True, rng_seed=seed)
    return InceptionScore(out[KEY_METRIC_ISC_MEAN], out[KEY_METRIC_ISC_STD])


def class_histogram(logits: np.ndarray) -> Histogram:
    """Fraction of samples predicted as each class, from logits (N, C), N >= 1.

    Raises ValueError for NaN, a wrong shape or no rows.
    """
    z = check_rows(logits, "logits")
    return np.bincount(z.argmax(axis=1), minlength=z.shape[1]) / len(z)


def classes_covered(p: Histogram) -> int:
    """Number of classes with at least a tenth of an even share, 1 / (10 C), of the samples."""
    p = _check_histogram(p, "p")
    return int((p >= 1 / (10 * p.size)).sum())


def class_entropy(p: Histogram) -> float:
    """Entropy of the histogram in bits: 0 for a single class, log2 C for an even spread."""
    p = _check_histogram(p, "p")
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum()) + 0.0  # not minus zero


def total_variation(p: Histogram, q: Histogram) -> float:
    """Half the sum of |p - q|, in [0, 1]: the part of the samples in the wrong class."""
    p, q = _check_histogram(p, "p"), _check_histogram(q, "q")
    if p.shape != q.shape:
        raise ValueError(f"p: has {p.size} classes but q has {q.size}")
    return float(np.abs(p - q).sum() / 2)


def _check_histogram(p: np.ndarray, name: str) -> Histogram:
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 1 or p.size == 0 or not (p >= 0).all() or abs(p.sum() - 1) > 1e-6:
        raise ValueError(f"{name}: expected fractions (C,) of sum 1, got {p}")
    return p
