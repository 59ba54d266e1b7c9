"""Are samples nearer to the training images than fresh real images are? And does the likelihood
give away who was trained on?

All but the last work in any feature space, on samples, training images and held-out real images of
the same distribution.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import stats
from sklearn.cluster import KMeans
from torch import Tensor

from genbench.metrics.checks import Array, check_pair, check_rows
from genbench.metrics.measured import Measured, Z, mean, normal, proportion
from genbench.metrics.neighbours import nearest, nearest_other

__all__ = ["authenticity", "ct_test", "distance_ratio", "membership_auc", "nearest_other"]

# A region of the C_T test counts where it holds at least this many samples and held-out images.
LEAST_IN_REGION = 20


def distance_ratio(samples: Array, train: Array, held_out: Array) -> Measured:
    """How near samples are to training images, by the measure of held-out images: 1 where they
    treat both alike, 0 where all are copies of training images.

    The mean over samples of t(x) = d(x, T) / (d(x, T) + d(x, H)), over the same mean of held-out
    images (each left out of its own H). With d the distance to the nearest image, a training set
    that is larger than H draws both means down alike. After the nearest-neighbour ratios of van den
    Burg and Williams 2021, "On memorization in probabilistic deep generative models", section 3,
    here in a bounded form: where both distances are zero, t is a half.

    samples: (N, D), train: (T, D), held_out: (M, D), M >= 2. The interval is over samples, by the
    deviation of t. Raises ValueError for NaN or wrong shapes.
    """
    check_pair(samples, held_out, least=2)

    def nearer(to_train: Tensor, to_held_out: Tensor) -> Tensor:
        total = to_train + to_held_out
        return torch.where(total > 0, to_train / total.clamp_min(1e-300), 0.5)

    fresh = nearer(nearest(held_out, train)[0], nearest_other(held_out)).mean()
    t = nearer(nearest(samples, train)[0], nearest(samples, held_out)[0])
    if not fresh > 0:
        raise ValueError("held_out: every image stands among the training images")
    return mean((t / fresh).cpu())


def authenticity(samples: Array, train: Array, *, train_radii: Tensor | None = None) -> Measured:
    """Share of samples x with d(x, t*) >= d(t*, T without t*), t* the nearest training image.

    Alaa et al. 2022, "How faithful is your synthetic data?", section 4.3: below it, x is nearer to
    t* than any other training image is. About a half for fresh images, 0 for copies, and more for
    samples that are far from all images: read it beside a measure of quality. train: (T, D);
    train_radii: `nearest_other(train)` where it is known. The interval is Wilson's over samples.
    Raises ValueError for NaN or wrong shapes.
    """
    distance, index = nearest(samples, train)
    radius = nearest_other(train) if train_radii is None else train_radii
    return proportion(int((distance >= radius[index]).sum()), len(distance))


def ct_test(
    samples: Array, train: Array, held_out: Array, *, regions: int = 10, seed: int
) -> Measured:
    """The three-sample test of data-copying, C_T, in standard deviations.

    Meehan, Chaudhuri and Dasgupta 2020, "A non-parametric test to detect data-copying in generative
    models", section 3: in each region of a k-means partition of the training images, the
    Mann-Whitney z-score of the samples' distances to their nearest training images against those
    of held-out images; averaged with the held-out images' shares as weights. Far below 0 the
    samples are nearer than fresh images are: copies. Far above 0 they are farther. Were both alike,
    each z-score would be standard normal, so the interval's half-width is 1.96 times the root of the sum
    of squared weights. Regions with fewer than 20 of either are left out, and a flag says
    how many.

    samples (N, D), train (T, D), held_out (M, D). Raises ValueError for NaN, wrong shapes, fewer
    training images than regions, or where no region is left.
    """
    x, y = check_pair(samples, held_out, least=1)
    t = check_rows(train, "train", least=regions)
    rng = np.random.default_rng(seed)
    # Ten thousand images tell where the regions are as well as all.
    some = t[torch.from_numpy(rng.permutation(len(t))[:10_000]).to(t.device)]
    partition = KMeans(regions, n_init=1, random_state=seed).fit(some.float().cpu().numpy())
    of_samples, of_held_out = (partition.predict(z.float().cpu().numpy()) for z in (x, y))
    to_train, fresh_to_train = (nearest(z, t)[0].cpu().numpy() for z in (x, y))
    scores, weights = [], []
    for region in range(regions):
        a, b = to_train[of_samples == region], fresh_to_train[of_held_out == region]
        if min(len(a), len(b)) < LEAST_IN_REGION:
            continue
        u = stats.mannwhitneyu(a, b).statistic
        deviation = math.sqrt(len(a) * len(b) * (len(a) + len(b) + 1) / 12)
        scores.append((u - len(a) * len(b) / 2) / deviation)
        weights.append(len(b))
    if not scores:
        raise ValueError(f"samples: no region holds {LEAST_IN_REGION} of them and held-out images")
    w = np.array(weights) / sum(weights)
    left_out = regions - len(scores)
    flag = f"{left_out} of {regions} regions hold too few" if left_out else ""
    return normal(float(w @ scores), math.sqrt(float(w @ w)), flag)


def membership_auc(members: Array, non_members: Array) -> Measured:
    """Chance that a random member scores above a random non-member, ties counting half: 0.5 where
    scores say nothing of membership, 1 where they tell all.

    members (N,), non_members (M,): scores such as log-likelihoods, N and M >= 2. The interval is
    DeLong's (DeLong, DeLong and Clarke-Pearson 1988, "Comparing the areas under two or more
    correlated receiver operating characteristic curves"). Raises ValueError for NaN.
    """
    a, b = (
        check_rows(np.asarray(x)[:, None], name, least=2)[:, 0].numpy()
        for x, name in ((members, "members"), (non_members, "non_members"))
    )
    ranks = stats.rankdata(np.concatenate([a, b]))
    # Each score's placement among those of the other kind.
    over_b = (ranks[: len(a)] - stats.rankdata(a)) / len(b)
    over_a = 1 - (ranks[len(a) :] - stats.rankdata(b)) / len(a)
    error = math.sqrt(over_b.var(ddof=1) / len(a) + over_a.var(ddof=1) / len(b))
    value = float(over_b.mean())
    return Measured(value, value - Z * error, value + Z * error)
