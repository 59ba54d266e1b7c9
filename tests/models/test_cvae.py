"""The class in the networks, and the bounds of the mixture over classes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from genbench.data import DATASETS
from genbench.models import cvae, vae
from genbench.models.interface import ClassConditional, HasLatentPosterior, to_levels


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.test.rows[:12])


@pytest.fixture
def labels(digits):
    return torch.from_numpy(digits.test.labels[:12])


@pytest.fixture
def model(make_model):
    """Weights a little larger than at the start, so that classes differ as in a trained one."""
    model = make_model("cvae")
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator(9)))
    return model


def tiny(classes=3):
    """A model of 4 x 4 images of two levels, of which there are 65,536."""
    data = dataclasses.replace(DATASETS["digits"], shape=(1, 4, 4), levels=2, classes=classes)
    torch.manual_seed(0)
    model = cvae.CVAE(cvae.Params(width=4, latent=2), data)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    bits = np.unpackbits(np.arange(65536, dtype=">u2").view(np.uint8).reshape(-1, 2), axis=1)
    return model.eval(), torch.from_numpy(bits).view(-1, 1, 4, 4)


@torch.no_grad()
def test_the_class_reaches_the_encoder_and_the_decoder(model, images, labels):
    mean, log_variance = model.encode(images, labels)
    other_mean, other_log_variance = model.encode(images, (labels + 1) % 10)
    assert ((mean - other_mean).abs().amax(1) > 1e-3).all()
    assert ((log_variance - other_log_variance).abs().amax(1) > 1e-3).all()
    z = torch.randn(1, 4, generator=generator()).expand(10, -1)
    decoded = model.net.decoder(z, torch.arange(10)).flatten(1)
    assert (torch.cdist(decoded, decoded) + torch.eye(10)).min() > 1e-2


@torch.no_grad()
def test_rows_keep_their_own_class(model, images, labels):
    mean, _ = model.encode(images, labels)
    for i in (0, 5, 11):
        alone, _ = model.encode(images[i : i + 1], labels[i : i + 1])
        torch.testing.assert_close(alone[0], mean[i])


@torch.no_grad()
def test_the_terms_are_those_of_the_bound_given_the_class(model, images, labels):
    distortion, rate = model.elbo_terms(images, generator(7), labels)
    mean, log_variance = model.encode(images, labels)
    q = Normal(mean, (log_variance / 2).exp())
    expected = kl_divergence(q, Normal(torch.zeros(4), torch.ones(4))).sum(1)
    torch.testing.assert_close(rate, expected, rtol=1e-5, atol=1e-5)
    z = q.mean + q.stddev * torch.randn(mean.shape, generator=generator(7))
    log_x = model.net.likelihood.log_prob(images, model.net.decoder(z, labels))
    torch.testing.assert_close(distortion, -log_x)


@torch.no_grad()
def test_weights_are_joint_over_posterior_given_each_class(model, images):
    k = 3
    chosen = torch.randint(10, (12, k), generator=generator(1))
    found = model.class_weights(images, chosen, generator(7))
    noise = torch.randn(12 * k, 4, generator=generator(7)).view(12, k, 4)
    p = Normal(torch.zeros(4), torch.ones(4))
    for j in range(k):
        mean, log_variance = model.encode(images, chosen[:, j])
        q = Normal(mean, (log_variance / 2).exp())
        z = q.mean + q.stddev * noise[:, j]
        log_x = model.net.likelihood.log_prob(images, model.net.decoder(z, chosen[:, j]))
        expected = log_x + (p.log_prob(z) - q.log_prob(z)).sum(1)
        torch.testing.assert_close(found[:, j], expected, rtol=1e-5, atol=1e-3)


def test_weights_do_not_depend_on_how_many_are_decoded_at_once(model, images, monkeypatch):
    whole = model.log_weights(images, generator(), 3)
    assert not whole.requires_grad
    monkeypatch.setattr(vae, "DECODED_AT_ONCE", 7)
    torch.testing.assert_close(model.log_weights(images, generator(), 3), whole)


@torch.no_grad()
def test_the_bound_is_of_the_mean_over_classes(model, images):
    every = torch.arange(10).expand(12, -1)
    weights = model.class_weights(images, every, generator(3)).double().numpy()
    largest = weights.max(1, keepdims=True)
    nats = -np.log(np.exp(weights - largest).mean(1)) - largest[:, 0]
    bits = model.bits_per_dim(images, generator(3))
    np.testing.assert_allclose(bits.numpy(), nats / math.log(2) / 64, rtol=1e-5)


@torch.no_grad()
def test_bounded_bits_leave_a_sum_of_no_more_than_one():
    model, images = tiny()
    parts = [model.bits_per_dim(part, generator(i)) for i, part in enumerate(images.split(8192))]
    total = (2 ** (-16 * torch.cat(parts).double())).sum().item()
    assert 0.5 < total <= 1.02  # the weights of one draw average to it, so it is 1 but for noise


@torch.no_grad()
@pytest.mark.parametrize("k", [1, 2, 4])
def test_importance_weights_average_to_probabilities_for_any_k(k):
    """E w = p(x) for every x, so the weights of all images there are sum to one: also where k is
    no multiple of the number of classes, since the classes come in a random order."""
    model, images = tiny()
    g = generator(k)
    parts = images.split(8192)
    weights = torch.cat([model.log_weights(part, g, k).double().exp() for part in parts])
    assert weights.shape == (65536, k)
    error = float(weights.square().sum().sqrt()) / k
    assert error < 0.03
    assert weights.mean(1).sum().item() == pytest.approx(1, abs=4 * error)


def test_importance_samples_go_through_all_classes_and_each_is_even(model, images, monkeypatch):
    seen = []
    monkeypatch.setattr(model, "class_weights", lambda x, c, g: seen.append(c) or c.float())
    many = images[:1].expand(5000, -1, -1, -1)
    model.log_weights(many, generator(), 25)
    (chosen,) = seen
    for turn in (chosen[:, :10], chosen[:, 10:20]):
        assert torch.equal(turn.sort(1).values, torch.arange(10).expand(5000, -1))
    assert (chosen[:, 20:].sort(1).values.diff(dim=1) > 0).all()
    for j in (0, 13, 24):
        counts = torch.bincount(chosen[:, j], minlength=10)
        assert ((counts - 500).square() / 500).sum() < 34  # chi-squared, 9 degrees, p = 1e-4


@torch.no_grad()
def test_the_mixtures_weights_find_the_mean_of_the_classes_probabilities(make_model, images):
    """With one latent dimension, p(x|c) is an integral over a line, done here on a grid."""
    model = make_model("cvae", latent=1)
    # A wide scale, so that an untrained posterior is near enough to the true one.
    model.net.likelihood.log_scale.fill_(0.0)
    z = torch.linspace(-10, 10, 2001).unsqueeze(1)
    log_prior, log_p = Normal(0.0, 1.0).log_prob(z).squeeze(1), []
    for c in range(10):
        decoded = model.net.decoder(z, torch.full((2001,), c))
        many = images[:1].expand(2001, -1, -1, -1)
        log_joint = log_prior + model.net.likelihood.log_prob(many, decoded)
        log_p.append(torch.logsumexp(log_joint, 0) + math.log(20 / 2000))
    expected = torch.stack(log_p).logsumexp(0).item() - math.log(10)
    w = model.log_weights(images[:1], generator(), 6000)[0]
    found = torch.logsumexp(w, 0).item() - math.log(6000)
    relative = (w - w.max()).exp()
    error = (relative.std() / relative.mean() / math.sqrt(6000)).item()
    assert error < 0.05
    assert found == pytest.approx(expected, abs=4 * error + 1e-3)
    assert -model.bits_per_dim(images[:1], generator())[0] * 64 * math.log(2) < expected + 1


@torch.no_grad()
def test_reconstruction_takes_the_class_with_the_best_bound(model, images):
    model.net.likelihood.log_scale.fill_(-0.5)
    rebuilt, chosen = model.reconstruct(images), []
    for image, found in zip(images, rebuilt, strict=True):
        best = -math.inf
        for c in range(10):
            label = torch.tensor([c])
            mean, log_variance = model.encode(image.unsqueeze(0), label)
            decoded = model.net.decoder(mean, label)
            q = Normal(mean, (log_variance / 2).exp())
            rate = kl_divergence(q, Normal(torch.zeros(4), torch.ones(4))).sum()
            bound = (model.net.likelihood.log_prob(image.unsqueeze(0), decoded) - rate).item()
            if bound > best:
                best, picked, expected = bound, c, to_levels(decoded[0], 17)
        chosen.append(picked)
        assert torch.equal(found, expected)
    assert len(set(chosen)) > 1


@torch.no_grad()
def test_samples_are_decoded_means_of_evenly_drawn_classes(model, monkeypatch):
    assert isinstance(model, ClassConditional)
    assert isinstance(model, HasLatentPosterior)
    classes = torch.tensor([3, 3, 8])
    z = torch.randn(3, 4, generator=generator(2))
    expected = to_levels(model.net.decoder(z, classes), 17)
    assert torch.equal(model.sample_class(classes, generator(2)), expected)
    assert not torch.equal(model.sample_class(classes - 1, generator(2)), expected)

    seen = []
    monkeypatch.setattr(model, "sample_class", lambda c, g: seen.append(c))
    model.sample(5000, generator(4))
    counts = torch.bincount(seen[0], minlength=10)
    assert len(counts) == 10
    assert ((counts - 500).square() / 500).sum() < 34  # chi-squared, 9 degrees, p = 1e-4


def test_it_learns_what_the_class_says(make_model, digits):
    """After some steps the right class explains images better than a wrong one."""
    model = make_model("cvae", learning_rate=0.01).train()
    images = torch.from_numpy(digits.train.rows[:256])
    labels = torch.from_numpy(digits.train.labels[:256])
    values = [model.stages[0].step(images, labels, generator(step)) for step in range(150)]
    assert values[-1]["loss"] < 0.8 * values[0]["loss"]
    with torch.no_grad():
        right = sum(model.elbo_terms(images, generator(), labels)).mean()
        wrong = sum(model.elbo_terms(images, generator(), (labels + 1) % 10)).mean()
    assert right < wrong - 3
