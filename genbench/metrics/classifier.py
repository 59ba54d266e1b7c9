"""What a classifier of the data set says of samples: score, and balance of classes."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from genbench.metrics.checks import Array, check_rows
from genbench.metrics.measured import Measured, normal

Histogram = NDArray[np.float64]
"""Fractions (C,) of samples in each class: non-negative, of sum 1."""

ONE_CLASS = "all samples are in one class"


def inception_score(logits: Array, *, splits: int = 10, seed: int = 2020) -> Measured:
    """exp E KL(p(y|x) || p(y)), between 1 and C, from logits (N, C), N >= `splits` >= 1: the mean
    over `splits` parts, shuffled by `seed` as torch-fidelity does. Float64.

    Salimans et al. 2016, "Improved techniques for training GANs", section 4; here with a
    classifier of the data set in place of Inception, so it compares only with itself. A part of
    few rows scores too low, and one of a single row 1.

    The interval is the delta method's, with a sample's influence psi_i = IS (KL_i - mean KL). The
    marginal's own change dq adds -sum_c mean_i p_ic dq_c / q_c = -sum_c dq_c = 0, since q is the
    mean of the p_i and keeps its sum. Parts are independent, so the error is sd(psi) / sqrt(N).
    Raises ValueError for NaN, a wrong shape or too few rows.
    """
    if splits < 1:
        raise ValueError(f"splits: expected a number >= 1, got {splits}")
    z = check_rows(logits, "logits", least=splits)
    N = len(z)
    order = torch.from_numpy(np.random.RandomState(seed).permutation(N)).to(z.device)
    log_p = z[order].log_softmax(dim=1)
    scores, psi = [], []
    for s in range(splits):
        part = log_p[s * N // splits : (s + 1) * N // splits]
        p = part.exp()
        # A class that no sample of the part can be in adds 0, not 0 times infinity.
        log_q = p.mean(dim=0).clamp(min=torch.finfo(p.dtype).tiny).log()
        kl = (p * (part - log_q)).sum(dim=1)
        scores.append(math.exp(float(kl.mean())))
        psi.append(scores[-1] * (kl - kl.mean()))
    error = float(torch.cat(psi).square().mean().sqrt()) / math.sqrt(N)
    return normal(sum(scores) / splits, error)


def class_histogram(logits: Array) -> Histogram:
    """Fraction of samples predicted as each class, float64 (C,), from logits (N, C), N >= 1.

    Raises ValueError for NaN, a wrong shape or no rows.
    """
    z = check_rows(logits, "logits")
    return torch.bincount(z.argmax(dim=1), minlength=z.shape[1]).cpu().numpy() / len(z)


def classes_covered(p: Histogram, n: int) -> Measured:
    """Number of classes with at least a tenth of an even share, 1 / (10 C), of `n` samples.

    The interval counts the classes whose lower, and upper, end of Wilson's interval reaches that
    share. Each is at level 1 - 0.05 / C, so that all hold together with 95% (Bonferroni). Raises
    ValueError unless p (C,) holds fractions of n samples.
    """
    counts = _counts(p, n)
    C = len(counts)
    fewest = n / (10 * C)
    level = 1 - 0.05 / C
    ends = [stats.binomtest(k, n).proportion_ci(level, method="wilson") for k in counts.tolist()]
    low, high = (sum(n * end >= fewest for end in side) for side in zip(*ends, strict=True))
    return Measured(float((counts >= fewest).sum()), float(low), float(high))


def class_entropy(p: Histogram, n: int) -> Measured:
    """Entropy of the histogram of `n` samples in bits: 0 for one class, log2 C for an even spread.

    The interval is the delta method's: a sample of class c has the influence -log2 p_c - H, of
    which the standard deviation, over sqrt(n), is the error. It is about the expected value for n
    samples, lower than that of infinitely many by about (C - 1) / (2 n ln 2) (Miller 1955, "Note
    on the bias of information estimates"). Of one class alone the interval is empty, and flagged.
    Raises ValueError unless p (C,) holds fractions of n samples.
    """
    counts = _counts(p, n)
    p = counts[counts > 0] / n
    information = -np.log2(p)
    H = float(p @ information) + 0.0  # not minus zero
    error = math.sqrt(float(p @ (information - H) ** 2) / n)
    return normal(H, error, ONE_CLASS if len(p) == 1 else "")


def total_variation(p: Histogram, q: Histogram, n: int) -> Measured:
    """Half the sum of |p - q|, in [0, 1]: the part of the `n` samples behind p (C,) in the wrong
    class, beside the fixed fractions q (C,).

    The interval is the delta method's: a sample of class c has the influence
    (s_c - sum s p) / 2 with s = sign(p - q). Where p_c = q_c, s_c is +1 for half of the samples and
    -1 for the others, the widest choice. Near 0, where signs are chance, this errs towards wider
    intervals. The interval is about the expected value for n samples, above that of infinitely many
    by up to sum_c sqrt(p_c / (2 pi n)); a bootstrap would add as much again. Flagged where all
    samples are in one class: then they do not vary. Raises ValueError unless p holds fractions of n
    samples and q fractions, of as many classes.
    """
    counts, q = _counts(p, n), _check_histogram(q, "q")
    if counts.shape != q.shape:
        raise ValueError(f"p: has {counts.size} classes but q has {q.size}")
    p = counts / n
    variance = (1 - min(1.0, abs(float(p @ np.sign(p - q)))) ** 2) / 4  # rounding may pass 1
    flag = ONE_CLASS if counts.max() == n else ""
    return normal(float(np.abs(p - q).sum() / 2), math.sqrt(variance / n), flag)


def _check_histogram(p: np.ndarray, name: str) -> Histogram:
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 1 or p.size == 0 or not (p >= 0).all() or abs(p.sum() - 1) > 1e-6:
        raise ValueError(f"{name}: expected fractions (C,) of sum 1, got {p}")
    return p


def _counts(p: np.ndarray, n: int) -> NDArray[np.int64]:
    """Samples in each class, from the fractions p (C,) of n samples."""
    p = _check_histogram(p, "p")
    if n < 1:
        raise ValueError(f"n: expected a number of samples >= 1, got {n}")
    counts = np.rint(p * n).astype(np.int64)
    if counts.sum() != n or np.abs(counts - p * n).max() > 1e-3:
        raise ValueError(f"p: expected fractions of {n} samples, got {p}")
    return counts
