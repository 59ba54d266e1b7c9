"""The VAE's bound: its parts against torch.distributions, and the whole against log p(x)."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from genbench.models import vae
from genbench.models.interface import HasLatentPosterior, to_levels, to_unit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.test.rows[:12])


def posterior(model, images):
    mean, log_variance = model.encode(images)
    return Normal(mean, (log_variance / 2).exp())


@torch.no_grad()
def test_the_rate_is_the_divergence_from_the_prior(make_model, images):
    model = make_model("vae")
    _, rate = model.elbo_terms(images, generator())
    q = posterior(model, images)
    expected = kl_divergence(q, Normal(torch.zeros(4), torch.ones(4))).sum(1)
    torch.testing.assert_close(rate, expected, rtol=1e-5, atol=1e-5)
    assert (rate >= 0).all()


@torch.no_grad()
def test_the_distortion_is_the_likelihood_at_a_sample_of_the_posterior(make_model, images):
    model = make_model("vae")
    distortion, _ = model.elbo_terms(images, generator(7))
    q = posterior(model, images)
    z = q.mean + q.stddev * torch.randn(q.mean.shape, generator=generator(7))
    expected = -model.net.likelihood.log_prob(images, model.net.decoder(z))
    torch.testing.assert_close(distortion, expected)


@torch.no_grad()
def test_posterior_samples_have_the_posteriors_moments(make_model, images):
    """Moments of z as the decoder sees it: the reparameterisation is what it says."""
    model, seen = make_model("vae"), []
    model.net.decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    many = images[:1].expand(20_000, -1, -1, -1)
    model.elbo_terms(many, generator())
    q = posterior(model, images[:1])
    torch.testing.assert_close(seen[0].mean(0), q.mean[0], atol=0.05, rtol=0)
    torch.testing.assert_close(seen[0].std(0), q.stddev[0], atol=0.05, rtol=0)


@torch.no_grad()
def test_the_bound_is_below_the_likelihood_and_tight_at_the_true_posterior(make_model, images):
    """With one latent dimension, log p(x) is an integral over a line, done here on a grid."""
    model = make_model("vae", latent=1)
    x = images[:3]
    z = torch.linspace(-10, 10, 4001).unsqueeze(1)
    log_prior = Normal(0.0, 1.0).log_prob(z).squeeze(1)
    decoded = model.net.decoder(z)
    for image in x:
        log_joint = log_prior + model.net.likelihood.log_prob(image.expand(4001, -1, -1, -1),
                                                              decoded)  # fmt: skip
        log_p = torch.logsumexp(log_joint, 0).item() + math.log(20 / 4000)
        many = image.expand(2000, -1, -1, -1)
        distortion, rate = model.elbo_terms(many, generator())
        elbo = -(distortion + rate).mean().item()
        # The gap is the divergence of q from the true posterior, also done on the grid.
        q = posterior(model, image.unsqueeze(0))
        log_q = q.log_prob(z).squeeze(1)
        gap = (log_q.exp() * (log_q - (log_joint - log_p))).sum().item() * 20 / 4000
        assert elbo <= log_p + 1e-3
        assert log_p - elbo == pytest.approx(gap, abs=0.05 + 0.02 * gap)


@torch.no_grad()
def test_importance_sampling_finds_no_less_than_the_bound(make_model, images):
    model = make_model("vae")
    many = images[:1].expand(4000, -1, -1, -1)
    distortion, rate = model.elbo_terms(many, generator(1))
    q, p = posterior(model, images[:1]), Normal(torch.zeros(4), torch.ones(4))
    z = q.sample((4000,)).squeeze(1)
    log_x = model.net.likelihood.log_prob(many, model.net.decoder(z))
    log_weights = log_x + (p.log_prob(z) - q.log_prob(z)).sum(1)
    estimate = torch.logsumexp(log_weights, 0).item() - math.log(4000)
    assert estimate > -(distortion + rate).mean().item()


@torch.no_grad()
def test_bits_per_dim_are_the_negative_bound_per_pixel(make_model, images):
    model = make_model("vae")
    distortion, rate = model.elbo_terms(images, generator(3))
    bits = model.bits_per_dim(images, generator(3))
    torch.testing.assert_close(bits, (distortion + rate) / math.log(2) / 64)


def test_a_step_descends_the_negative_bound(make_model, images):
    model = make_model("vae", learning_rate=0.003).train()
    stage = model.stages[0]
    values = [
        stage.step(images, torch.zeros(len(images)).long(), generator(step)) for step in range(60)
    ]
    assert values[-1]["loss"] < 0.9 * values[0]["loss"]
    first = values[0]
    torch.testing.assert_close(first["loss"], first["distortion"] + first["rate"])
    assert values[0]["scale"] != values[-1]["scale"]  # the likelihood's scale is learned


@torch.no_grad()
def test_reconstruction_and_samples_are_decoded_means(make_model, images):
    model = make_model("vae")
    mean, _ = model.encode(images)
    assert torch.equal(model.reconstruct(images), to_levels(model.net.decoder(mean), 17))
    z = torch.randn(5, 4, generator=generator(2))
    assert torch.equal(model.sample(5, generator(2)), to_levels(model.net.decoder(z), 17))
    assert to_unit(images, 17).abs().max() <= 1


@torch.no_grad()
def test_log_weights_are_joint_over_posterior_at_samples_of_the_posterior(make_model, images):
    model, k = make_model("vae"), 5
    assert isinstance(model, HasLatentPosterior)
    found = model.log_weights(images, generator(7), k)
    q, p = posterior(model, images), Normal(torch.zeros(4), torch.ones(4))
    noise = torch.randn((12, k, 4), generator=generator(7))
    for j in range(k):
        z = q.mean + q.stddev * noise[:, j]
        log_x = model.net.likelihood.log_prob(images, model.net.decoder(z))
        expected = log_x + (p.log_prob(z) - q.log_prob(z)).sum(1)
        torch.testing.assert_close(found[:, j], expected, rtol=1e-5, atol=1e-3)


@torch.no_grad()
def test_one_log_weight_is_the_bound_in_expectation(make_model, images):
    model = make_model("vae")
    many = images[:1].expand(4000, -1, -1, -1)
    distortion, rate = model.elbo_terms(many, generator(1))
    weights = model.log_weights(images[:1], generator(2), 4000)[0]
    error = ((weights.var() + distortion.var()) / 4000).sqrt().item()
    assert weights.mean().item() == pytest.approx(-(distortion + rate).mean().item(), abs=4 * error)


def test_log_weights_do_not_depend_on_how_many_are_decoded_at_once(make_model, images, monkeypatch):
    model = make_model("vae")
    whole = model.log_weights(images, generator(), 3)
    assert not whole.requires_grad
    monkeypatch.setattr(vae, "DECODED_AT_ONCE", 7)
    torch.testing.assert_close(model.log_weights(images, generator(), 3), whole)


@torch.no_grad()
def test_many_importance_samples_find_the_likelihood(make_model, images):
    """Against the integral over the one latent dimension, on a grid; the scale is wide, so that an
    untrained posterior is near enough to the true one."""
    model = make_model("vae", latent=1)
    model.net.likelihood.log_scale.fill_(0.0)
    z = torch.linspace(-10, 10, 4001).unsqueeze(1)
    log_prior, decoded = Normal(0.0, 1.0).log_prob(z).squeeze(1), model.net.decoder(z)
    weights = model.log_weights(images[:3], generator(), 5000)
    for image, w in zip(images[:3], weights, strict=True):
        many = image.expand(4001, -1, -1, -1)
        log_joint = log_prior + model.net.likelihood.log_prob(many, decoded)
        log_p = torch.logsumexp(log_joint, 0).item() + math.log(20 / 4000)
        found = torch.logsumexp(w, 0).item() - math.log(5000)
        relative_error = (w - w.max()).exp().std() / (w - w.max()).exp().mean() / math.sqrt(5000)
        assert relative_error < 0.1
        assert found == pytest.approx(log_p, abs=4 * relative_error.item() + 1e-3)
