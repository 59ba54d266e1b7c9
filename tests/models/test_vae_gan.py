"""The VAE-GAN's three losses, who is moved by which, and what it does not promise."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import logsigmoid

from genbench.models import dcgan
from genbench.models.interface import (
    HasLatentPosterior,
    HasLikelihood,
    Reconstructs,
    to_levels,
    to_unit,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.train.rows[:16])


LABELS = torch.zeros(16).long()


def gradients(loss, network):
    return torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)


def held(model):
    """A step after which every gradient is still there and no weight has moved."""
    for optimiser in model.stages[0].optimisers.values():
        optimiser.step = lambda: None
    return model.stages[0]


def assert_gradients(network, expected):
    for p, g in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-4, atol=1e-6)


def terms(model, images):
    """The terms of algorithm 1, with the draws in the order of the step."""
    E, G, D = model.net["encoder"], model.net["decoder"], model.D
    g = generator(5)
    mean, log_variance = E(to_unit(images, 17)).chunk(2, dim=1)
    q = Normal(mean, (log_variance / 2).exp())
    z = q.mean + q.stddev * torch.randn(mean.shape, generator=g)
    rebuilt, fake = G(z), G(torch.randn(mean.shape, generator=g))
    real_h, rebuilt_h, fake_h = (D["features"](x) for x in (to_unit(images, 17), rebuilt, fake))
    prior = kl_divergence(q, Normal(0.0, 1.0)).sum(1).mean()
    like = -Normal(rebuilt_h, 1.0).log_prob(real_h.detach()).sum(1)
    constant = Normal(0.0, 1.0).log_prob(torch.zeros(())) * real_h.shape[1]
    real, remade, faked = (D["head"](h) for h in (real_h, rebuilt_h, fake_h))
    return {
        "prior": prior,
        "like": like.mean() + constant,
        "D": -(logsigmoid(real) + logsigmoid(-remade) + logsigmoid(-faked)).mean(),
        "fooled": -(logsigmoid(remade) + logsigmoid(faked)).mean(),
    }


def test_losses_are_those_of_algorithm_1_at_the_weights_before_the_step(make_model, images):
    model, twin = make_model("vae-gan", gamma=0.2).train(), make_model("vae-gan").train()
    values = model.stages[0].step(images, LABELS, generator(5))
    expected = {name: term.detach() for name, term in terms(twin, images).items()}
    for name in ("prior", "like", "D"):
        torch.testing.assert_close(values[f"loss_{name}"], expected[name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        values["loss_encoder"], expected["prior"] + expected["like"], rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        values["loss_G"], 0.2 * expected["like"] + expected["fooled"], rtol=1e-4, atol=1e-4
    )


def test_each_network_gets_the_gradient_of_its_own_loss_alone(make_model, images):
    model, twin = make_model("vae-gan", gamma=0.2).train(), make_model("vae-gan").train()
    values = held(model).step(images, LABELS, generator(5))
    t = terms(twin, images)
    E, G = twin.net["encoder"], twin.net["decoder"]
    of_encoder = gradients(t["prior"] + t["like"], E)
    assert_gradients(model.net["encoder"], of_encoder)
    assert_gradients(model.net["decoder"], gradients(0.2 * t["like"] + t["fooled"], G))
    assert_gradients(model.D, gradients(t["D"], twin.D))
    norm = torch.cat([g.flatten() for g in of_encoder]).norm()
    torch.testing.assert_close(values["gradient_norm_encoder"], norm, rtol=1e-4, atol=1e-4)
    # What each leaves out would have changed it: the adversarial term the encoder, L_like D.
    left_out = gradients(t["fooled"], E) + gradients(t["like"], twin.D["features"])
    assert min(g.norm() for g in left_out if g.ndim > 1) > 0


def test_gamma_moves_the_decoder_and_no_other(make_model, images):
    one, other = make_model("vae-gan", gamma=0.0).train(), make_model("vae-gan", gamma=3.0).train()
    for model in (one, other):
        model.stages[0].step(images, LABELS, generator(5))

    def moved(a, b):
        return [not torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True)]

    assert not any(moved(one.net["encoder"], other.net["encoder"]))
    assert not any(moved(one.D, other.D))
    # At most a bias before a batch normalisation can stay where it is.
    assert sum(moved(one.net["decoder"], other.net["decoder"])) >= 4


@torch.no_grad()
def test_features_and_head_are_the_dcgans_discriminator(make_model, images):
    model = make_model("vae-gan")
    D = dcgan.Discriminator(model.params, (1, 8, 8)).eval()
    own = [*model.D["features"].state_dict().values(), *model.D["head"].state_dict().values()]
    D.load_state_dict(dict(zip(D.state_dict(), own, strict=True)))
    x = to_unit(images, 17)
    torch.testing.assert_close(model.D["head"](model.D["features"](x)), D(x))
    assert model.D["features"](x).shape == (16, 2 * 4 * 2 * 2)


@torch.no_grad()
def test_reconstructions_and_samples_are_the_generators_images(make_model, images):
    model = make_model("vae-gan")
    mean, _ = model.encode(images)
    assert torch.equal(model.reconstruct(images), to_levels(model.net["decoder"](mean), 17))
    z = torch.randn(5, 4, generator=generator(2))
    assert torch.equal(model.sample(5, generator(2)), to_levels(model.net["decoder"](z), 17))


def test_no_likelihood_of_pixels_is_claimed(make_model):
    model = make_model("vae-gan")
    assert isinstance(model, Reconstructs)
    assert not isinstance(model, HasLikelihood)
    assert not isinstance(model, HasLatentPosterior)


def test_errors_of_features_bring_reconstructions_to_their_own_images(make_model, digits):
    model = make_model("vae-gan", width=8, latent=8, gamma=1.0, learning_rate=0.01).train()
    images = torch.from_numpy(digits.train.rows[:32])

    def own():
        """The share of reconstructions that are nearer to their image than to the 31 others."""
        with torch.no_grad():
            rebuilt = model.eval().reconstruct(images).flatten(1).float()
        model.train()
        nearest = torch.cdist(rebuilt, images.flatten(1).float()).argmin(1)
        return (nearest == torch.arange(32)).float().mean().item()

    assert own() < 0.1
    for step in range(200):
        model.stages[0].step(images, torch.zeros(32).long(), generator(step))
    assert own() > 0.2
