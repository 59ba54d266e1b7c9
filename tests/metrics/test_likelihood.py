"""The ledger of bits: bounds against exact likelihoods, and probabilities that sum to one."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import SIZES
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from torch.distributions import Normal

from genbench.data import DATASETS
from genbench.metrics.likelihood import bits, gap, iwae_bound, mean_bits, tightened_bits
from genbench.models import pixel_gpt, vae, vqvae_gpt


class Linear(NamedTuple):
    """Probabilistic PCA (Tipping and Bishop 1999, eq. 2 and 6-8): x = W z + s noise, z ~ N(0, I),
    and q(z|x) the posterior, its mean off by `off` and its deviation wider by `wider`.

    W's columns are orthogonal, so the posterior is diagonal.
    """

    W: torch.Tensor
    s: float
    off: float = 0.0
    wider: float = 1.0

    def draw(self, n, generator):
        z = torch.randn(n, self.W.shape[1], generator=generator, dtype=torch.float64)
        noise = torch.randn(n, self.W.shape[0], generator=generator, dtype=torch.float64)
        return z @ self.W.T + self.s * noise

    def log_p(self, x):
        covariance = self.W @ self.W.T + self.s**2 * torch.eye(len(self.W))
        return multivariate_normal(cov=covariance.numpy()).logpdf(x.numpy())

    def posterior(self, x):
        precision = self.W.square().sum(0) + self.s**2
        return x @ self.W / precision, (self.s**2 / precision).sqrt().expand(len(x), -1)

    def log_weights(self, x, generator, k):
        mean, deviation = self.posterior(x)
        q = Normal((mean + self.off * deviation)[:, None], (self.wider * deviation)[:, None])
        noise = torch.randn(len(x), k, mean.shape[1], generator=generator, dtype=torch.float64)
        z = q.mean + q.stddev * noise
        log_x = Normal(z @ self.W.T, self.s).log_prob(x[:, None]).sum(2)
        log_prior = Normal(0.0, 1.0).log_prob(z).sum(2)
        return log_x + log_prior - q.log_prob(z).sum(2)

    def divergence(self):
        """KL(q || posterior), nats: the same for every x."""
        a, latent = self.wider, self.W.shape[1]
        return latent * ((a**2 + self.off**2 - 1) / 2 - math.log(a))


Q = torch.linalg.qr(torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).double()).Q
W = Q * torch.tensor([1.5, 0.7], dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("k", [1, 2, 50])
def test_with_the_true_posterior_every_weight_is_the_likelihood(k):
    model = Linear(W, 0.3)
    x = model.draw(40, generator())
    weights = model.log_weights(x, generator(1), k)
    np.testing.assert_allclose(weights, np.tile(model.log_p(x)[:, None], k), atol=1e-10)
    np.testing.assert_allclose(iwae_bound(weights), model.log_p(x), atol=1e-10)


@pytest.mark.parametrize(("off", "wider"), [(0.8, 1.0), (0.0, 1.4), (-0.5, 0.8)])
def test_bounds_rise_with_k_from_the_evidence_bound_to_the_likelihood(off, wider):
    model = Linear(W, 0.3, off, wider)
    x = model.draw(1, generator()).expand(20_000, -1)
    exact = float(model.log_p(x[:1]))
    means = {}
    for k in (1, 2, 8, 64):
        bound = iwae_bound(model.log_weights(x, generator(k), k))
        means[k] = float(bound.mean())
        if k == 1:  # the evidence lower bound, in closed form, within five standard errors
            error = float(bound.std()) / math.sqrt(len(bound))
            assert means[1] == pytest.approx(exact - model.divergence(), abs=5 * error)
    assert means[1] < means[2] < means[8] < means[64] <= exact + 0.01
    assert means[64] == pytest.approx(exact, abs=0.03)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 20), st.floats(-1e4, 1e4))
def test_the_bound_lies_between_mean_and_maximum_and_moves_with_the_weights(seed, k, shift):
    w = torch.from_numpy(np.random.default_rng(seed).normal(scale=30, size=(3, k)))
    bound = iwae_bound(w)
    assert (bound >= w.mean(1) - 1e-9).all()
    assert (bound <= w.max(1).values + 1e-9).all()
    torch.testing.assert_close(iwae_bound(w + shift), bound + shift, rtol=0, atol=1e-8)
    torch.testing.assert_close(iwae_bound(w.flip(1)), bound)


def test_single_precision_weights_of_whole_images_lose_nothing():
    """At 10,000 nats a float32 holds a thousandth; the sum is taken in float64."""
    w = torch.full((2, 5000), -10_000.0)
    assert iwae_bound(w).dtype == torch.float64
    torch.testing.assert_close(iwae_bound(w), torch.full((2,), -1e4).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([[0.0, np.nan]]), "log_weights: 1 of 1 rows hold NaN"),
        (torch.tensor([[0.0, torch.inf]]), "log_weights: 1 of 1 rows hold NaN or infinity"),
        (np.zeros(3), "log_weights: expected shape"),
        (np.zeros((3, 0)), "log_weights: expected shape"),
    ],
)
def test_hostile_weights(bad, message):
    with pytest.raises(ValueError, match=message):
        iwae_bound(bad)


def test_a_bound_that_is_known_of_all_images_needs_no_other():
    rng = np.random.default_rng(0)
    each, tighter = rng.normal(3, 1, 200), rng.normal(2, 1, 200)
    found, plain = tightened_bits(each, tighter, np.arange(200)), mean_bits(tighter)
    assert found.value == pytest.approx(plain.value)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


def test_a_gain_that_is_the_same_for_all_images_costs_no_precision():
    each = np.random.default_rng(0).normal(3, 1, 200)
    at = np.arange(0, 200, 20)
    found, plain = tightened_bits(each, each[at] - 0.25, at), mean_bits(each)
    assert found.value == pytest.approx(plain.value - 0.25)
    assert (found.low, found.high) == pytest.approx((plain.low - 0.25, plain.high - 0.25))


def test_intervals_of_a_tightened_bound_hold_the_expectation_as_often_as_they_say():
    """Images of very different difficulty, which decides what is gained, too."""
    rng, held, widths, plain_widths = np.random.default_rng(0), [], [], []
    for _ in range(2000):
        difficulty = rng.normal(3, 1, 300)
        each = difficulty + rng.normal(0, 0.1, 300)
        at = np.arange(0, 300, 10)
        tighter = 0.8 * difficulty[at] + rng.normal(0, 0.1, 30)
        found = tightened_bits(each, tighter, at)
        held.append(found.low <= 0.8 * 3 <= found.high)
        widths.append(found.high - found.low)
        plain = mean_bits(tighter)
        plain_widths.append(plain.high - plain.low)
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)
    assert np.mean(widths) < np.mean(plain_widths) / 2


def test_a_tightened_bound_is_not_that_of_the_images_that_were_looked_at():
    """The mean over easy images alone would be lower by ten bits."""
    each = np.concatenate([np.full(50, 1.0), np.full(50, 21.0)])
    at = np.arange(0, 50, 5)
    assert tightened_bits(each, each[at] - 0.5, at).value == pytest.approx(10.5)


@pytest.mark.parametrize(
    ("each", "tighter", "message"),
    [
        ([1.0, np.nan], [1.0, 1.0], "each: 1 of 2 rows hold NaN"),
        ([1.0, 2.0], [1.0, np.inf], "tighter: 1 of 2 rows hold NaN or infinity"),
        ([1.0, 2.0], [1.0], "tighter: needs at least 2 rows"),
    ],
)
def test_hostile_bounds(each, tighter, message):
    with pytest.raises(ValueError, match=message):
        tightened_bits(np.array(each), np.array(tighter), np.arange(len(tighter)))


def test_a_fair_coin_for_each_pixel_is_one_bit_per_dimension():
    nats = torch.full((3,), 64 * math.log(2))
    torch.testing.assert_close(bits(nats, 64), torch.ones(3))
    with pytest.raises(ValueError, match="dimensions: expected a number >= 1, got 0"):
        bits(nats, 0)


def test_the_gap_is_of_held_out_images_over_training_images():
    found = gap(np.array([1.0, 2, 3]), torch.tensor([4.0, 6.0]))
    error = math.sqrt(1 / 3 + 2 / 2)
    assert found.value == 3
    assert found.high - found.value == pytest.approx(1.959964 * error)
    assert found.value - found.low == pytest.approx(1.959964 * error)
    other = gap(torch.tensor([4.0, 6.0]), np.array([1.0, 2, 3]))
    assert other.value == -3


def test_intervals_hold_the_true_value_as_often_as_they_say():
    rng, repeats, mean_held, gap_held = np.random.default_rng(0), 2000, 0, 0
    for _ in range(repeats):
        train, held_out = 2 + rng.gamma(2, 0.5, 150), 2.3 + rng.gamma(2, 0.7, 80)
        m, g = mean_bits(train), gap(train, held_out)
        mean_held += m.low < 3 < m.high
        gap_held += g.low < 0.7 < g.high
    assert 0.925 < mean_held / repeats < 0.965
    assert 0.925 < gap_held / repeats < 0.965


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([1.0, np.nan]), "1 of 2 rows hold NaN or infinity"),
        (np.array([1.0, np.inf]), "1 of 2 rows hold NaN or infinity"),
        (np.array([1.0]), "needs at least 2 rows, got 1"),
        (np.ones((2, 2)), r"expected shape \(N,\), got \(2, 2\)"),
    ],
)
def test_hostile_bits(bad, message):
    good = np.array([1.0, 2.0])
    for name, call in [
        ("each", lambda: mean_bits(bad)),
        ("train", lambda: gap(bad, good)),
        ("held_out", lambda: gap(good, bad)),
    ]:
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            call()


def every_image(shape, levels):
    """All images there are, (levels^(C H W), C, H, W) uint8."""
    values = itertools.product(range(levels), repeat=math.prod(shape))
    return torch.tensor(list(values), dtype=torch.uint8).view(-1, *shape)


def tiny(module, attribute, name, shape, levels):
    """A model of images few enough to list, with weights far from those of an untrained one."""
    data = dataclasses.replace(DATASETS["digits"], shape=shape, levels=levels)
    torch.manual_seed(0)
    model = getattr(module, attribute)(module.Params(**SIZES[name]), data)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return model.eval()


@torch.no_grad()
def test_exact_bits_are_those_of_probabilities_that_sum_to_one():
    model = tiny(pixel_gpt, "PixelGPT", "pixel-gpt", (2, 1, 3), 4)
    each = model.bits_per_dim(every_image((2, 1, 3), 4), generator()).double()
    assert (2 ** (-6 * each)).sum().item() == pytest.approx(1, abs=1e-5)
    assert each.max() > each.min() + 0.1


@torch.no_grad()
def test_bounded_bits_leave_a_sum_of_no_more_than_one():
    images = every_image((1, 4, 4), 2)
    for module, attribute, name in [
        (vae, "VAE", "vae"), (vqvae_gpt, "VQVAEGPT", "vqvae-gpt"),
    ]:  # fmt: skip
        model = tiny(module, attribute, name, (1, 4, 4), 2)
        parts = [model.bits_per_dim(part, generator()) for part in images.split(8192)]
        assert 0 < (2 ** (-16 * torch.cat(parts).double())).sum().item() <= 1


@torch.no_grad()
def test_a_vaes_importance_weights_average_to_probabilities_that_sum_to_one():
    """E w = p(x) for every x, so the weights of all images there are sum to one."""
    model = tiny(vae, "VAE", "vae", (1, 4, 4), 2)
    g, k = generator(1), 8
    parts = every_image((1, 4, 4), 2).split(8192)
    weights = torch.cat([model.log_weights(part, g, k).double().exp() for part in parts])
    error = float((weights.var(1) / k).sum().sqrt())
    assert error < 0.02
    assert weights.mean(1).sum().item() == pytest.approx(1, abs=4 * error)
