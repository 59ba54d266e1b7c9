"""Kernel distances: unbiased estimates of a squared maximum mean discrepancy (MMD).

Gretton et al. 2012, "A kernel two-sample test", eq. 3: with the means over pairs of different rows,

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y)

Unlike the Frechet distance its expectation does not depend on the number of samples, and it may
fall below 0 where both sets are alike.

Both intervals rest on the means by row, r_i = mean_j k(x_i, x_j) - mean_j k(x_i, y_j), of which the
estimate is a U-statistic of order 2 in the samples. Its variance (Hoeffding 1948, section 5; for
the MMD: Sutherland et al. 2017, "Generative models and model criticism via optimized maximum mean
discrepancy") is about

    4 zeta_1 / N + 2 zeta / N^2

with zeta_1 the variance of the projection E[r | x] and zeta that of what h(x, x') =
k(x, x') - E k(x, y) - E k(x', y) keeps beyond its projections. zeta_1 vanishes where both sets are
alike (there Gretton et al. 2012, theorem 12, have zeta alone), so a plug-in of the first term would
collapse. But the r_i that are found average over finitely many partners, and for N of those their
variance is zeta_1 + zeta / N: 4 var(r) / N holds the first term once and the second one twice. It
errs towards wider intervals near 0, by at most sqrt(2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from genbench.metrics.checks import Array, check_pair, check_rows
from genbench.metrics.measured import Measured, normal

Kernel = Callable[[Tensor, Tensor], Tensor]
"""k of each row of a (n, D) with each row of b (m, D): (n, m)."""

BLOCK = 2000  # rows at once
MEDIAN_ROWS = 1000


def kernel_distance(
    samples: Array,
    reference: Array,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> Measured:
    """KID: the mean MMD^2 of random subsets of features (N, D) and (M, D), N and M at least
    `subset_size` >= 2, with the kernel k(x, y) = (x.y / D + 1)^3. Float64.

    Binkowski et al. 2018, "Demystifying MMD GANs", section 4. The same `seed` gives the same
    subsets as torch-fidelity has. Squared standard error: 4 var(r) / N for the samples, with each
    r_i a mean over the subsets that hold x_i, plus s^2 / subsets, with s the standard deviation
    over subsets, for drawing only so many; so a single subset gives no interval (NaN ends). Raises
    ValueError for NaN, wrong shapes, or too few rows or subsets.
    """
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"need subsets >= 1 and subset_size >= 2, got {subsets}, {subset_size}")
    x, y = check_pair(samples, reference, least=subset_size)
    N = len(x)
    rng = np.random.RandomState(seed)
    values, sums, times = np.empty(subsets), x.new_zeros(N), x.new_zeros(N)

    for s in range(subsets):
        i, j = (
            torch.from_numpy(rng.choice(len(z), subset_size, replace=False)).to(z.device)
            for z in (x, y)
        )
        r, values[s] = _mmd(_cubic, x[i], y[j], block=subset_size // 4 + 1)
        sums[i] += r
        times[i] += 1
    drawn = times > 0
    from_samples = 4 * float((sums[drawn] / times[drawn]).var()) / N
    from_subsets = float(values.var(ddof=1)) / subsets if subsets > 1 else math.nan
    return normal(float(values.mean()), math.sqrt(from_samples + from_subsets))


def median_bandwidth(reference: Array, *, seed: int = 2020) -> float:
    """Median distance between the pairs of 1,000 rows of (M, D), M >= 2, drawn by `seed`, or of all
    rows where there are fewer; in feature units.

    The heuristic of Gretton et al. 2012, section 8, but of the reference alone, so that all sets of
    samples meet one kernel. Raises ValueError for NaN, a wrong shape, too
    few rows, or where the median is 0 since most rows are equal.
    """
    y = check_rows(reference, "reference", least=2)
    drawn = np.random.default_rng(seed).permutation(len(y))[:MEDIAN_ROWS]
    median = float(torch.pdist(y[torch.from_numpy(drawn).to(y.device)]).quantile(0.5))
    if median == 0:
        raise ValueError("reference: most of its rows are equal, so their median distance is 0")
    return median


def mmd_rbf(samples: Array, reference: Array, *, bandwidth: float) -> Measured:
    """MMD^2 over all pairs of features (N, D) and (M, D), N and M >= 2, with the kernel
    k(x, y) = exp(-|x - y|^2 / (2 sigma^2)), sigma the `bandwidth` in feature units; at most 2.

    Kernel values are taken in float32, after centring on the reference, and summed in float64: the
    exponent's error is about 1e-7 |x|^2 / sigma^2. Squared standard error: 4 var(r) / N. Raises
    ValueError, naming the input, for NaN, wrong shapes, too few rows or a bandwidth not above 0.
    """
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth: expected a number above 0, got {bandwidth}")
    x, y = check_pair(samples, reference, least=2)
    m = y.mean(dim=0)
    r, value = _mmd(_gauss, ((x - m) / bandwidth).float(), ((y - m) / bandwidth).float(), BLOCK)
    return normal(value, 2 * float(r.std()) / math.sqrt(len(x)))


def _cubic(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T).div_(a.shape[1]).add_(1).pow_(3)


def _gauss(a: Tensor, b: Tensor) -> Tensor:
    norms = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    return norms.addmm_(a, b.T, beta=-0.5).exp_()


def _mmd(k: Kernel, x: Tensor, y: Tensor, block: int) -> tuple[Tensor, float]:
    """r (N,) and the unbiased MMD^2 of x (N, D) and y (M, D), in float64."""
    N, M = len(x), len(y)
    across = torch.cat([k(a, y).sum(dim=1, dtype=torch.float64) for a in x.split(block)]) / M
    r = _sums_of_others(k, x, block) / (N - 1) - across
    within = _sums_of_others(k, y, block).sum() / (M * (M - 1))
    return r, float(r.mean() - across.mean() + within)


def _sums_of_others(k: Kernel, x: Tensor, block: int) -> Tensor:
    """sum_{j != i} k(x_i, x_j), (N,) float64; each pair is asked for once."""
    sums = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    blocks = [(x[i : i + block], sums[i : i + block]) for i in range(0, len(x), block)]
    for i, (a, sums_a) in enumerate(blocks):
        sums_a += k(a, a).fill_diagonal_(0).sum(dim=1, dtype=torch.float64)
        for b, sums_b in blocks[i + 1 :]:
            K = k(a, b)
            sums_a += K.sum(dim=1, dtype=torch.float64)
            sums_b += K.sum(dim=0, dtype=torch.float64)
    return sums
