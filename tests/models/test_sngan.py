"""The hinge loss, and that D's weights have the spectral norm that they are said to have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils.parametrize import is_parametrized

from genbench.models.sngan import hinge_D, hinge_G, normalised

REAL, FAKE = np.array([[1.5], [0.2], [-3.0]]), np.array([[-2.0], [2.0], [-0.5]])
real, fake = torch.from_numpy(REAL), torch.from_numpy(FAKE)
LABELS = torch.zeros(16).long()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.train.rows[:16])


def layers(network):
    return [layer for layer in network.modules() if is_parametrized(layer, "weight")]


def largest(weight):
    """The largest singular value of a weight as a matrix with a row for each output."""
    return np.linalg.svd(weight.detach().flatten(1).numpy(), compute_uv=False)[0]


def test_losses_are_those_of_the_paper():
    expected = np.maximum(0, 1 - REAL).mean() + np.maximum(0, 1 + FAKE).mean()
    assert hinge_D(real, fake).item() == pytest.approx(expected)
    assert hinge_G(fake).item() == pytest.approx(-FAKE.mean())


def test_d_lets_go_of_what_is_beyond_its_margin_and_g_never_does():
    a, b = (x.clone().requires_grad_() for x in (real, fake))
    hinge_D(a, b).backward()
    np.testing.assert_allclose(a.grad[:, 0], [0, -1 / 3, -1 / 3])
    np.testing.assert_allclose(b.grad[:, 0], [0, 1 / 3, 1 / 3])
    b.grad = None
    hinge_G(b).backward()
    np.testing.assert_allclose(b.grad[:, 0], [-1 / 3] * 3)


def test_all_weights_of_d_and_none_of_g_are_normalised(make_model):
    model = make_model("sngan")
    assert len(layers(model.D)) == 3
    assert all(p.ndim == 1 or "original" in name for name, p in model.D.named_parameters())
    assert not layers(model.G)


def test_weights_have_spectral_norm_one_and_keep_it_while_training(make_model, images):
    model = make_model("sngan").train()
    for step in range(30):
        model.stages[0].step(images, LABELS, generator(step))
    model.eval()
    for layer in layers(model.D):
        assert largest(layer.weight) == pytest.approx(1, abs=0.05)
        # One power iteration a pass only follows: what it follows is not 1 itself.
        assert largest(layer.parametrizations.weight.original) < 0.9


def test_the_size_of_a_raw_weight_changes_nothing_that_d_says(make_model, images):
    model = make_model("sngan")
    x = images.float() / 8 - 1
    before = model.judge(x, LABELS)
    with torch.no_grad():
        layers(model.D)[1].parametrizations.weight.original.mul_(7)
    torch.testing.assert_close(model.judge(x, LABELS), before)


def test_d_is_as_steep_as_its_layers_allow_at_most(make_model):
    """A convolution's slope is at most sqrt(kernel positions that see a pixel) times its matrix's:
    2 for stride 2 and kernels of 4; the last layer's is 1."""
    model = make_model("sngan", width=16)
    a, b = (torch.rand(64, 1, 8, 8, generator=generator(s)) * 2 - 1 for s in (1, 2))
    with torch.no_grad():
        rise = (model.judge(a, LABELS) - model.judge(b, LABELS)).abs().squeeze(1)
    assert (rise <= 4 * (a - b).flatten(1).norm(dim=1)).all()
    assert rise.max() > 0


def test_a_pass_takes_one_power_iteration_and_evaluation_none(make_model, images):
    model = make_model("sngan")
    norm = layers(model.D)[1].parametrizations.weight[0]
    W = layers(model.D)[1].parametrizations.weight.original.detach().flatten(1)
    x, u, v = images.float() / 8 - 1, norm._u.clone(), norm._v.clone()
    model.judge(x, LABELS)
    assert torch.equal(norm._u, u)
    model.train()
    model.judge(x, LABELS)
    expected = W @ v / (W @ v).norm()
    torch.testing.assert_close(norm._u, expected)
    torch.testing.assert_close(norm._v, W.T @ expected / (W.T @ expected).norm())


def test_weights_are_normalised_in_float32_under_autocast(make_model):
    model = make_model("sngan").train()
    with torch.autocast("cpu", torch.bfloat16), normalised(model.D):
        weights = [layer.weight for layer in layers(model.D)]
        again = [layer.weight for layer in layers(model.D)]
    assert all(w.dtype == torch.float32 for w in weights)
    assert all(a is b for a, b in zip(weights, again, strict=True))


def test_buffers_come_back_with_the_state(make_model, images):
    model = make_model("sngan").train()
    model.stages[0].step(images, LABELS, generator())
    other = make_model("sngan")
    other.load_state_dict(model.state_dict())
    x = images.float() / 8 - 1
    assert torch.equal(other.judge(x, LABELS), model.eval().judge(x, LABELS))
