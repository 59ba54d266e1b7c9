"""How sure we are: intervals, tests and ranks over seeds.

Intervals say how far an estimate would move had the models been trained again from other seeds,
and nothing about other data sets, budgets or settings. Those of means are Student's t intervals.
They rest on normality of the values over seeds, and with few seeds nothing can check that: at
n = 3 the mean stands within 4.30 standard errors, and one odd seed moves both the mean and the
width. `coverage_table` simulates what each interval does where values are not normal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]
"""Draws n values: (generator, n) -> (n,)."""
Scores = Mapping[str, ArrayLike] | np.ndarray
"""Runs on tasks (data sets): task -> values (n_t,), or an array (runs, tasks)."""

# Differences that vary by less than this share of the values vary by rounding alone.
ROUNDING = 1e-12
# Seeds that two models must share before their difference is tested. The test has a degree of
# freedom less than there are differences, and with one its answer is all but a matter of luck.
FEWEST = 3


@dataclass(frozen=True)
class Estimate:
    """A mean, or what else a function says, with the ends of its interval, over n values. The ends
    are NaN where there is no interval, as for n < 2, and the estimate where n = 0."""

    estimate: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    @property
    def holds_zero(self) -> bool:
        """Whether the interval leaves the sign open; one that does not exist does, too."""
        return not (self.low > 0 or self.high < 0)


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean and Student-t interval: mean +- t_{n-1} s / sqrt(n).

    It rests on normality; at n = 3, t = 4.30. Raises ValueError for NaN or infinity: whoever leaves
    out runs without a value says so where the result is shown.
    """
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError(f"expected finite values, got {x}")
    n = len(x)
    mean = float(x.mean()) if n else math.nan
    if n < 2:
        return Estimate(mean, math.nan, math.nan, n)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * x.std(ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


def paired_difference(a: Mapping[int, float], b: Mapping[int, float]) -> Estimate:
    """Mean of a - b over the seeds that both have, with its t interval.

    a, b: seed -> value. Pairing takes out what seeds share; where two models share nothing by
    having the same seed, it is still valid and only gives up degrees of freedom.
    """
    shared = sorted(set(a) & set(b))
    return mean_interval([a[seed] - b[seed] for seed in shared])


def detectable_difference(
    deviation: float, n: int, power: float = 0.8, confidence: float = 0.95
) -> float:
    """The true mean difference that a two-sided paired t test would find with probability `power`,
    when differences have standard deviation `deviation` and there are n of them.

    NaN where n < 2.
    """
    if n < 2 or not math.isfinite(deviation):
        return math.nan
    # The noncentral t distribution, as a mixture over the estimated deviation: SciPy's own returns
    # NaN for few degrees of freedom.
    ranks = (np.arange(4000) + 0.5) / 4000
    estimated = np.sqrt(stats.chi2.ppf(ranks, n - 1) / (n - 1))
    reach = stats.t.ppf((1 + confidence) / 2, n - 1) * estimated

    def missing(shift: float) -> float:
        found = stats.norm.sf(reach - shift) + stats.norm.cdf(-reach - shift)
        return float(found.mean()) - power

    enough = 1.0
    while missing(enough) < 0:
        enough *= 2
    return float(optimize.brentq(missing, 0, enough)) * deviation / math.sqrt(n)


def deviation_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Estimate:
    """Standard deviation with its chi-square interval, which rests on normality; NaN for n < 2."""
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if n < 2:
        return Estimate(math.nan, math.nan, math.nan, n)
    s = float(x.std(ddof=1))
    tails = ((1 + confidence) / 2, (1 - confidence) / 2)
    low, high = (s * math.sqrt((n - 1) / stats.chi2.ppf(tail, n - 1)) for tail in tails)
    return Estimate(s, float(low), float(high), n)


def median(values: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Median over seeds (n,), which may hold infinities of one sign, with its interval.

    Where the order statistics x_(k) and x_(n+1-k) can hold the median often enough (n >= 6 at 95%)
    they are the interval: it holds for any continuous distribution (Thompson 1936, "On confidence
    ranges for the median"). With fewer values no interval can promise that; it is then median +-
    c s, with s the standard deviation and c such that normal values are covered exactly, and does
    not exist with an infinity among the values. Raises ValueError for NaN.
    """
    x = np.sort(_ordered(values, "values"))
    n = len(x)
    middle = float(np.median(x)) if n else math.nan
    k = int(stats.binom.ppf((1 - confidence) / 2, n, 0.5)) if n else 0
    if k:
        return Estimate(middle, float(x[k - 1]), float(x[n - k]), n)
    if n < 2 or not np.isfinite(x).all():
        return Estimate(middle, math.nan, math.nan, n)
    half = _median_reach(n, confidence) * float(x.std(ddof=1))
    return Estimate(middle, middle - half, middle + half, n)


@lru_cache
def _median_reach(n: int, confidence: float) -> float:
    """The quantile of |median| / s over n standard normal values, by simulation: it has no closed
    form for most n. Its relative error is under 1%."""
    z = np.random.default_rng(0).normal(size=(200_000, n))
    ratio = np.abs(np.median(z, axis=1)) / z.std(axis=1, ddof=1)
    return float(np.quantile(ratio, confidence))


def interquartile_mean(values: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Mean of the values (n,) without the lowest and highest g = floor(n / 4), with an interval.

    The interval is that of Tukey and McLaughlin 1963 ("Less vulnerable confidence and significance
    procedures for location based on a single sample"): Student's t on h - 1 = n - 2g - 1 degrees of
    freedom, with the standard error from the winsorised sum of squares over h (h - 1). Below n = 4
    nothing is cut and it is `mean_interval`. Up to g infinities of one sign leave both finite; with
    more of them the interval does not exist. Raises ValueError for NaN.
    """
    x = np.sort(_ordered(values, "values"))
    n = len(x)
    g, estimate = n // 4, float(stats.trim_mean(x, 0.25)) if n else math.nan
    h = n - 2 * g
    if h < 2 or not math.isfinite(estimate):
        return Estimate(estimate, math.nan, math.nan, n)
    winsorised = np.concatenate([[x[g]] * g, x[g : n - g], [x[n - g - 1]] * g])
    error = winsorised.std() * math.sqrt(n / (h * (h - 1)))
    half = float(stats.t.ppf((1 + confidence) / 2, h - 1) * error)
    return Estimate(estimate, estimate - half, estimate + half, n)


def with_failures(values: ArrayLike, failed: ArrayLike, higher_is_better: bool) -> Floats:
    """Values (n,) with every failed run that left none as the worst there is: -inf where higher is
    better, +inf where lower is.

    For statistics of ranks alone (median, probability of improvement); a mean of it says nothing.
    failed: (n,) bool; a failed run that did leave a value keeps it. Raises ValueError where a run
    that did not fail has no value, or the shapes differ.
    """
    x, lost = np.array(values, dtype=np.float64), np.asarray(failed, dtype=bool)
    if x.ndim != 1 or x.shape != lost.shape:
        raise ValueError(f"failed: expected the shape of values, {x.shape}, got {lost.shape}")
    absent = np.isnan(x)
    if (absent & ~lost).any():
        raise ValueError(f"values: {(absent & ~lost).sum()} runs that did not fail have no value")
    x[absent] = -math.inf if higher_is_better else math.inf
    return x


class Bands(NamedTuple):
    """A statistic and the ends of its interval: float64 arrays of the statistic's own shape."""

    value: Floats
    low: Floats
    high: Floats


def stratified_bootstrap(
    scores: Scores,
    statistic: Callable[[list[Floats]], Floats],
    *,
    confidence: float = 0.95,
    repetitions: int = 2000,
    seed: int,
) -> Bands:
    """A statistic of runs on several tasks with its percentile interval, runs being drawn again
    within each task.

    Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice",
    section 4.1. scores: task -> values (n_t,), or an array (runs, tasks). `statistic` takes a list
    with an array (B, n_t) for each task, and returns (B, ...): one value for each of B sets of
    runs. With few runs the interval is too narrow, by a factor sqrt((n - 1) / n) in the spread
    alone; `expanded_confidence` says which `confidence` to ask for instead. Raises ValueError for
    NaN, infinities of both signs, or a task without runs.
    """
    tasks = _tasks(scores, "scores")
    drawn = statistic(_resample(tasks, repetitions, np.random.default_rng(seed)))
    return _percentile(statistic([x[None] for x in tasks])[0], drawn, confidence)


def expanded_confidence(confidence: float, runs: int, tasks: int = 1) -> float:
    """The nominal confidence at which a percentile interval over `tasks` tasks of `runs` runs each
    has the width of Student's t interval.

    1 - 2 Phi(-sqrt(n / (n - 1)) t), with t at tasks * (n - 1) degrees of freedom: Hesterberg 2015,
    "What teachers should know about the bootstrap", section 4.3.1, with the tasks' degrees of
    freedom pooled. No confidence brings the interval beyond the extremes of the runs, so on a
    single task with n = 3 it still holds the mean in three of four cases at most. Raises ValueError
    for runs < 2.
    """
    if runs < 2 or tasks < 1:
        raise ValueError(f"runs: expected at least 2 on 1 task, got {runs} on {tasks}")
    t = stats.t.ppf((1 + confidence) / 2, tasks * (runs - 1))
    return float(1 - 2 * stats.norm.sf(math.sqrt(runs / (runs - 1)) * t))


def pooled_interquartile_mean(tasks: list[Floats]) -> Floats:
    """The mean of the middle half of all runs on all tasks, for `stratified_bootstrap`: lists of
    (B, n_t) to (B,). Agarwal et al. 2021, section 4.3; as much is cut as by SciPy's trim_mean."""
    return np.asarray(stats.trim_mean(np.concatenate(tasks, axis=-1), 0.25, axis=-1))


def median_of_means(tasks: list[Floats]) -> Floats:
    """The median over tasks of each task's mean, for `stratified_bootstrap`: lists of (B, n_t) to
    (B,). The "median" of Agarwal et al. 2021, section 4.3."""
    return np.asarray(np.median(np.stack([x.mean(axis=-1) for x in tasks]), axis=0))


def probability_of_improvement(
    x: Scores,
    y: Scores,
    *,
    confidence: float = 0.95,
    repetitions: int = 2000,
    seed: int,
) -> Estimate:
    """How likely a run of x scores above a run of y on the same task, in [0, 1]; the mean of tasks.

    The Mann-Whitney statistic U / (n m), ties counting half: Agarwal et al. 2021, section 4.3.
    x, y: task -> values (n_t,) and (m_t,), or arrays (runs, tasks); negate scores of which lower is
    better. n counts the runs of both. The interval is the percentile interval of
    `stratified_bootstrap`; where every resample gives the same, as when all runs of x are above all
    of y, it says nothing and its ends are NaN. Raises ValueError for NaN, other tasks in y than in
    x, or a task without runs.
    """
    if isinstance(x, Mapping) and isinstance(y, Mapping):
        if set(x) != set(y):
            raise ValueError(f"y: expected the tasks of x, {sorted(x)}, got {sorted(y)}")
        y = {task: y[task] for task in x}
    first, second = _tasks(x, "x"), _tasks(y, "y")
    if len(first) != len(second):
        raise ValueError(f"y: expected {len(first)} tasks, got {len(second)}")

    def improvement(tasks: list[Floats]) -> Floats:
        pairs = zip(tasks[: len(first)], tasks[len(first) :], strict=True)
        # Signs of comparisons, not of differences: two infinities are a tie.
        ranks = [np.greater(a[..., None], b[:, None]) * 1.0 - np.less(a[..., None], b[:, None])
                 for a, b in pairs]  # fmt: skip
        return np.asarray(np.mean([(1 + r.mean(axis=(-2, -1))) / 2 for r in ranks], axis=0))

    drawn = improvement(_resample(first + second, repetitions, np.random.default_rng(seed)))
    point = improvement([task[None] for task in first + second])[0]
    value, low, high = (float(end) for end in _percentile(point, drawn, confidence))
    if not np.ptp(drawn):
        low = high = math.nan
    return Estimate(value, low, high, sum(len(task) for task in first + second))


def performance_profile(
    scores: Scores,
    thresholds: ArrayLike,
    *,
    confidence: float = 0.95,
    repetitions: int = 2000,
    seed: int,
) -> Bands:
    """The share of runs that score above each threshold, the mean of tasks, with pointwise bands.

    Agarwal et al. 2021, section 4.2, eq. 2 (the run-score distribution). scores: task -> values
    (n_t,), or an array (runs, tasks); thresholds: (T,) real. Arrays are (T,), in [0, 1]. Where all
    runs are above or below, a bootstrap has no spread and the band closes. Raises ValueError for
    NaN among scores or thresholds, or a task without runs.
    """
    tau = _ordered(thresholds, "thresholds")

    def profile(tasks: list[Floats]) -> Floats:
        return np.asarray(np.mean([(x[..., None] > tau).mean(axis=-2) for x in tasks], axis=0))

    return stratified_bootstrap(
        scores, profile, confidence=confidence, repetitions=repetitions, seed=seed
    )


def paired_test(a: Mapping[int, float], b: Mapping[int, float]) -> float:
    """The two-sided p-value of the paired t test of a against b over the seeds that both have.

    a, b: seed -> value. NaN for fewer than FEWEST shared seeds, and where all differences are the
    same but for rounding: of a metric that counts they may be, and no spread to test against is no
    certainty. 1 where all are 0. Raises ValueError for NaN or infinity.
    """
    shared = sorted(set(a) & set(b))
    x, y = (np.array([side[seed] for seed in shared]) for side in (a, b))
    d = x - y
    if not np.isfinite(d).all():
        raise ValueError(f"expected finite differences, got {d}")
    if len(d) < FEWEST:
        return math.nan
    if not d.any():
        return 1.0
    if np.ptp(d) <= ROUNDING * max(np.abs(x).max(), np.abs(y).max()):
        return math.nan
    return float(stats.ttest_1samp(d, 0).pvalue)


def holm(p_values: ArrayLike) -> Floats:
    """Adjusted p-values (m,), in the order given: those at or under alpha can all be claimed with a
    probability of at most alpha of any false claim among them.

    Holm 1979, "A simple sequentially rejective multiple test procedure": the maximum over all
    smaller p of (m - rank + 1) p, at most 1. p_values: (m,) in [0, 1], or ValueError is raised.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values: expected (m,) values in [0, 1], got {p}")
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


class Component(NamedTuple):
    """A variance with its interval, in squared units of the values. `flag` is empty, or says that
    the estimate was negative and what it was."""

    variance: float
    low: float
    high: float
    flag: str = ""


class Components(NamedTuple):
    """What another training seed and what another draw of samples would change."""

    seed: Component
    sampling: Component


def variance_components(
    values: Sequence[Sequence[float] | np.ndarray], confidence: float = 0.95
) -> Components:
    """Variance of a metric over training seeds, and over draws of N samples from one trained model.

    values[run][draw]: k >= 2 runs with n_i >= 1 draws, more than k draws in all. A one-way random
    effects model by the method of moments on unweighted means: with S^2 the variance of the runs'
    means, n the harmonic mean of the n_i and MSW the variance within runs, the seed's variance is
    S^2 - MSW / n (Thomas and Hultquist 1978, "Interval estimation for the unbalanced case of the
    one-way random effects model"), the usual one where all n_i are equal. The sampling variance has
    its chi-square interval; the seed's is Williams's (1962, "A confidence interval for variance
    components"), with F and chi-square quantiles and S^2 in the place of the mean square between.
    Both rest on normality. A seed's variance estimated as negative is 0 with a flag, and ends of
    its interval below 0 are 0, since no variance is.

    The reference is the same in all runs: what another one would change is in neither component,
    and is the caller's to add. Raises ValueError for NaN, infinity or too few runs or draws.
    """
    runs = [np.asarray(run, dtype=np.float64) for run in values]
    counts = np.array([len(run) for run in runs])
    k, total = len(runs), int(counts.sum())
    if k < 2 or total <= k or counts.min() < 1:
        raise ValueError(f"values: expected 2 runs or more, one drawn twice, got draws {counts}")
    if not all(np.isfinite(run).all() for run in runs):
        raise ValueError("values: hold NaN or infinity")
    within = float(sum(((run - run.mean()) ** 2).sum() for run in runs)) / (total - k)
    means = float(np.var([run.mean() for run in runs], ddof=1))
    share = within * float((1 / counts).mean())  # of the means' variance, due to sampling
    seed = means - share

    ends = (1 + confidence) / 2, (1 - confidence) / 2
    chi2 = [stats.chi2.ppf(end, k - 1) / (k - 1) for end in ends]
    f = [stats.f.ppf(end, k - 1, total - k) for end in ends]
    low, high = (max(0.0, float((means - share * b) / a)) for a, b in zip(chi2, f, strict=True))
    flag = f"estimated as {seed:.3g}, reported as 0" if seed < 0 else ""
    fewest, most = (float(within * (total - k) / stats.chi2.ppf(end, total - k)) for end in ends)
    return Components(Component(max(0.0, seed), low, high, flag), Component(within, fewest, most))


def rank_agreement(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Kendall's tau-b between two orderings of the same n cells, in [-1, 1].

    a, b: (n,), such as one metric in two feature spaces; infinities (failed runs) tie. tau-b is a
    ratio of U-statistics, so its variance is that of its projection on single cells (Hoeffding
    1948, "A class of statistics with asymptotically normal distribution", section 9e); the interval
    is Student's with n - 1 degrees of freedom on the scale of arctanh(tau). It takes the cells as
    drawn independently. Its ends are NaN for n < 3 and where the orders agree or disagree entirely;
    tau is NaN too where all of a or all of b are equal. Raises ValueError for NaN or unequal
    lengths.
    """
    x, y = _ordered(a, "a"), _ordered(b, "b")
    if x.shape != y.shape:
        raise ValueError(f"b: expected {len(x)} values as in a, got {len(y)}")
    n = len(x)
    if n < 2 or (x == x[0]).all() or (y == y[0]).all():
        return Estimate(math.nan, math.nan, math.nan, n)
    tau = float(stats.kendalltau(x, y).statistic)
    if n < 3 or 1 - abs(tau) < 1e-12:
        return Estimate(tau, math.nan, math.nan, n)
    u, v = (np.sign(np.subtract.outer(r, r)) for r in (stats.rankdata(x), stats.rankdata(y)))
    uv, uu, vv = ((product.sum(axis=1) / (n - 1)) for product in (u * v, u * u, v * v))
    ratio = uv / math.sqrt(uu.mean() * vv.mean())
    influence = 2 * (ratio - tau * (uu / uu.mean() + vv / vv.mean()) / 2)
    error = math.sqrt(float((influence**2).sum()) / (n * (n - 1))) / (1 - tau**2)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    low, high = (math.tanh(math.atanh(tau) + end) for end in (-half, half))
    return Estimate(tau, low, high, n)


class Coverage(NamedTuple):
    """How often intervals held the truth, `share` with Wilson's 95% interval, and the mean `width`
    of those that exist, in units of the values."""

    share: Estimate
    width: float


def coverage(
    interval: Callable[[Floats], Estimate],
    draw: Draw,
    truth: float,
    n: int,
    repetitions: int,
    seed: int,
) -> Coverage:
    """What the intervals of `repetitions` sets of n values from `draw` do. One that does not exist
    holds nothing."""
    rng = np.random.default_rng(seed)
    found = [interval(draw(rng, n)) for _ in range(repetitions)]
    held = sum(e.low <= truth <= e.high for e in found)
    widths = [e.high - e.low for e in found if not math.isnan(e.high - e.low)]
    share = stats.binomtest(held, repetitions).proportion_ci(method="wilson")
    return Coverage(
        Estimate(held / repetitions, float(share.low), float(share.high), repetitions),
        float(np.mean(widths)) if widths else math.nan,
    )


def bootstrap_mean(values: Floats) -> Estimate:
    """The mean (n,) with its plain 95% percentile bootstrap interval: what is not used here, to be
    compared with what is."""
    bands = stratified_bootstrap(
        {"": values}, lambda tasks: tasks[0].mean(axis=-1), repetitions=400, seed=0
    )
    value, low, high = (float(end) for end in bands)
    return Estimate(value, low, high, len(values))


def coverage_table(repetitions: int = 500, seed: int = 0) -> pd.DataFrame:
    """How often each 95% interval over seeds holds what it estimates, with 3 and with 5 values.

    One row for each interval, n and distribution of the values: normal, lognormal (skewed: the
    exponential of a standard normal value), and Student's t with 3 degrees of freedom (heavy
    tails). Columns: interval, distribution, n, coverage (an Estimate), width (the mean of the
    intervals' widths). The truth is the distribution's own mean, median or interquartile mean.
    Takes a few seconds.
    """
    quartile = stats.norm.ppf(0.75)
    middle = stats.norm.cdf(quartile - 1) - stats.norm.cdf(-quartile - 1)
    lognormal = {"mean": math.exp(0.5), "median": 1.0, "IQM": 2 * math.exp(0.5) * middle}
    symmetric = dict.fromkeys(lognormal, 0.0)
    distributions: dict[str, tuple[Draw, dict[str, float]]] = {
        "normal": (lambda rng, n: rng.normal(size=n), symmetric),
        "lognormal": (lambda rng, n: rng.lognormal(size=n), lognormal),
        "t with 3 degrees of freedom": (lambda rng, n: rng.standard_t(3, n), symmetric),
    }
    intervals: dict[str, tuple[Callable[[Floats], Estimate], str]] = {
        "mean, Student's t": (mean_interval, "mean"),
        "mean, percentile bootstrap": (bootstrap_mean, "mean"),
        "median, calibrated": (median, "median"),
        "interquartile mean, Tukey-McLaughlin": (interquartile_mean, "IQM"),
    }
    rows = [
        (name, distribution, n, *coverage(interval, draw, truth[of], n, repetitions, seed))
        for name, (interval, of) in intervals.items()
        for n in (3, 5)
        for distribution, (draw, truth) in distributions.items()
    ]
    return pd.DataFrame(rows, columns=["interval", "distribution", "n", "coverage", "width"])


def _ordered(values: ArrayLike, name: str) -> Floats:
    """(n,) float64 without NaN and with infinities of one sign at most; ValueError otherwise."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or np.isnan(x).any() or {-math.inf, math.inf} <= set(x):
        raise ValueError(f"{name}: expected (n,) ordered values, infinities of one sign, got {x}")
    return x


def _tasks(scores: Scores, name: str) -> list[Floats]:
    if isinstance(scores, Mapping):
        tasks = [_ordered(values, f"{name}[{task!r}]") for task, values in scores.items()]
    else:
        table = np.asarray(scores, dtype=np.float64)
        if table.ndim != 2:
            raise ValueError(f"{name}: expected shape (runs, tasks), got {table.shape}")
        tasks = [_ordered(column, name) for column in table.T]
    if not tasks or not all(map(len, tasks)):
        raise ValueError(f"{name}: expected at least one run on each of one or more tasks")
    return tasks


def _resample(tasks: list[Floats], repetitions: int, rng: np.random.Generator) -> list[Floats]:
    return [x[rng.integers(len(x), size=(repetitions, len(x)))] for x in tasks]


def _percentile(value: Floats, drawn: Floats, confidence: float) -> Bands:
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    # Values that were drawn, not points between them: there is none between a number and infinity.
    low, high = np.quantile(drawn, tails, axis=0, method="inverted_cdf")
    return Bands(np.asarray(value), low, high)
