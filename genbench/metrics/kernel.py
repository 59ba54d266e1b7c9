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
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from genbench.metrics.checks import Array, check_pair, check_rows
from genbench.metrics.measured import Measured, normal

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""k of each row of a (n, D) with each row of b (m, D), written to the third argument (n, m)."""

BLOCK = 2000  # rows at once
MEDIAN_ROWS = 1000


def kernel_distance(
    samples: Array,
    reference: Array,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
    within: Array | None = None,
) -> Measured:
    """KID: the mean MMD^2 of random subsets of features (N, D) and (M, D), N and M at least
    `subset_size` >= 2, with the kernel k(x, y) = (x.y / D + 1)^3. Float64.

    Binkowski et al. 2018, "Demystifying MMD GANs", section 4. The same `seed` gives the same
    subsets as torch-fidelity has. Squared standard error: 4 var(r) / N for the samples, with each
    r_i a mean over the subsets that hold x_i, plus s^2 / subsets, with s the standard deviation
    over subsets, for drawing only so many; so a single subset gives no interval (NaN ends).
    within: `within_subsets` of the same reference and settings, where it was kept. Raises
    ValueError for NaN, wrong shapes, or too few rows or subsets.
    """
    x, y = check_pair(samples, reference, least=subset_size)
    if within is None:
        within = within_subsets(y, len(x), subsets=subsets, subset_size=subset_size, seed=seed)
    if len(within) != subsets:
        raise ValueError(f"within: expected {subsets} values, got {len(within)}")
    space = x.new_empty(((subset_size + 1) // 2) ** 2)
    values, sums, times = np.empty(subsets), x.new_zeros(len(x)), x.new_zeros(len(x))
    drawn = _subsets(len(x), len(y), subsets, subset_size, seed)
    for s, (i, j) in enumerate(drawn):
        i, j = i.to(x.device), j.to(x.device)
        across = _sums_across(_cubic, x[i], y[j], space) / subset_size
        r = _sums_of_others(_cubic, x[i], space) / (subset_size - 1) - across
        values[s] = r.mean() - across.mean() + within[s]
        sums[i] += r
        times[i] += 1
    seen = times > 0
    from_samples = 4 * float((sums[seen] / times[seen]).var()) / len(x)
    from_subsets = float(values.var(ddof=1)) / subsets if subsets > 1 else math.nan
    return normal(float(values.mean()), math.sqrt(from_samples + from_subsets))


def within_subsets(
    reference: Array, samples: int, *, subsets: int, subset_size: int, seed: int
) -> Tensor:
    """The part of `kernel_distance` that depends on the reference (M, D) alone: mean k(y, y') over
    the pairs of different rows of each subset, (subsets,) float64.

    samples: N, on which the reference's subsets depend, as both sets' are drawn in turn. Raises
    ValueError as `kernel_distance` does.
    """
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"need subsets >= 1 and subset_size >= 2, got {subsets}, {subset_size}")
    y = check_rows(reference, "reference", least=subset_size)
    space = y.new_empty(((subset_size + 1) // 2) ** 2)
    drawn = _subsets(samples, len(y), subsets, subset_size, seed)
    sums = [_sums_of_others(_cubic, y[j.to(y.device)], space).sum() for _, j in drawn]
    return torch.stack(sums) / (subset_size * (subset_size - 1))


def _subsets(N: int, M: int, subsets: int, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Row numbers (size,) int64 of each subset of N samples and M reference rows."""
    rng = np.random.RandomState(seed)
    for _ in range(subsets):
        i, j = (torch.from_numpy(rng.choice(n, size, replace=False)) for n in (N, M))
        yield i, j


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
    m, N, M = y.mean(dim=0), len(x), len(y)
    u, v = (((z - m) / bandwidth).float() for z in (x, y))
    space = u.new_empty(min(BLOCK, max(N, M)) ** 2)
    across = _sums_across(_gauss, u, v, space) / M
    r = _sums_of_others(_gauss, u, space) / (N - 1) - across
    within = _sums_of_others(_gauss, v, space).sum() / (M * (M - 1))
    value = float(r.mean() - across.mean() + within)
    return normal(value, 2 * float(r.std()) / math.sqrt(N))


def _cubic(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    return torch.addmm(a.new_ones(1), a, b.T, alpha=1 / a.shape[1], out=out).pow_(3)


def _gauss(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    torch.add(a.square().sum(dim=1)[:, None], b.square().sum(dim=1), out=out)
    return out.addmm_(a, b.T, beta=-0.5).exp_()


# Blocks are written to the memory of `space`, one over another: to ask for fresh memory for each
# would take as long as the arithmetic.


def _sums_across(k: Kernel, x: Tensor, y: Tensor, space: Tensor) -> Tensor:
    """sum_j k(x_i, y_j), (N,) float64."""
    sums = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    block = math.isqrt(len(space))
    for a, sums_a in zip(x.split(block), sums.split(block), strict=True):
        for b in y.split(block):
            sums_a += _block(k, a, b, space).sum(dim=1, dtype=torch.float64)
    return sums


def _sums_of_others(k: Kernel, x: Tensor, space: Tensor) -> Tensor:
    """sum_{j != i} k(x_i, x_j), (N,) float64; each pair is asked for once."""
    sums = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    block = math.isqrt(len(space))
    blocks = list(zip(x.split(block), sums.split(block), strict=True))
    for i, (a, sums_a) in enumerate(blocks):
        sums_a += _block(k, a, a, space).fill_diagonal_(0).sum(dim=1, dtype=torch.float64)
        for b, sums_b in blocks[i + 1 :]:
            K = _block(k, a, b, space)
            sums_a += K.sum(dim=1, dtype=torch.float64)
            sums_b += K.sum(dim=0, dtype=torch.float64)
    return sums


def _block(k: Kernel, a: Tensor, b: Tensor, space: Tensor) -> Tensor:
    """k of rows of a with rows of b, (n, m), in the memory of `space`."""
    return k(a, b, space[: len(a) * len(b)].view(len(a), len(b)))
