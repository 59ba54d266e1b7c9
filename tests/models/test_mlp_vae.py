"""The MLP VAE's two networks against their formulas, and that nothing in them knows of places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genbench.models.interface import HasLatentPosterior, HasLikelihood, Reconstructs, to_unit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.test.rows[:12])


def arrays(layer):
    return layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()


@torch.no_grad()
def test_the_networks_are_one_hidden_layer_of_tanh_each(make_model, images):
    model = make_model("mlp-vae")
    _, to_hidden, _, to_outputs = model.net.encoder
    (W1, b1), (W2, b2) = arrays(to_hidden), arrays(to_outputs)
    x = to_unit(images, 17).flatten(1).double().numpy()
    outputs = np.tanh(x @ W1.T + b1) @ W2.T + b2
    mean, log_variance = model.encode(images)
    np.testing.assert_allclose(mean.numpy(), outputs[:, :4], atol=1e-5)
    np.testing.assert_allclose(log_variance.numpy(), outputs[:, 4:], atol=1e-5)

    from_z, _, to_pixels, _ = model.net.decoder
    (W3, b3), (W4, b4) = arrays(from_z), arrays(to_pixels)
    z = torch.randn(5, 4, generator=generator())
    pixels = np.tanh(z.double().numpy() @ W3.T + b3) @ W4.T + b4
    assert model.net.decoder(z).shape == (5, 1, 8, 8)
    np.testing.assert_allclose(model.net.decoder(z).flatten(1).numpy(), pixels, atol=1e-5)


@torch.no_grad()
def test_pixels_in_another_order_change_nothing_but_the_order(make_model, images):
    """Of a convolutional network this would not be so."""
    model, order = make_model("mlp-vae"), torch.randperm(64, generator=generator(1))
    bits = model.bits_per_dim(images, generator(2))
    rebuilt = model.reconstruct(images).flatten(1)[:, order]
    model.net.encoder[1].weight.copy_(model.net.encoder[1].weight[:, order])
    model.net.decoder[2].weight.copy_(model.net.decoder[2].weight[order])
    model.net.decoder[2].bias.copy_(model.net.decoder[2].bias[order])
    shuffled = images.flatten(1)[:, order].view(images.shape)
    torch.testing.assert_close(model.bits_per_dim(shuffled, generator(2)), bits)
    assert torch.equal(model.reconstruct(shuffled).flatten(1), rebuilt)


def test_steps_descend_the_negative_bound(make_model, images):
    model = make_model("mlp-vae", learning_rate=0.003).train()
    stage, labels = model.stages[0], torch.zeros(len(images)).long()
    values = [stage.step(images, labels, generator(step)) for step in range(60)]
    assert values[-1]["loss"] < 0.9 * values[0]["loss"]


def test_it_promises_what_the_vae_does(make_model):
    model = make_model("mlp-vae")
    assert isinstance(model, HasLikelihood)
    assert isinstance(model, HasLatentPosterior)
    assert isinstance(model, Reconstructs)
    assert model.likelihood == "bpd_bound"
