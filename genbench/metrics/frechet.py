"""The Frechet distance between Gaussians fitted to two sets of features.

Dowson and Landau 1982, "The Frechet distance between multivariate normal distributions", eq. 4;
on features of images: Heusel et al. 2017, "GANs trained by a two time-scale update rule", eq. 6.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genbench.metrics.checks import check_rows


class Gaussian(NamedTuple):
    """Mean m float64 (D,) and covariance C float64 (D, D)."""

    m: NDArray[np.float64]
    C: NDArray[np.float64]


def gaussian(features: np.ndarray, name: str = "features") -> Gaussian:
    """Mean and unbiased covariance, in float64, of features (N, D), N >= 2.

    With N <= D the covariance is singular: the distance is still defined, but biased upwards.
    Raises ValueError, calling the input `name`, for NaN, a wrong shape or N < 2.
    """
    x = check_rows(features, name, least=2)
    m = x.mean(axis=0)
    return Gaussian(m, (x - m).T @ (x - m) / (len(x) - 1))


def frechet_distance(samples: Gaussian, reference: Gaussian) -> float:
    """d^2 = |m - m_w|^2 + tr(C + C_w - 2 (C C_w)^(1/2)), >= 0, in squared feature units.

    C C_w has the eigenvalues of the symmetric C^(1/2) C_w C^(1/2), so the trace of its root is the
    sum of their roots: no `sqrtm`, and no imaginary parts from rounding. Both arguments come from
    `gaussian`, of the same dimension, or ValueError is raised.
    """
    (m, C), (m_w, C_w) = samples, reference
    if m.shape != m_w.shape:
        raise ValueError(f"samples: have {m.size} dimensions but reference has {m_w.size}")
    eigenvalues, Q = np.linalg.eigh(C)
    root = (Q * np.sqrt(eigenvalues.clip(min=0))) @ Q.T
    trace_of_root = np.sqrt(np.linalg.eigvalsh(root @ C_w @ root).clip(min=0)).sum()
    distance = ((m - m_w) ** 2).sum() + np.trace(C) + np.trace(C_w) - 2 * trace_of_root
    return max(0.0, float(distance))  # rounding alone can take it below zero
