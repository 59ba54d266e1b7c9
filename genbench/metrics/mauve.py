"""MAUVE: how far samples and reference are apart in both directions at once, as the area under a
divergence frontier.

Pillutla et al. 2021, "MAUVE: measuring the gap between neural text and human text using divergence
frontiers", section 2. Both sets are quantised to the same k clusters, with P and Q the shares of
samples and reference in each. The mixtures R = lambda P + (1 - lambda) Q make the frontier

    (exp(-c KL(Q | R)), exp(-c KL(P | R))),    0 < lambda < 1,

and MAUVE is the area under it, 1 where P = Q. The first KL grows where P misses a part of Q, the
second where P has what Q has not. The area depends on features, k and c, so it compares only with
values of the same.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize
from torch import Tensor

from genbench.metrics.checks import Array, check_pair
from genbench.metrics.measured import Measured, normal

SCALING = 5.0  # c, as in the paper's experiments
VARIANCE = 0.9  # that principal components keep before clustering
POINTS = 1_000  # of the frontier


def mauve(samples: Array, reference: Array, *, seed: int, scaling: float = SCALING) -> Measured:
    """MAUVE of features (N, D) against (M, D), N and M >= 2, in (0, 1]; higher is better.

    k is a tenth of the smaller set, at least 2. Shares are smoothed by half a count a cluster, the
    estimator of Krichevsky and Trofimov (Pillutla et al. 2023, "MAUVE scores for generative models:
    theory and practice"), so that no empty cluster is called impossible.

    The interval is the delta method's, with the clusters as they were found: where g is the
    gradient of the area in P, a sample in cluster j moves it by g_j / (N + k / 2), so the standard
    error is sqrt(N) sd(g_j) / (N + k / 2). It is about the expected area for N samples in such
    clusters, which lies below that of the distributions. Where both sets are alike g vanishes but
    for noise, and the interval is too narrow. Raises ValueError for NaN, wrong shapes, too few
    rows, or where all rows of both sets are equal.
    """
    x, y = check_pair(samples, reference, least=2)
    cluster_x, cluster_y = clusters(x.cpu().numpy(), y.cpu().numpy(), seed=seed)
    k, N = int(max(cluster_x.max(), cluster_y.max())) + 1, len(x)
    P = smoothed(np.bincount(cluster_x, minlength=k)).requires_grad_()
    area = frontier_area(P, smoothed(np.bincount(cluster_y, minlength=k)), scaling)
    (g,) = torch.autograd.grad(area, P)
    error = math.sqrt(N) * float(g[torch.from_numpy(cluster_x).long()].std()) / (N + k / 2)
    return normal(area.item(), error)


def clusters(x: np.ndarray, y: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The clusters 0..k-1, int (N,) and (M,), of rows (N, D) and (M, D).

    As in the authors' code: each row is brought to length 1, then k-means of both sets at once, the
    best of five starts drawn by `seed`, on the principal components that keep nine tenths of the
    variance.
    """
    both = normalize(np.concatenate([x, y]))
    distinct = len(np.unique(both, axis=0))
    if distinct == 1:
        raise ValueError("samples: all rows, and all of the reference, are equal")
    k = min(max(2, round(min(len(x), len(y)) / 10)), distinct)
    components = PCA(VARIANCE, svd_solver="full").fit_transform(both)
    k = min(k, len(np.unique(components, axis=0)))
    found = KMeans(k, n_init=5, max_iter=500, random_state=seed).fit_predict(components)
    return found[: len(x)], found[len(x) :]


def smoothed(counts: np.ndarray) -> Tensor:
    """Shares float64 (k,) of counts (k,), half a count added to each."""
    n = torch.from_numpy(counts).double() + 0.5
    return n / n.sum()


def frontier_area(P: Tensor, Q: Tensor, scaling: float = SCALING) -> Tensor:
    """The area under the frontier of shares float64 (k,) P and Q, each of sum 1, no cluster being
    empty in both; by trapezoids, with an error below 1e-6. Differentiable where no share is 0."""
    mix = torch.arange(1, POINTS, dtype=torch.float64)[:, None] / POINTS
    # The frontier runs from where P alone is covered to where Q alone is; beyond, it is level.
    R = mix.flip(0) * P + (1 - mix.flip(0)) * Q
    x, y = (torch.exp(-scaling * torch.xlogy(D, D / R).sum(dim=1)) for D in (Q, P))
    one, zero = x.new_ones(1), x.new_zeros(1)
    return torch.trapezoid(torch.cat([one, y, zero]), torch.cat([zero, x, one]))
