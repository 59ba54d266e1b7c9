"""The Frechet distance between Gaussians fitted to two sets of features, and its limit for
infinitely many samples.

Dowson and Landau 1982, "The Frechet distance between multivariate normal distributions", eq. 4;
on features of images: Heusel et al. 2017, "GANs trained by a two time-scale update rule", eq. 6.
All arithmetic is in float64.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genbench.metrics.checks import Array, check_rows
from genbench.metrics.measured import Measured, normal


class Gaussian(NamedTuple):
    """Mean m float64 (D,) and covariance C float64 (D, D), on one device; not to be written to."""

    m: Tensor
    C: Tensor


def gaussian(features: Array, name: str = "features") -> Gaussian:
    """Mean and unbiased covariance, in float64, of features (N, D), N >= 2.

    With N <= D the covariance is singular: the distance is still defined, but biased upwards.
    Raises ValueError, calling the input `name`, for NaN, a wrong shape or N < 2.
    """
    x = check_rows(features, name, least=2)
    m = x.mean(dim=0)
    y = x - m
    return Gaussian(m, y.T @ y / (len(x) - 1))


# Every set of samples meets the same few references, and this is half of a distance's cost.
@functools.lru_cache(maxsize=4)
def root(C: Tensor) -> Tensor:
    """The symmetric square root (D, D) of a covariance (D, D); eigenvalues that rounding left
    below zero count as zero. Remembered for the last tensors asked for."""
    eigenvalues, Q = torch.linalg.eigh(C)
    return (Q * eigenvalues.clamp(min=0).sqrt()) @ Q.T


def frechet_distance(samples: Gaussian, reference: Gaussian) -> float:
    """d^2 = |m - m_w|^2 + tr(C + C_w - 2 (C C_w)^(1/2)), in squared feature units.

    C C_w has the eigenvalues of the symmetric C_w^(1/2) C C_w^(1/2), so the trace of its root is
    the sum of their roots: no `sqrtm`, and no imaginary parts from rounding. d^2 >= 0, but rounding
    can take it below by about 1e-15 tr(C + C_w), or 1e-8 of that where C is singular, and is not
    cut off. Both arguments come from `gaussian`, of the same dimension, or ValueError is raised.
    """
    (m, C), (m_w, C_w) = samples, reference
    R = _root_for(samples, reference)
    trace_of_root = torch.linalg.eigvalsh(R @ C @ R).clamp(min=0).sqrt().sum()
    return float((m - m_w).square().sum() + C.trace() + C_w.trace() - 2 * trace_of_root)


def optimal_map(samples: Gaussian, reference: Gaussian) -> Tensor:
    """T (D, D), the linear part of the optimal transport between the Gaussians: T C T = C_w.

    T = C_w^(1/2) (C_w^(1/2) C C_w^(1/2))^(-1/2) C_w^(1/2) (Dowson and Landau 1982), with the
    pseudo-inverse: what it leaves out is orthogonal to the samples or to the reference. Raises
    ValueError for another D.
    """
    R = _root_for(samples, reference)
    eigenvalues, Q = torch.linalg.eigh(R @ samples.C @ R)
    kept = eigenvalues > eigenvalues[-1] * len(R) * torch.finfo(R.dtype).eps
    half = (R @ Q)[:, kept] / eigenvalues[kept].pow(0.25)
    return half @ half.T


def fd(features: Array, reference: Gaussian) -> Measured:
    """Frechet distance of features (N, D), N >= 2, from `reference`, in squared feature units.

    The interval is the delta method's. A change dC of C changes d^2 by tr((I - T) dC) with T the
    optimal map, so sample x_i has the influence

        psi_i = 2 (m - m_w).(x_i - m) + (x_i - m)^T (I - T) (x_i - m) - tr((I - T) C)

    and the standard error is sd(psi) / sqrt(N). It is about the expected value for N samples, which
    lies above the distance of the distributions by a term in 1/N (see `fd_infinity`). Where both
    distributions are alike psi vanishes, but not its estimate at the m and C found, which errs
    towards wider intervals. Flagged where N <= D. Raises ValueError for NaN, a wrong shape, N < 2
    or another D.
    """
    x = check_rows(features, "features", least=2)
    fitted = gaussian(x)
    value = frechet_distance(fitted, reference)
    return normal(value, _standard_error(x, fitted, reference), _flag(x))


def fd_infinity(
    features: Array, reference: Gaussian, *, points: int = 10, seed: int = 2020
) -> Measured:
    """Frechet distance of infinitely many samples, extrapolated from features (N, D), N >= 20.

    Chong and Forsyth 2020, "Effectively unbiased FID and Inception score and where to find them":
    the distance is measured for `points` >= 3 sizes on subsets drawn by `seed` without
    replacement, and the value is the intercept of a least-squares line in 1/n. It may be negative.

    The sizes are even in 1/n, from N down to N/10 (theirs: even in n, from 50,000 down to 5,000),
    but no less than 2 D: there the term in 1/n^2, from the curvature of the root of C, still is
    small beside that in 1/n. Where even N
    is below 4 D they end at N/2, and the line errs more, downwards or upwards.

    Squared standard error: that of `fd` (the N samples, common to all sizes) plus that of the
    intercept (which subsets were drawn), from the residuals. Flagged where N <= D. Raises
    ValueError for NaN, a wrong shape, too few rows or points, or another D.
    """
    if points < 3:
        raise ValueError(f"points: expected a number >= 3, got {points}")
    x = check_rows(features, "features", least=20)
    N, D = x.shape
    fitted = gaussian(x)
    from_samples = _standard_error(x, fitted, reference)
    smallest = min(N / 2, max(N / 10, 2 * D))
    sizes = np.rint(1 / np.linspace(1 / N, 1 / smallest, points)).astype(int)
    rng = np.random.default_rng(seed)
    subsets = (torch.from_numpy(rng.permutation(N)[:n]).to(x.device) for n in sizes[1:])
    fits = [fitted, *(gaussian(x[subset]) for subset in subsets)]
    values = [frechet_distance(fit, reference) for fit in fits]
    (_, value), covariance = np.polyfit(1 / sizes, values, 1, cov=True)
    from_subsets = math.sqrt(covariance[1, 1])
    return normal(float(value), math.hypot(from_samples, from_subsets), _flag(x))


def _root_for(samples: Gaussian, reference: Gaussian) -> Tensor:
    if (D := len(samples.m)) != (D_w := len(reference.m)):
        raise ValueError(f"samples: have {D} dimensions but reference has {D_w}")
    return root(reference.C)


def _standard_error(x: Tensor, fitted: Gaussian, reference: Gaussian) -> float:
    y = x - fitted.m
    moved = y - y @ optimal_map(fitted, reference)
    psi = 2 * y @ (fitted.m - reference.m) + (moved * y).sum(dim=1)
    return float(psi.std()) / math.sqrt(len(x))


def _flag(x: Tensor) -> str:
    return "fewer samples than dimensions" if len(x) <= x.shape[1] else ""
