"""Supports in feature space: precision, recall, density, coverage and the realism of each sample.

Kynkäänniemi et al. 2019, "Improved precision and recall metric for assessing generative models",
eq. 1 and 2 (precision, recall) and 3 (realism): a set's support is the union of balls around its
points, each reaching to the k-th nearest other point. Naeem et al. 2020, "Reliable fidelity and
diversity metrics for generative models", eq. 3 and 4 (density, coverage): the balls stand around
real images alone. A ball holds the points on its surface.

torch-fidelity's `prc_features_to_metric` holds N x N matrices (2.2 GiB at N = 10,000) and takes
more than twice as long, so this goes by blocks, once for all five; a test holds the two together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from genbench.metrics.checks import Array, check_rows
from genbench.metrics.measured import Measured, Z, mean, proportion
from genbench.metrics.neighbours import EQUAL, block_memory, radii, squared_distances

K_SUPPORT = 3
K_DENSITY = 5


class Manifold(NamedTuple):
    """What is computed once of real features (M, D): their centre float64 (D,), the centred
    features float32 (M, D), and squared radii float32 (M,) to the k-th nearest other image, for the
    support's k and the density's."""

    centre: Tensor
    phi: Tensor
    support: Tensor
    density: Tensor


class PRDC(NamedTuple):
    """Precision, recall and coverage in [0, 1]; density >= 0, about 1 for real images; the median
    and the lowest tenth of the samples' realism (1 on a ball's surface, more inside), and the
    realism of each, float64 (N,)."""

    precision: Measured
    recall: Measured
    density: Measured
    coverage: Measured
    realism: Measured
    realism_low: Measured
    realism_per_sample: Tensor


def manifold(
    features: Array, *, k_support: int = K_SUPPORT, k_density: int = K_DENSITY
) -> Manifold:
    """Balls around real features (M, D), M > both k >= 1. Raises ValueError for NaN, a wrong shape,
    or too few rows."""
    _check_k(k_support, k_density)
    y = check_rows(features, "reference", least=max(k_support, k_density) + 1)
    centre = y.mean(0)  # distances do not change, and float32 rounds them less
    phi = (y - centre).float()
    return Manifold(centre, phi, *radii(phi, k_support, k_density))


def prdc(
    samples: Array,
    reference: Manifold,
    *,
    k_support: int = K_SUPPORT,
    k_density: int = K_DENSITY,
) -> PRDC:
    """All five for features (N, D) of samples, N > k_support, against a manifold made with the same
    k.

    All depend on N and M: compare at equal sizes. Intervals: Wilson's over samples for precision,
    normal for density, of ranks for realism; for recall and coverage Wilson's over real images.
    Realism leaves out the half of the real balls with the largest radii, and takes a distance that
    float32 cannot tell from zero for the smallest that it can: a copy is very real, not infinitely.
    A ball of radius zero makes nothing real. Flagged where more than half of the samples, or of the
    real images, have k_support equals. Raises ValueError for NaN, wrong shapes, too few rows or
    k < 1.
    """
    _check_k(k_support, k_density)
    x = check_rows(samples, "samples", least=k_support + 1)
    if x.shape[1] != len(reference.centre):
        raise ValueError(
            f"samples: have {x.shape[1]} dimensions but reference has {len(reference.centre)}; "
            "take both from one extractor"
        )
    phi_g, phi_r = (x - reference.centre).float(), reference.phi
    (radius_g,) = radii(phi_g, k_support)
    n, m = len(phi_g), len(phi_r)
    # How far outside the nearest ball a point is: of each sample, and of each real image.
    outside_r = torch.empty(n, device=x.device)
    outside_g = torch.full((m,), math.inf, device=x.device)
    balls = torch.zeros(n, dtype=torch.float64, device=x.device)
    nearest_sample = torch.full((m,), math.inf, device=x.device)
    realism = torch.empty(n, dtype=torch.float64, device=x.device)
    median = reference.support.median()
    # A radius of zero may be minus zero by rounding, whose reciprocal is minus infinity.
    curvatures = 1 / reference.support.abs()
    squared_curvature = torch.where(reference.support <= median, curvatures, math.inf)
    # Above zero also where all real images are equal.
    least = EQUAL * float(phi_r.square().sum(1).mean()) + torch.finfo(phi_r.dtype).tiny
    memory = block_memory(phi_r)
    for rows, d2 in squared_distances(phi_g, phi_r):
        # Floats throughout: to compare and reduce booleans takes several times as long.
        scratch = memory[: len(d2)]
        outside_r[rows] = torch.sub(d2, reference.support, out=scratch).amin(1)
        reach = torch.sub(d2, radius_g[rows, None], out=scratch).amin(0)
        torch.minimum(outside_g, reach, out=outside_g)
        balls[rows] = torch.le(d2, reference.density, out=scratch).sum(1).double()
        nearest_sample = torch.minimum(nearest_sample, d2.amin(0))
        depth = d2.clamp_min_(least).mul_(squared_curvature)
        realism[rows] = depth.amin(1).double().rsqrt()
    inside_r = decided(outside_r, phi_g, phi_r, reference.support, k_support)
    inside_g = decided(outside_g, phi_r, phi_g, radius_g, k_support)
    equal = [
        name
        for name, radius in (("samples", radius_g), ("real images", reference.support))
        if float(radius.median()) == 0
    ]
    flag = f"more than half of the {' and of the '.join(equal)} have equals" if equal else ""
    return PRDC(
        precision=proportion(int(inside_r.sum()), n, flag),
        recall=proportion(int(inside_g.sum()), m, flag),
        density=mean((balls / k_density).cpu(), flag),
        coverage=proportion(int((nearest_sample <= reference.density).sum()), m, flag),
        realism=quantile(realism, 0.5, flag),
        realism_low=quantile(realism, 0.1, flag),
        realism_per_sample=realism,
    )


def decided(
    outside: Tensor, points: Tensor, centres: Tensor, squared_radii: Tensor, k: int
) -> Tensor:
    """Whether each point (N, D) is in any of the balls around the centres (M, D) that reach to
    their k-th nearest other, bool (N,), given its smallest squared distance less a squared radius.

    Where float32 cannot tell which side of a ball's surface a point is on, float64 does.
    """
    inside = outside <= 0
    norms = centres.square().sum(1)
    tolerance = EQUAL * (points.square().sum(1) + norms.max())
    for i in torch.nonzero((outside.abs() <= tolerance) & (tolerance > 0)).flatten().tolist():
        difference = points[i].double() - centres.double()
        d2 = difference.square().sum(1)
        near = torch.nonzero((d2 - squared_radii).abs() <= tolerance[i]).flatten()
        inside[i] = any(bool(d2[j] <= _squared_radius(centres, int(j), k)) for j in near)
    return inside


def _squared_radius(centres: Tensor, index: int, k: int) -> Tensor:
    """Squared distance float64 of a centre to its k-th nearest other."""
    d2 = (centres[index].double() - centres.double()).square().sum(1)
    return d2.kthvalue(k + 1).values  # each is its own nearest


def _check_k(k_support: int, k_density: int) -> None:
    if min(k_support, k_density) < 1:
        raise ValueError(f"k: expected numbers >= 1, got {k_support} and {k_density}")


def quantile(x: Tensor, q: float, flag: str = "") -> Measured:
    """The q-quantile of values (N,), with the order statistics whose ranks hold the true one in 95%
    of cases, by the normal limit of the binomial; NaN ends where N is too small for that."""
    ordered, n = x.double().sort().values, len(x)
    half = Z * math.sqrt(n * q * (1 - q))
    low, high = math.floor(n * q - half), math.ceil(n * q + half)
    value = float(ordered.quantile(q))
    if low < 0 or high >= n:
        return Measured(value, math.nan, math.nan, flag)
    return Measured(value, float(ordered[low]), float(ordered[high]), flag)
