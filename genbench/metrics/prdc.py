"""Improved precision and recall.

Kynkäänniemi et al. 2019, "Improved precision and recall metric for assessing generative models",
eq. 1 and 2: a set's support is the union of balls around its points, each reaching to the k-th
nearest other point.

torch-fidelity's `prc_features_to_metric` holds N x N matrices (2.2 GiB at N = 10,000) and takes
more than twice as long, so this goes by blocks; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genbench.metrics.checks import check_pair

BLOCK = 1000  # rows of a distance matrix in memory at once: 40 MB at N = 10,000

# Squared distances under this part of the squared norms are float32 rounding: equal points. Were
# they left, balls of radius zero around repeated samples would hold their own copies by chance.
EQUAL = 1e-6

Array = NDArray[np.float32]


class PrecisionRecall(NamedTuple):
    """Fractions in [0, 1]: samples inside the support of the reference, and the reverse."""

    precision: float
    recall: float


def precision_recall(samples: np.ndarray, reference: np.ndarray, *, k: int = 3) -> PrecisionRecall:
    """Precision and recall of features (N, D) against (M, D), N and M > k >= 1.

    Both depend on N and M: compare at equal sizes. Raises ValueError for NaN, wrong
    shapes, or too few rows.
    """
    if k < 1:
        raise ValueError(f"k: expected a number of neighbours >= 1, got {k}")
    x, y = check_pair(samples, reference, least=k + 1)
    centre = y.mean(axis=0)  # distances do not change, and float32 rounds them less
    phi_g, phi_r = (x - centre).astype(np.float32), (y - centre).astype(np.float32)
    radius_g, radius_r = _radii(phi_g, k), _radii(phi_r, k)
    inside_r = np.zeros(len(phi_g), dtype=bool)
    inside_g = np.zeros(len(phi_r), dtype=bool)
    for rows, d2 in _squared_distances(phi_g, phi_r):
        inside_r[rows] = (d2 <= radius_r).any(axis=1)
        inside_g |= (d2 <= radius_g[rows, None]).any(axis=0)
    return PrecisionRecall(float(inside_r.mean()), float(inside_g.mean()))


def _radii(phi: Array, k: int) -> Array:
    """Squared distance (N,) of each row to its k-th nearest other row."""
    # Each row is its own nearest neighbour, hence index k and not k - 1.
    return np.concatenate(
        [np.partition(d2, k, axis=1)[:, k] for _, d2 in _squared_distances(phi, phi)]
    )


def _squared_distances(a: Array, b: Array) -> Iterator[tuple[slice, Array]]:
    """Blocks of rows of the (N, M) matrix of squared distances, each with the rows it covers."""
    norms_a, norms_b = (a * a).sum(axis=1), (b * b).sum(axis=1)
    for start in range(0, len(a), BLOCK):
        rows = slice(start, start + BLOCK)
        norms = norms_a[rows, None] + norms_b
        d2 = norms - 2 * (a[rows] @ b.T)
        d2[d2 < EQUAL * norms] = 0
        yield rows, d2
