"""Likelihoods in bits per dimension: bounds, their means over images, the gap to training images.

All probabilities are of a data set's grey levels as they are: a discretised logistic or a
categorical distribution gives each of the levels 0..levels-1 a mass, and nothing is dequantised.
Bits per dimension of a density of dequantised pixels bound these from above, so the two do not
compare.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genbench.metrics.checks import Array, check_rows
from genbench.metrics.measured import Measured, mean, normal


def iwae_bound(log_weights: Array) -> Tensor:
    """L_k = log (1/k) sum_j w_j, in nats: float64 (N,), on the device of `log_weights`.

    log_weights: (N, k), in nats, log w_j = log p(x, z_j) - log q(z_j|x) with z_j from q(z|x). In
    expectation L_k is at most log p(x), rises with k, and is the evidence lower bound at k = 1
    (Burda et al. 2016, "Importance weighted autoencoders", eq. 8 and theorem 1). Raises ValueError
    for NaN, infinities or a wrong shape.
    """
    w = check_rows(log_weights, "log_weights")
    return torch.logsumexp(w, dim=1) - math.log(w.shape[1])


def bits(nats: Tensor, dimensions: int) -> Tensor:
    """`nats` per image, any shape, as bits per dimension: C * H * W `dimensions` in an image."""
    if dimensions < 1:
        raise ValueError(f"dimensions: expected a number >= 1, got {dimensions}")
    return nats / (math.log(2) * dimensions)


def mean_bits(each: Array) -> Measured:
    """Mean of the bits per dimension (N,) of N >= 2 images, with its normal interval over images.

    Raises ValueError for NaN, infinities (an image that the model calls impossible), a wrong shape
    or fewer images.
    """
    return mean(_check_bits(each, "each").cpu())


def gap(train: Array, held_out: Array) -> Measured:
    """Mean bits per dimension (M,) of held-out images minus that of training images (N,).

    Above 0 the model finds its training images likelier. The images are different ones, so the
    squared standard errors add: s^2/N + s^2/M. N and M at least 2; ValueError as for `mean_bits`.
    """
    a, b = _check_bits(train, "train"), _check_bits(held_out, "held_out")
    error = math.sqrt(float(a.var() / len(a) + b.var() / len(b)))
    return normal(float(b.mean() - a.mean()), error)


def tightened_bits(each: Array, tighter: Array, at: Array) -> Measured:
    """Mean over N images of a bound that is dear to compute and so is known of n of them alone,
    where a cheap one is known of all: mean_all(each) - mean_few(each - tighter), in bits.

    each: (N,) bits per dimension by the cheap bound; tighter: (n,) by the dear one, of the images
    with indices `at` (n,) int64; N and n at least 2. The few stand for all where they were picked
    regardless of what they show. The difference to the cheap bound's mean then varies as little as
    what the dear one gains of an image, and not as images do, which are of very different
    difficulty (the difference estimator of survey sampling: Cochran 1977, "Sampling techniques",
    chapter 7, with a slope of 1). Squared standard error, as the few are among the all:
    s_each^2 / N + s_gain^2 / n - 2 cov(each, gain) / N. Raises ValueError as `mean_bits`.
    """
    every, few = _check_bits(each, "each").cpu(), _check_bits(tighter, "tighter").cpu()
    theirs = every[torch.as_tensor(at).cpu()]
    gain = theirs - few
    covariance = float(torch.cov(torch.stack([theirs, gain]))[0, 1])
    squared = float((every.var() - 2 * covariance) / len(every) + gain.var() / len(gain))
    return normal(float(every.mean() - gain.mean()), math.sqrt(max(squared, 0.0)))


def _check_bits(x: Array, name: str) -> Tensor:
    if x.ndim != 1:
        raise ValueError(f"{name}: expected shape (N,), got {tuple(x.shape)}")
    return check_rows(x[:, None], name, least=2)[:, 0]
