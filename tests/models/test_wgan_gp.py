"""The critic's losses and its penalty, whose gradients are known where D is linear."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import leaky_relu

from genbench.models.wgan_gp import (
    LeakyReLU,
    Params,
    gradient_penalty,
    wasserstein_estimate,
)

LABELS = torch.zeros(16).long()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def x(digits):
    return torch.from_numpy(digits.train.rows[:16]).float() / 8 - 1


def linear_critic(model, slope):
    """D(x) = slope . x for images of 64 pixels."""
    model.D = nn.Sequential(nn.Flatten(), nn.Linear(64, 1, bias=False))
    model.D[1].weight.data.copy_(slope.view(1, 64))
    return model


def test_the_settings_are_the_papers():
    params = Params()
    assert (params.penalty, params.n_critic) == (10, 5)
    assert (params.learning_rate, params.beta1, params.beta2) == (1e-4, 0, 0.9)


def test_losses_are_differences_of_means(make_model):
    real, fake = np.array([[1.0], [4.0]]), np.array([[-2.0], [0.5], [0.0]])
    a, b = torch.from_numpy(real), torch.from_numpy(fake)
    model = make_model("wgan-gp")
    assert wasserstein_estimate(a, b).item() == pytest.approx(real.mean() - fake.mean())
    assert model.loss_D(a, b).item() == pytest.approx(fake.mean() - real.mean())
    assert model.loss_G(b).item() == pytest.approx(-fake.mean())
    assert model.verdict(a, b)["wasserstein_estimate"] == wasserstein_estimate(a, b)


def test_the_penalty_is_that_of_the_norms_distance_from_one():
    gradients = torch.randn(5, 3, 4, 4, generator=generator())
    norms = np.sqrt((gradients.numpy() ** 2).reshape(5, -1).sum(1))
    expected = ((norms - 1) ** 2).mean()
    assert gradient_penalty(gradients).item() == pytest.approx(expected, rel=1e-5)
    unit = gradients / gradients.flatten(1).norm(dim=1)[:, None, None, None]
    assert gradient_penalty(unit).item() == pytest.approx(0, abs=1e-10)


def test_at_a_flat_critic_the_penalty_is_one_and_its_gradient_finite():
    flat = torch.zeros(3, 1, 2, 2, requires_grad=True)
    penalty = gradient_penalty(flat)
    penalty.backward()
    assert penalty == 1
    assert torch.isfinite(flat.grad).all()


def test_a_linear_critics_penalty_and_its_gradient_are_known(make_model, x):
    slope = torch.randn(64, generator=generator(1))
    model = linear_critic(make_model("wgan-gp"), slope)
    fake = torch.randn(x.shape, generator=generator(2))
    loss, values = model.criticise(x, fake, LABELS, generator())
    norm = slope.norm().item()
    assert values["penalty"].item() == pytest.approx((norm - 1) ** 2, rel=1e-4)
    estimate = (slope @ (x.mean(0) - fake.mean(0)).flatten()).item()
    assert values["wasserstein_estimate"].item() == pytest.approx(estimate, rel=1e-4)
    assert loss.item() == pytest.approx(-estimate + 10 * (norm - 1) ** 2, rel=1e-4)
    # d/dw [10 (|w| - 1)^2 - w . (mean x - mean fake)]
    loss.backward()
    expected = 20 * (norm - 1) * slope / norm - (x.mean(0) - fake.mean(0)).flatten()
    torch.testing.assert_close(model.D[1].weight.grad[0], expected, rtol=1e-4, atol=1e-4)


def test_the_penalty_is_taken_between_a_real_image_and_its_fake(make_model, x):
    """A quadratic critic's gradient is x_hat itself, so that the points can be told."""

    class Quadratic(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, images):
            seen.append(images.detach())
            return self.scale * images.flatten(1).square().sum(1, keepdim=True) / 2

    seen = []
    model = make_model("wgan-gp")
    model.D = Quadratic()
    fake = torch.randn(x.shape, generator=generator(2))
    _, values = model.criticise(x, fake, LABELS, generator())
    *_, x_hat = seen
    e = ((x_hat - fake) / (x - fake)).flatten(1)
    weights = e.median(dim=1).values
    torch.testing.assert_close(e, weights[:, None].expand_as(e), rtol=1e-2, atol=1e-2)
    assert ((weights > 0) & (weights < 1)).all()
    assert weights.std() > 0.1  # each image has its own
    norms = x_hat.flatten(1).norm(dim=1)
    assert values["penalty"].item() == pytest.approx(((norms - 1) ** 2).mean().item(), rel=1e-5)


def test_the_whole_loss_gradient_is_that_of_the_input_gradient_written_out(make_model, x):
    """With one hidden layer, grad D(x_hat) = W^T diag(slopes at x_hat) w."""
    torch.manual_seed(0)
    model = make_model("wgan-gp", penalty=3.0)
    model.D = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), LeakyReLU(), nn.Linear(5, 1))
    first, last = model.D[1], model.D[3]
    fake = torch.randn(x.shape, generator=generator(2))
    loss, _ = model.criticise(x, fake, LABELS, generator())
    found = torch.autograd.grad(loss, (first.weight, last.weight))

    e = torch.rand(16, 1, 1, 1, generator=generator())
    slopes = torch.where(first((e * x + (1 - e) * fake).flatten(1)) > 0, 1.0, 0.2).detach()
    gradient = slopes * last.weight @ first.weight
    penalty = (gradient.square().sum(1).sqrt() - 1).square().mean()
    written = model.D(fake).mean() - model.D(x).mean() + 3 * penalty
    expected = torch.autograd.grad(written, (first.weight, last.weight))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_critic_held_to_slope_one_estimates_the_distance_of_two_points(make_model):
    """Real and fake images are one image each; the Wasserstein-1 distance is that of the two."""
    torch.manual_seed(0)
    model = linear_critic(make_model("wgan-gp"), torch.randn(64) / 8)
    a, b = torch.full((16, 1, 8, 8), 0.25), torch.full((16, 1, 8, 8), -0.25)
    optimiser = torch.optim.Adam(model.D.parameters(), 0.02)
    for step in range(300):
        loss, values = model.criticise(a, b, LABELS, generator(step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    distance = math.sqrt(64) * 0.5
    # The penalty yields: 10 (s - 1)^2 - s W is least at a slope of s = 1 + W / 20.
    assert values["wasserstein_estimate"].item() == pytest.approx(
        distance * (1 + distance / 20), rel=0.01
    )


def test_the_activation_is_torchs_and_its_second_derivative_nothing():
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(LeakyReLU()(x), leaky_relu(x, 0.2))
    (slope,) = torch.autograd.grad(LeakyReLU()(x).square().sum(), x, create_graph=True)
    (by_torch,) = torch.autograd.grad(leaky_relu(x, 0.2).square().sum(), x)
    torch.testing.assert_close(slope, by_torch)
    (gradient,) = torch.autograd.grad(LeakyReLU()(x).sum(), x, create_graph=True)
    assert not gradient.requires_grad


def test_d_judges_each_image_by_itself(make_model, x):
    D = make_model("wgan-gp").train().D
    torch.testing.assert_close(D(x)[:3], D(x[:3]))


def test_the_critic_starts_with_a_slope_of_about_one(make_model, x):
    torch.manual_seed(0)
    model = make_model("wgan-gp", width=32)
    fake = model.generate(model.noise(16, generator()), LABELS).detach()
    _, values = model.criticise(x, fake, LABELS, generator())
    assert values["penalty"] < 0.5  # 1 at a slope of nothing
