"""The sliced Wasserstein distance, of pixels as they are: no network has a say in it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genbench.metrics.checks import Array, check_pair
from genbench.metrics.measured import Measured, normal

BLOCK = 32  # projections at once: 32 x 20,000 values a temporary


def sliced_wasserstein(
    samples: Array, reference: Array, *, projections: int = 256, seed: int = 2020
) -> Measured:
    """Mean 1-Wasserstein distance of samples (N, P) and reference (M, P), N and M >= 2, along
    `projections` directions drawn evenly from the sphere by `seed`; in units of the input.

    Bonneel et al. 2015, "Sliced and Radon Wasserstein barycenters of measures", with the exponent 1
    in place of their 2: few outliers then do not rule the value, it is exact for N other
    than M by one sort, and its interval is defined also where the value is 0. Float64.

    Along a direction W = integral |F - G| dt with F, G the distribution functions, so a sample at t
    has the influence phi(t) - mean phi with phi' = sign(G - F), Kantorovich's potential; the
    interval is that of the mean over directions. It is about the expected value for N samples along
    these directions. That is above 0, by about 1 / sqrt(N), even where both are alike. Raises
    ValueError, naming the input, for NaN, wrong shapes, or too few rows or projections.
    """
    if projections < 1:
        raise ValueError(f"projections: expected a number >= 1, got {projections}")
    x, y = check_pair(samples, reference, least=2)
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(projections, x.shape[1], generator=generator, dtype=x.dtype)
    directions = torch.nn.functional.normalize(directions).to(x.device)
    distances, potentials = zip(
        *(_along(a @ x.T, a @ y.T) for a in directions.split(BLOCK)), strict=True
    )
    potential = torch.stack(potentials).sum(dim=0) / projections
    value = float(torch.cat(distances).mean())
    return normal(value, float(potential.std()) / math.sqrt(len(x)))


def _along(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """W (K,) of x (K, N) from y (K, M), row by row, and the sum over rows of phi at x, (N,)."""
    N, M = x.shape[1], y.shape[1]
    z, order = torch.cat([x, y], dim=1).sort(dim=1)
    # N M (F - G) in whole numbers, so that its sign is right also where F and G meet.
    steps = torch.where(order < N, M, -N).cumsum(dim=1)[:, :-1]
    gaps = z.diff(dim=1)
    distances = (steps.abs() * gaps).sum(dim=1) / (N * M)
    phi = torch.zeros_like(z)
    phi[:, 1:] = -(steps.sign() * gaps).cumsum(dim=1)
    return distances, torch.empty_like(z).scatter_(1, order, phi)[:, :N].sum(dim=0)
