"""What a metric returns: a value with an interval, and what a reader must know of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from scipy import stats

from genbench.metrics.checks import Array

T = TypeVar("T")

Z = float(stats.norm.ppf(0.975))
"""Half-width of a 95% normal interval, in standard errors."""


class Measured(NamedTuple):
    """A metric's value and the ends of its 95% interval.

    The interval says how far the value would move had the finite set been drawn again: the set
    that `MetricInfo.interval` names (the samples, the real images, the labelled test images), all
    else fixed. It does not cover the bias of a small set, nor another training run. Its ends are
    NaN where the metric has none. `flag` is empty, or says why the value must be read with care,
    such as "fewer samples than dimensions"; it never hides a value that was altered.
    """

    value: float
    low: float
    high: float
    flag: str = ""


def normal(value: float, standard_error: float, flag: str = "") -> Measured:
    """`value` with the ends of its 95% normal interval; they may reach beyond what the metric can
    be, since nothing is clipped."""
    return Measured(value, value - Z * standard_error, value + Z * standard_error, flag)


def mean(x: Array, flag: str = "") -> Measured:
    """Mean of independent values (N,) with its normal interval; NaN ends for N = 1."""
    v = np.asarray(x, dtype=np.float64)
    error = float(v.std(ddof=1) / math.sqrt(len(v))) if len(v) > 1 else math.nan
    return normal(float(v.mean()), error, flag)


def proportion(count: float, n: int, flag: str = "") -> Measured:
    """`count` of `n` independent trials with Wilson's 95% interval (Wilson 1927, eq. 1)."""
    if n < 1 or not 0 <= count <= n:
        raise ValueError(f"count: expected 0 to n >= 1 trials, got {count} of {n}")
    p, z2 = count / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # Exact at the ends, where rounding could put the interval beside the value.
    low, high = (0.0 if count == 0 else middle - half), (1.0 if count == n else middle + half)
    return Measured(p, low, high, flag)


def maximum(x: Array) -> Measured:
    """The largest of values (N,), without an interval: of few it has no normal limit, and its
    bootstrap converges to none. It rises with N, so compare at equal numbers."""
    return Measured(float(np.asarray(x).max()), math.nan, math.nan)


def or_reason(compute: Callable[[], T]) -> T | str:
    """What is computed, or the metric's own word that these samples are too few or too odd for it:
    the text of its ValueError."""
    try:
        return compute()
    except ValueError as error:
        return str(error)
