"""Are samples nearer to the training images than fresh real images are? And does the likelihood
give away who was trained on?

All but the last work in any feature space, on distances (`neighbours`) of samples, training images
and held-out real images of the same distribution.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import stats
from sklearn.cluster import KMeans
from torch import Tensor

from genbench.metrics.checks import Array, check_pair, check_rows
from genbench.metrics.measured import Measured, mean, normal, proportion

# A region of the C_T test counts where it holds at least this many samples and held-out images.
LEAST_IN_REGION = 20


def distance_ratio(
    to_train: Array, to_held_out: Array, fresh_to_train: Array, fresh_to_other: Array
) -> Measured:
    """How near samples are to training images, by the measure of held-out images: 1 where they
    treat both alike, 0 where all are copies of those of T.

    The mean over samples of t(x) = d(x, T) / (d(x, T) + d(x, H)), over the same mean of held-out
    images, each left out of its own H. With d the distance to the nearest image, a training set
    that is larger than H draws both means down alike, where samples lie among real images. Far from
    them t is a half whatever the sizes, so poor samples come out above 1, and a few copies among
    many poor samples need not bring the ratio below it. After the nearest-neighbour ratios of van
    den Burg and Williams 2021, "On memorization in probabilistic deep generative models", here in a
    bounded form: where both distances are zero, t is a half.

    to_train, to_held_out: (N,) distances of samples to their nearest training and held-out images;
    fresh_to_train, fresh_to_other: (M,) those of held-out images to their nearest training and
    other held-out images (`nearest`, `nearest_other`). The interval is over samples, by the
    deviation of t. Raises ValueError for NaN, wrong shapes, or where every held-out image is a
    training image.
    """
    d, fresh_d = _vector(to_train, "to_train"), _vector(fresh_to_train, "fresh_to_train")
    fresh = _nearer(fresh_d, _vector(fresh_to_other, "fresh_to_other", len(fresh_d))).mean()
    if not fresh > 0:
        raise ValueError("fresh_to_train: every held-out image stands among the training images")
    return mean((_nearer(d, _vector(to_held_out, "to_held_out", len(d))) / fresh).cpu())


def _nearer(to_train: Tensor, to_held_out: Tensor) -> Tensor:
    """d(x, T) / (d(x, T) + d(x, H)), a half where both are zero."""
    total = to_train + to_held_out
    return torch.where(total > 0, to_train / total, 0.5)


def authenticity(to_train: Array, index: Array, train_radii: Array) -> Measured:
    """Share of samples x with d(x, t*) >= d(t*, T without t*), t* the nearest training image.

    Alaa et al. 2022, "How faithful is your synthetic data?": below it, x is nearer to t* than any
    other training image is. Somewhat above a half for fresh images, 0 for copies, and more for
    samples that are far from all images: read it beside a measure of quality. Equality counts as
    authentic, so a copy of an image that the training set holds twice does too. to_train, index:
    (N,) distance to and index of t* (`nearest`); train_radii: (T,) `nearest_other` of the training
    images. The interval is Wilson's over samples. Raises ValueError for NaN, wrong shapes or an
    index that is not below T.
    """
    d, radius = _vector(to_train, "to_train"), _vector(train_radii, "train_radii")
    nearest_image = _vector(index, "index", len(d)).long()
    if bool(((nearest_image < 0) | (nearest_image >= len(radius))).any()):
        raise ValueError(f"index: expected 0 to {len(radius) - 1}, one of train_radii's images")
    return proportion(int((d >= radius[nearest_image]).sum()), len(d))


def regions(train: Array, *, k: int = 10, seed: int) -> KMeans:
    """A k-means partition of the training features (T, D), T >= k, for `ct_test`. Raises ValueError
    for NaN, a wrong shape, k < 1 or too few rows."""
    if k < 1:
        raise ValueError(f"k: expected a number >= 1, got {k}")
    t = check_rows(train, "train", least=k)
    # Ten thousand images tell where the regions are as well as all.
    some = torch.from_numpy(np.random.default_rng(seed).permutation(len(t))[:10_000])
    return KMeans(k, n_init=1, random_state=seed).fit(t[some.to(t.device)].float().cpu().numpy())


def ct_test(
    samples: Array, held_out: Array, to_train: Array, fresh_to_train: Array, partition: KMeans
) -> Measured:
    """The three-sample test of data-copying, C_T, in standard deviations.

    Meehan, Chaudhuri and Dasgupta 2020, "A non-parametric test to detect data-copying in generative
    models": in each region of a partition of the training images (`regions`), the Mann-Whitney
    z-score of the samples' distances to their nearest training images, to_train (N,), against those
    of held-out images, fresh_to_train (M,); averaged with the held-out images' shares as weights.
    Far below 0 the samples are nearer than fresh images are: copies. Far above 0 they are farther.
    Were both alike, each z-score would be standard normal, so the interval's half-width is 1.96
    times the root of the sum of squared weights. Regions with fewer than 20 of either are left out,
    and a flag says how many.

    samples (N, D), held_out (M, D). Raises ValueError for NaN, wrong shapes, or where no region is
    left.
    """
    x, y = check_pair(samples, held_out, least=1)
    of_samples, of_held_out = (partition.predict(z.float().cpu().numpy()) for z in (x, y))
    near = _vector(to_train, "to_train", len(x)).cpu().numpy()
    fresh = _vector(fresh_to_train, "fresh_to_train", len(y)).cpu().numpy()
    scores, weights = [], []
    for region in range(partition.n_clusters):
        a, b = near[of_samples == region], fresh[of_held_out == region]
        if min(len(a), len(b)) < LEAST_IN_REGION:
            continue
        u = stats.mannwhitneyu(a, b).statistic
        deviation = math.sqrt(len(a) * len(b) * (len(a) + len(b) + 1) / 12)
        scores.append((u - len(a) * len(b) / 2) / deviation)
        weights.append(len(b))
    if not scores:
        raise ValueError(f"samples: no region holds {LEAST_IN_REGION} of them and held-out images")
    w = np.array(weights) / sum(weights)
    left_out = partition.n_clusters - len(scores)
    flag = f"{left_out} of {partition.n_clusters} regions hold too few" if left_out else ""
    return normal(float(w @ scores), math.sqrt(float(w @ w)), flag)


def membership_auc(members: Array, non_members: Array) -> Measured:
    """Chance that a random member scores above a random non-member, ties counting half: 0.5 where
    scores say nothing of membership, 1 where they tell all.

    members (N,), non_members (M,): scores such as log-likelihoods, N and M >= 2. The interval is
    DeLong's (DeLong, DeLong and Clarke-Pearson 1988, "Comparing the areas under two or more
    correlated receiver operating characteristic curves"). It has no width, and a flag says so,
    where scores do not vary enough to give one, as where the two kinds do not overlap. Raises
    ValueError for NaN or a wrong shape.
    """
    a = _vector(members, "members", least=2).cpu().numpy()
    b = _vector(non_members, "non_members", least=2).cpu().numpy()
    ranks = stats.rankdata(np.concatenate([a, b]))
    # Each score's placement among those of the other kind.
    over_b = (ranks[: len(a)] - stats.rankdata(a)) / len(b)
    over_a = 1 - (ranks[len(a) :] - stats.rankdata(b)) / len(a)
    error = math.sqrt(over_b.var(ddof=1) / len(a) + over_a.var(ddof=1) / len(b))
    return normal(float(over_b.mean()), error, "" if error > 0 else "no spread: no interval")


def _vector(x: Array, name: str, size: int | None = None, *, least: int = 1) -> Tensor:
    """`x` as float64 (N,), N = `size` where that is given; ValueError otherwise, naming it."""
    if x.ndim != 1 or size not in (None, len(x)):
        expected = "N" if size is None else size
        raise ValueError(f"{name}: expected shape ({expected},), got {tuple(x.shape)}")
    return check_rows(x[:, None], name, least)[:, 0]
