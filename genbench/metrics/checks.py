"""What every metric asks of its arrays."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray | Tensor


def check_rows(x: Array, name: str, least: int = 1) -> Tensor:
    """`x` as a float64 tensor (N, D) on the device it is on, unless it is not real and finite, not
    of two axes with D >= 1, or N < `least`: then ValueError, calling it `name`."""
    if not isinstance(x, Tensor):
        x = np.asarray(x)
        if x.dtype.kind not in "fiu":
            raise ValueError(f"{name}: expected real numbers, got {x.dtype}")
        x = torch.from_numpy(np.array(x, order="C"))
    if x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"{name}: expected real numbers, got {x.dtype}")
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"{name}: expected shape (N, D >= 1), got {tuple(x.shape)}")
    if len(x) < least:
        raise ValueError(f"{name}: needs at least {least} rows, got {len(x)}")
    if x.is_floating_point() and not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).any(dim=1).sum())
        raise ValueError(f"{name}: {bad} of {len(x)} rows hold NaN or infinity")
    return x.double()


def check_pair(samples: Array, reference: Array, least: int) -> tuple[Tensor, Tensor]:
    """Both as float64 (N, D) and (M, D), N and M at least `least`; ValueError otherwise."""
    x, y = check_rows(samples, "samples", least), check_rows(reference, "reference", least)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"samples: have {x.shape[1]} dimensions but reference has {y.shape[1]}; "
            "take both from one extractor"
        )
    return x, y
