"""The MLP GAN's three losses of G: their values, their slopes, and where the wrong one leads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from genbench.models.mlp_gan import LOSSES, minimax, non_saturating, wrong_sign

LOGITS = np.array([-4.0, -0.5, 0.0, 2.5])
D = 1 / (1 + np.exp(-LOGITS))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def slopes(loss):
    logits = torch.from_numpy(LOGITS).unsqueeze(1).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits), logits)
    return len(LOGITS) * gradient.squeeze(1).numpy()


@pytest.mark.parametrize(
    ("loss", "value", "slope"),
    [
        (non_saturating, -np.log(D).mean(), -(1 - D)),
        (minimax, np.log(1 - D).mean(), -D),
        (wrong_sign, D.mean(), D * (1 - D)),
    ],
)
def test_losses_and_their_slopes(loss, value, slope):
    assert loss(torch.from_numpy(LOGITS)).item() == pytest.approx(value)
    np.testing.assert_allclose(slopes(loss), slope)


def test_the_wrong_sign_alone_pushes_logits_down():
    assert (slopes(non_saturating) < 0).all()
    assert (slopes(minimax) < 0).all()
    assert (slopes(wrong_sign) > 0).all()


def test_the_minimax_gradient_dies_where_d_is_sure_of_its_fakes():
    sure = torch.full((1, 1), -20.0, requires_grad=True)
    sizes = {}
    for name, loss in LOSSES.items():
        (gradient,) = torch.autograd.grad(loss(sure), sure)
        sizes[name] = abs(gradient.item())
    assert sizes["non-saturating"] == pytest.approx(1)
    assert sizes["minimax"] < 1e-8
    assert sizes["wrong-sign"] < 1e-8


@pytest.mark.parametrize(("loss", "rises"), [("non-saturating", True), ("minimax", True),
                                             ("wrong-sign", False)])  # fmt: skip
def test_what_a_still_d_comes_to_believe_of_fakes(make_model, digits, loss, rises):
    """The parameter chooses the loss, and its sign shows in D's belief."""
    model = make_model("mlp-gan", loss=loss, learning_rate=0.01).train()
    stage = model.stages[0]
    stage.optimisers["D"].step = lambda: None
    images = torch.from_numpy(digits.train.rows[:32])
    labels = torch.zeros(32).long()

    @torch.no_grad()
    def belief():
        z = model.noise(256, generator(1))
        return model.judge(model.generate(z, labels), labels).sigmoid().mean().item()

    before = belief()
    for step in range(60):
        values = stage.step(images, labels, generator(step))
    change = belief() - before
    assert change > 0.05 if rises else change < -0.05
    p = belief()
    last = {"non-saturating": -np.log(p), "minimax": np.log(1 - p), "wrong-sign": p}[loss]
    assert values["loss_G"].item() == pytest.approx(last, abs=0.05)


def test_dropout_is_in_the_hidden_layers_of_both_and_off_in_samples(make_model):
    model = make_model("mlp-gan", dropout=0.5)
    for network in (model.G, model.D):
        kinds = [type(layer) for layer in network]
        assert kinds.count(nn.Dropout) == 2
        # After a hidden layer's activation, never on the input or the output.
        for i, kind in enumerate(kinds):
            if kind is nn.Dropout:
                assert kinds[i - 1] in (nn.ReLU, nn.LeakyReLU)
                assert kinds[i + 1] is nn.Linear
    z = model.noise(4, generator())
    assert torch.equal(model.G(z), model.G(z))
    model.train()
    assert not torch.equal(model.G(z), model.G(z))
    model.eval()
    assert torch.equal(model.sample(4, generator()), model.sample(4, generator()))
    assert not any(isinstance(m, nn.Dropout) for m in make_model("mlp-gan").modules())


def test_images_lie_in_the_unit_range_and_have_the_data_sets_shape(make_model):
    model = make_model("mlp-gan", "cifar10")
    with torch.no_grad():
        x = model.generate(100 * model.noise(5, generator()), torch.zeros(5).long())
    assert x.shape == (5, 3, 32, 32)
    assert x.abs().max() <= 1
    assert model.judge(x, torch.zeros(5).long()).shape == (5, 1)
