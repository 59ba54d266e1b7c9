"""What every metric asks of its arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def check_rows(x: np.ndarray, name: str, least: int = 1) -> NDArray[np.float64]:
    """`x` as float64 (N, D), unless it is not real and finite, not of two axes with D >= 1, or
    N < `least`: then ValueError, calling it `name`."""
    x = np.asarray(x)
    if x.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected real numbers, got {x.dtype}")
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"{name}: expected shape (N, D >= 1), got {x.shape}")
    if len(x) < least:
        raise ValueError(f"{name}: needs at least {least} rows, got {len(x)}")
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).any(axis=1).sum())
        raise ValueError(f"{name}: {bad} of {len(x)} rows hold NaN or infinity")
    return x.astype(np.float64)


def check_pair(
    samples: np.ndarray, reference: np.ndarray, least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 (N, D) and (M, D), N and M at least `least`; ValueError otherwise."""
    x, y = check_rows(samples, "samples", least), check_rows(reference, "reference", least)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"samples: have {x.shape[1]} dimensions but reference has {y.shape[1]}; "
            "take both from one extractor"
        )
    return x, y
