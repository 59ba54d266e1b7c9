"""The kernel distance (KID): an unbiased estimate of a squared maximum mean discrepancy.

Binkowski et al. 2018, "Demystifying MMD GANs", section 4: k(x, y) = (x.y / D + 1)^3, averaged over
random subsets. Unlike the Frechet distance its expectation does not depend on the sample size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch_fidelity.metric_kid import (
    KEY_METRIC_KID_MEAN,
    KEY_METRIC_KID_STD,
    kid_features_to_metric,
)

from genbench.metrics.checks import check_pair


class KernelDistance(NamedTuple):
    """Mean and standard deviation over subsets. Subsets overlap, so std / sqrt(subsets) is only
    the error of drawing few of them, not that of having few samples."""

    mean: float
    std: float


def kernel_distance(
    samples: np.ndarray,
    reference: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> KernelDistance:
    """KID of features (N, D) against features (M, D), N and M >= `subset_size` >= 2.

    Computed in float64; may be slightly negative where both are alike. The same `seed` gives the
    same subsets. Raises ValueError for NaN, wrong shapes, or too few rows.
    """
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"need subsets >= 1 and subset_size >= 2, got {subsets}, {subset_size}")
    x, y = check_pair(samples, reference, least=subset_size)
    out = kid_features_to_metric(
        torch.from_numpy(x),
        torch.from_numpy(y),
        kid_subsets=subsets,
        kid_subset_size=subset_size,
        rng_seed=seed,
        verbose=False,
    )
    return KernelDistance(out[KEY_METRIC_KID_MEAN], out[KEY_METRIC_KID_STD])
