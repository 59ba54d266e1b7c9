"""How many distinct images can a generator make? The birthday test.

Arora, Risteski and Zhang 2018, "Do GANs learn the distribution? Some theory and empirics", section
3: among N draws from S equally likely images, N (N - 1) / 2S pairs are expected to be equal.
"""

from __future__ import annotations

import math

from scipy import stats

from genbench.metrics.checks import Array, check_rows
from genbench.metrics.measured import Measured
from genbench.metrics.neighbours import nearest_other, squared_distances

# The share of real images that are allowed a near-duplicate: by it the radius is set.
RATE = 0.01


def duplicate_radius(real: Array, *, rate: float = RATE) -> float:
    """The distance under which two images count as near-duplicates: the `rate`-quantile of the
    distance between real images (M, D) and their nearest others, M >= 2.

    Nearer pairs are rare among real images, so many of them among samples mean repetition. By
    calibrating on pairs, no judgement of what looks alike is needed. Raises ValueError for NaN or a
    wrong shape.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate: expected a share between 0 and 1, got {rate}")
    return float(nearest_other(check_rows(real, "real", least=2)).quantile(rate))


def distinct_samples(samples: Array, radius: float) -> Measured:
    """An estimate of how many distinct images the samples (N, D) were drawn from: N (N - 1) / 2c
    with c the number of pairs within `radius`.

    That is 1 / sum p^2 for images of unequal probability p: a few frequent ones count most. Real
    images have near-duplicates at the rate that `duplicate_radius` allows, so as many of them come
    out at about M / rate; more than that cannot be told. The interval is the exact one of a Poisson
    count (Garwood 1936), right for images of equal probability and too narrow for others. Without
    any pair the value is the lower end of that interval, and flagged as a bound. Raises ValueError
    for NaN, a wrong shape, N < 2, or a radius that is negative or not finite.
    """
    if not 0 <= radius < math.inf:
        raise ValueError(f"radius: expected a distance >= 0, got {radius}")
    x = check_rows(samples, "samples", least=2)
    n, phi = len(x), (x - x.mean(0)).float()
    within = sum(int((d2 <= radius**2).sum()) for _, d2 in squared_distances(phi, phi))
    c, pairs = (within - n) / 2, n * (n - 1) / 2
    most = float(stats.chi2.ppf(0.975, 2 * c + 2)) / 2
    if c == 0:
        bound = pairs / most
        return Measured(bound, bound, math.nan, "no near-duplicates: a lower bound")
    fewest = float(stats.chi2.ppf(0.025, 2 * c)) / 2
    return Measured(pairs / c, pairs / most, pairs / fewest)
