"""What beta weighs, what it leaves alone, and what it does to rate and scale."""

from __future__ import annotations

import math

import pytest
import torch


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.train.rows[:32])


LABELS = torch.zeros(32).long()


def trained(make_model, images, name="beta-vae", steps=5, **params):
    model = make_model(name, **params).train()
    for step in range(steps):
        values = model.stages[0].step(images, LABELS, generator(step))
    return model, values


def test_the_loss_weighs_the_rate_by_beta_which_is_four_unless_told_otherwise(make_model, images):
    for params, beta in [({}, 4.0), ({"beta": 0.5}, 0.5)]:
        _, values = trained(make_model, images, **params)
        assert values["rate"] > 0
        torch.testing.assert_close(values["loss"], values["distortion"] + beta * values["rate"])


def test_gradients_are_those_of_the_weighed_sum(make_model, images):
    model = make_model("beta-vae", beta=3.0).train()
    weights = list(model.net.parameters())
    distortion, rate = model.elbo_terms(images, generator(0))
    of_distortion = torch.autograd.grad(
        distortion.mean(), weights, retain_graph=True, allow_unused=True
    )
    of_rate = torch.autograd.grad(rate.mean(), weights, allow_unused=True)
    model.stages[0].optimisers["vae"].step = lambda: None
    model.stages[0].step(images, LABELS, generator(0))
    for w, d, r in zip(weights, of_distortion, of_rate, strict=True):
        expected = (0 if d is None else d) + 3 * (0 if r is None else r)
        torch.testing.assert_close(w.grad, expected, rtol=1e-4, atol=1e-4)


def test_at_beta_one_it_is_the_vae_step_for_step(make_model, images):
    one, _ = trained(make_model, images, beta=1.0)
    plain, _ = trained(make_model, images, "vae")
    other, _ = trained(make_model, images, beta=2.0)
    for key, value in plain.state_dict().items():
        assert torch.equal(one.state_dict()[key], value)
    assert not torch.equal(other.net.encoder[0].weight, plain.net.encoder[0].weight)


@torch.no_grad()
def test_the_reported_bound_is_the_elbo_whatever_beta_is(make_model, images):
    few, many = make_model("beta-vae", beta=0.1), make_model("beta-vae", beta=10.0)
    distortion, rate = many.elbo_terms(images, generator(3))
    bits = (distortion + rate) / math.log(2) / 64
    torch.testing.assert_close(many.bits_per_dim(images, generator(3)), bits)
    assert torch.equal(many.bits_per_dim(images, generator(3)),
                       few.bits_per_dim(images, generator(3)))  # fmt: skip
    assert torch.equal(many.log_weights(images, generator(4), 2),
                       few.log_weights(images, generator(4), 2))  # fmt: skip


def test_a_larger_beta_ends_with_less_rate_larger_errors_and_a_wider_scale(make_model, images):
    """The last is what makes beta press harder than it would with a fixed scale."""
    settings = {"steps": 300, "learning_rate": 0.01}
    _, little = trained(make_model, images, beta=0.25, **settings)
    _, much = trained(make_model, images, beta=8.0, **settings)
    assert much["rate"] < 0.5 * little["rate"]
    assert much["distortion"] > little["distortion"] + 1
    assert much["scale"] > 1.1 * little["scale"]
