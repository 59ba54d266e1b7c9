"""Squared Euclidean distances between two sets of features, by blocks, and nearest neighbours.

Distances are float32, which takes half the time of float64, of features that the caller has centred
on one point, which rounds them least.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from genbench.metrics.checks import Array, check_pair

BLOCK = 2_000_000  # distances in memory at once, 8 MB

# Squared distances under this part of the squared norms are float32 rounding: equal points. Were
# they left, balls of radius zero around repeated samples would hold their own copies by chance.
EQUAL = 1e-6


def squared_distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of rows of the (N, M) matrix of squared distances of a (N, D) and b (M, D), float32,
    each with the rows that it covers. A block is the caller's until the next is asked for, which
    overwrites it."""
    norms_a, norms_b = a.square().sum(1), b.square().sum(1)
    # One memory for all blocks: fresh ones leave holes that grow to gigabytes.
    all_d2, all_least = block_memory(b), block_memory(b)
    for start in range(0, len(a), len(all_d2)):
        rows = slice(start, min(start + len(all_d2), len(a)))
        d2, least = (x[: rows.stop - start] for x in (all_d2, all_least))
        torch.addmm(norms_b, a[rows], b.T, alpha=-2, out=d2).add_(norms_a[rows, None])
        torch.add(norms_a[rows, None], norms_b, out=least).mul_(EQUAL)
        # A factor of 0 or 1: float comparisons take a third of the time of boolean masks.
        yield rows, d2.mul_(torch.ge(d2, least, out=least))


def block_memory(b: Tensor) -> Tensor:
    """Room for one block of distances to the rows of b (M, D): (height, M)."""
    return b.new_empty(max(1, BLOCK // len(b)), len(b))


def radii(phi: Tensor, *k: int) -> tuple[Tensor, ...]:
    """Squared distances (N,) of each row of phi (N, D) to its k-th nearest other, for each k."""
    # Each row is its own nearest neighbour, hence index k and not k - 1.
    parts = [d2.topk(max(k) + 1, largest=False).values for _, d2 in squared_distances(phi, phi)]
    nearest_first = torch.cat(parts)
    return tuple(nearest_first[:, each].contiguous() for each in k)


def nearest(queries: Array, points: Array) -> tuple[Tensor, Tensor]:
    """Distance float64 (N,) of each query to its nearest point, and that point's index (N,) int64.

    queries: (N, D); points: (M, D). Distances that float32 cannot tell from zero are zero. Raises
    ValueError for NaN or wrong shapes.
    """
    x, y = check_pair(queries, points, least=1)
    centre = y.mean(0)
    a, b = (x - centre).float(), (y - centre).float()
    found = [d2.min(dim=1) for _, d2 in squared_distances(a, b)]
    distances = torch.cat([each.values for each in found]).double().sqrt()
    return distances, torch.cat([each.indices for each in found])


def nearest_other(points: Array) -> Tensor:
    """Distance float64 (N,) of each point to its nearest other point; points (N, D), N >= 2."""
    x, _ = check_pair(points, points, least=2)
    (squared,) = radii((x - x.mean(0)).float(), 1)
    return squared.double().sqrt()
