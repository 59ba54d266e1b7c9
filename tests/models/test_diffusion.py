"""Diffusion against what is known in closed form for independent pixels.

Of pixels from N(m, s^2) the best denoiser is linear, the bound is a sum over t with a known limit,
and the probability flow ends at N(m, s^2). Of independent pixels with known masses of their grey
levels the best denoiser is known too, and the bound is their exact likelihood.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from genbench.models.diffusion import (
    GAMMA_1,
    GAMMA_DEVIATION,
    GAMMA_MEAN,
    LEAST_NOISE,
    alpha_sigma,
    stratified,
)
from genbench.models.interface import to_levels, to_unit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Optimal(nn.Module):
    """E[eps | z] for pixels from N(mean, deviation^2), independent."""

    def __init__(self, mean, deviation):
        super().__init__()
        self.mean, self.deviation = mean, deviation

    def forward(self, z, gamma):
        alpha, sigma = (scale[:, None, None, None] for scale in alpha_sigma(gamma))
        variance = (alpha * self.deviation).square() + sigma.square()
        return sigma * (z - alpha * self.mean) / variance


@pytest.fixture
def gaussian(make_model):
    """A model of MNIST's shape and levels whose network is the best for N(mean, deviation^2)."""

    def make(mean=0.1, deviation=0.25, **params):
        model = make_model("diffusion", "mnist", **params)
        model.net = Optimal(mean, deviation)
        return model

    return make


def gaussian_images(n, mean=0.1, deviation=0.25):
    x = mean + deviation * torch.randn(n, 1, 28, 28, generator=generator(9))
    return to_levels(x, 256)


def bound_in_closed_form(model, mean, deviation, images, T):
    """The bound's mean over images, bits a pixel: at each t the error is its variance given x."""
    x = to_unit(images, 256).double()
    t = torch.arange(1, T + 1).double() / T
    alpha, sigma = alpha_sigma(model.gamma(t))
    variance = (alpha * deviation) ** 2 + sigma**2
    # eps - eps_hat = (1 - sigma^2 / v) eps - sigma alpha (x - mean) / v, of which eps is random.
    spread = (x - mean).square().mean()
    error = (1 - sigma**2 / variance) ** 2 + (sigma * alpha / variance) ** 2 * spread
    weight = math.expm1((GAMMA_1 - model.gamma_0) / T) / 2
    nats = weight * error.sum() + model.prior_rate(x).mean() / 784
    return nats.item() / math.log(2)


def test_the_schedule_is_linear_between_its_end_points(make_model):
    for data, levels in (("digits", 17), ("mnist", 256)):
        model = make_model("diffusion", data)
        gamma = model.gamma(torch.tensor([0.0, 0.5, 1.0]))
        alpha, sigma = alpha_sigma(gamma)
        torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones(3))
        torch.testing.assert_close(2 * (sigma / alpha).log(), gamma)
        assert (sigma / alpha)[0].item() == pytest.approx(LEAST_NOISE * 2 / (levels - 1))
        assert gamma[2].item() == pytest.approx(GAMMA_1)
        assert gamma[1].item() == pytest.approx((model.gamma_0 + GAMMA_1) / 2)


def test_the_forward_process_has_its_moments(make_model):
    model = make_model("diffusion")
    x = torch.tensor([-1.0, 0.3, 1.0, 0.5]).view(1, 1, 2, 2).expand(50_000, 1, 2, 2)
    for t in (0.1, 0.5, 0.9):
        times = torch.full((50_000,), t)
        z, noise = model.diffuse(x, times, generator())
        alpha, sigma = (scale.item() for scale in alpha_sigma(model.gamma(torch.tensor(t))))
        torch.testing.assert_close(z.mean(0), alpha * x[0], atol=0.02, rtol=0)
        torch.testing.assert_close(z.std(0), torch.full((1, 2, 2), sigma), atol=0.01, rtol=0)
        torch.testing.assert_close((z - alpha * x) / sigma, noise, atol=1e-3, rtol=0)


def test_stratified_values_are_uniform_each_and_evenly_spread_together():
    u = torch.stack([stratified(4, 5, generator(seed)) for seed in range(4000)])
    assert u.min() >= 0
    assert u.max() <= 1
    # Each of the 20 places alone is uniform: mean 1/2, second moment 1/3, a tenth in each tenth.
    torch.testing.assert_close(u.mean(0), torch.full((4, 5), 0.5), atol=0.025, rtol=0)
    torch.testing.assert_close(u.square().mean(0), torch.full((4, 5), 1 / 3), atol=0.025, rtol=0)
    # In every draw, each twentieth is met once, and each quarter once by the four of a column.
    twentieths = u.flatten(1).sort().values.diff()
    torch.testing.assert_close(twentieths, torch.full_like(twentieths, 1 / 20), atol=1e-5, rtol=0)
    quarters = u.sort(1).values.diff(dim=1)
    torch.testing.assert_close(quarters, torch.full_like(quarters, 1 / 4), atol=1e-5, rtol=0)


def test_training_times_are_a_mixture_of_uniform_ones_and_edms(make_model):
    model = make_model("diffusion", "mnist", uniform_share=0.25)
    t = model.training_times(100_000, generator())
    assert t.min() >= 0
    assert t.max() <= 1
    gamma = model.gamma(t)
    normal = torch.distributions.Normal(GAMMA_MEAN, GAMMA_DEVIATION)
    for value in (-12.0, -8.0, -4.0, -1.0, 2.0, 4.0):
        uniform = (value - model.gamma_0) / (GAMMA_1 - model.gamma_0)
        expected = 0.25 * uniform + 0.75 * normal.cdf(torch.tensor(value)).item()
        assert (gamma < value).float().mean().item() == pytest.approx(expected, abs=1e-3)


def test_the_prior_term_is_the_divergence_of_two_gaussians(make_model, digits):
    model = make_model("diffusion")
    x = to_unit(torch.from_numpy(digits.test.rows[:5]), 17)
    alpha, sigma = alpha_sigma(torch.tensor(GAMMA_1))
    q = torch.distributions.Normal(alpha * x, sigma)
    p = torch.distributions.Normal(torch.zeros_like(x), 1.0)
    expected = torch.distributions.kl_divergence(q, p).flatten(1).sum(1)
    torch.testing.assert_close(model.prior_rate(x), expected, rtol=1e-3, atol=1e-5)
    assert (expected < 0.5).all()  # of all 64 pixels, in nats: no signal is left


def test_the_distortion_is_the_posterior_over_all_grey_levels(make_model, digits):
    model = make_model("diffusion")
    images = torch.from_numpy(digits.test.rows[:20])
    noise = torch.randn(images.shape, generator=generator(3)).double()
    alpha, sigma = alpha_sigma(torch.tensor(model.gamma_0).double())
    z = alpha * to_unit(images, 17) + sigma * noise
    # q(z | level) for every level, from first principles.
    levels = to_unit(torch.arange(17), 17).double()
    log_q = -((z[..., None] - alpha * levels) / sigma).square() / 2
    log_p = log_q.log_softmax(-1).gather(-1, images[..., None].long())[..., 0]
    found = model.distortion(images, generator(3))
    torch.testing.assert_close(found.double(), -log_p.flatten(1).sum(1), rtol=1e-3, atol=1e-4)
    assert (found > 0).all()


def test_the_estimate_of_the_bound_is_its_closed_form_at_few_and_many_steps(gaussian):
    images = gaussian_images(40)
    for T in (1, 7, 100, 1000):
        model = gaussian(timesteps=T, draws=50)
        bits = model.bits_per_dim(images, generator())
        distortion = model.distortion(images, generator()).mean().item() / (784 * math.log(2))
        expected = bound_in_closed_form(model, 0.1, 0.25, images, T) + distortion
        # 2,000 draws of t at 784 pixels each leave an error of about a thousandth.
        assert bits.shape == (40,)
        assert bits.mean().item() == pytest.approx(expected, rel=5e-3)


def test_the_bound_falls_with_t_to_the_likelihood_of_the_least_noisy_data(gaussian):
    """As T grows, the terms in t tend to E[log q(z_0|x) - log p(z_0)] with p(z_0) the Gaussian that
    the data's make of z_0: the closed form of a likelihood, without any t in it."""
    images = gaussian_images(200)
    model = gaussian()
    x = to_unit(images, 256).double()
    # In units of the pixels, z_0 / alpha_0 = x + noise.
    noise = LEAST_NOISE * 2 / 255
    variance = 0.25**2 + noise**2
    spread = (x - 0.1).square().mean().item() + noise**2
    nats = math.log(variance / noise**2) / 2 + spread / (2 * variance) - 0.5
    bounds = [bound_in_closed_form(model, 0.1, 0.25, images, T) for T in (10, 100, 1000, 10_000)]
    assert bounds == sorted(bounds, reverse=True)
    # The excess is of order 1 / T.
    excess = [bound - nats / math.log(2) for bound in bounds]
    assert excess[0] > 0.5
    assert excess[2] == pytest.approx(excess[1] / 10, rel=0.1)
    assert excess[3] == pytest.approx(excess[2] / 10, rel=0.05)
    assert 0 < excess[3] < 0.01


class KnowsTheLevels(nn.Module):
    """E[eps | z] for independent pixels, each from one distribution (levels,) over grey levels."""

    def __init__(self, masses):
        super().__init__()
        self.masses, self.levels = masses, to_unit(torch.arange(len(masses)), len(masses))

    def forward(self, z, gamma):
        alpha, sigma = (scale[:, None, None, None] for scale in alpha_sigma(gamma))
        a, s = alpha[..., None], sigma[..., None]
        log_odds = self.masses.log() - ((z[..., None] - a * self.levels) / s).square() / 2
        x = (log_odds.softmax(-1) * self.levels).sum(-1)
        return (z - alpha * x) / sigma


def test_the_best_network_for_grey_levels_attains_their_exact_likelihood(make_model):
    """Of independent pixels with known masses of the levels, -log2 p(x) is a sum of logarithms:
    the bound is tight, image by image, up to T and the estimate's error."""
    masses = torch.rand(17, generator=generator(1)).square() + 0.01
    masses /= masses.sum()
    images = torch.multinomial(masses, 200 * 64, replacement=True, generator=generator(2))
    images = images.view(200, 1, 8, 8).byte()
    exact = -masses.log2()[images.long()].flatten(1).mean(1)
    network, bits = KnowsTheLevels(masses), {}
    for T in (100, 100_000):
        model = make_model("diffusion", timesteps=T, draws=300)
        model.net = network
        bits[T] = model.bits_per_dim(images, generator())
    # An image's estimate has a deviation of about 0.07 bits here, and their mean one of 0.005.
    assert bits[100_000].mean().item() == pytest.approx(exact.mean().item(), abs=0.02)
    assert (bits[100_000] - exact).abs().max() < 0.3
    assert torch.corrcoef(torch.stack([bits[100_000], exact]))[0, 1] > 0.75
    assert bits[100].mean() > exact.mean() + 0.2
    # Any other masses code these images worse, and so does the bound.
    model.net = KnowsTheLevels(masses.flip(0))
    other = -masses.flip(0).log2()[images.long()].mean().item()
    found = model.bits_per_dim(images, generator()).mean().item()
    assert found == pytest.approx(other, abs=0.05)
    assert found > exact.mean() + 0.1


def test_the_bound_is_looser_by_any_other_network(gaussian):
    images = gaussian_images(40)
    model = gaussian(draws=20)
    best = model.bits_per_dim(images, generator()).mean()
    for mean, deviation in ((-0.2, 0.25), (0.1, 0.5), (0.1, 0.15)):
        model.net = Optimal(mean, deviation)
        assert model.bits_per_dim(images, generator()).mean() > best + 0.05


@pytest.mark.parametrize(("mean", "deviation"), [(0.1, 0.25), (-0.3, 0.1), (0.0, 0.3)])
def test_the_sampler_ends_at_the_gaussian_of_its_optimal_denoiser(gaussian, mean, deviation):
    samples = to_unit(gaussian(mean, deviation, steps=25).sample(200, generator(4)), 256)
    assert samples.mean().item() == pytest.approx(mean, abs=0.01)
    assert samples.std().item() == pytest.approx(deviation, rel=0.03)
    # Pixels stay independent of each other.
    a, b = samples[..., :-1].flatten(), samples[..., 1:].flatten()
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1].item()) < 0.02


def test_the_noise_levels_are_edms_between_the_schedules_ends(make_model):
    model = make_model("diffusion", steps=5)
    levels = model.noise_levels()
    assert levels[0] == pytest.approx(math.exp(GAMMA_1 / 2))
    assert levels[4] == pytest.approx(math.exp(model.gamma_0 / 2))
    assert levels[5] == 0
    roots = torch.tensor(levels[:5]).double().pow(1 / 7)
    torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(4), rtol=1e-5, atol=0)


@pytest.mark.parametrize("steps", [2, 7])
def test_sampling_costs_the_evaluations_that_are_made(make_model, steps):
    model, calls = make_model("diffusion", steps=steps), []
    one = sum(model.layer_flops())  # before the hook, which would count this evaluation too
    model.net.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model.sample(2, generator())
    assert len(calls) == steps
    assert steps * one == model.sample_flops()


def test_waves_fade_where_noise_covers_them(make_model):
    """The network is shown the mean of a wave under the noise, up to that of z around alpha x."""
    model = make_model("diffusion")
    seen = []
    model.net.enter.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.full((20_000, 1, 8, 8), 0.25)
    for gamma in (model.gamma_0, -4.0, 5.0):
        with torch.no_grad():
            model.net(x[:2], torch.full((2,), gamma))
        strength = (seen[-1][0, 1::2].square() + seen[-1][0, 2::2].square()).sqrt()[:, 0, 0]
        angle = model.net.frequencies * math.exp(gamma / 2)
        noise = torch.randn(200_000, generator=generator())
        mean = torch.stack([(a * noise).cos().mean() for a in angle])
        torch.testing.assert_close(strength, mean.abs(), atol=0.01, rtol=0)


def test_the_prediction_is_the_noise_that_v_stands_for(make_model, digits):
    """With leave's output at v = alpha eps - sigma x, eps_hat is eps."""
    model = make_model("diffusion")
    x = to_unit(torch.from_numpy(digits.test.rows[:4]), 17)
    z, noise = model.diffuse(x, torch.full((4,), 0.6), generator())
    gamma = model.gamma(torch.full((4,), 0.6))
    alpha, sigma = (scale[:, None, None, None] for scale in alpha_sigma(gamma))
    model.net.leave.register_forward_hook(lambda *_: alpha * noise - sigma * x)
    torch.testing.assert_close(model.net(z, gamma), noise, rtol=1e-4, atol=1e-5)


def test_the_noise_level_changes_the_prediction(make_model, digits):
    model = make_model("diffusion")
    x = to_unit(torch.from_numpy(digits.test.rows[:4]), 17)
    seen = []
    model.net.leave.register_forward_hook(lambda *args: seen.append(args[2]))
    model.net.frequencies.zero_()  # without waves only the code tells
    with torch.no_grad():
        for gamma in (-3.0, 2.0):
            model.net(x, torch.full((4,), gamma))
    assert not torch.allclose(seen[0], seen[1], atol=1e-4)


def test_training_lowers_the_loss_and_the_bound(make_model, digits):
    model = make_model("diffusion", width=8, inner=16, learning_rate=0.01).train()
    images = torch.from_numpy(digits.train.rows[:256])
    g = generator()
    with torch.no_grad():
        before = model.bits_per_dim(images, generator(1)).mean().item()
    losses = [
        model.stages[0].step(images[torch.randint(256, (64,), generator=g)], None, g)["loss"].item()
        for _ in range(60)
    ]
    with torch.no_grad():
        after = model.bits_per_dim(images, generator(1)).mean().item()
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert after < before - 0.5
