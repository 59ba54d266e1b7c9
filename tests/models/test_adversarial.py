"""The stage that all GANs share: who moves when, on what, and what is logged of it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from genbench.models.adversarial import cross_entropy, gradient_by_input, non_saturating
from genbench.models.interface import to_unit

GANS = ("mlp-gan", "dcgan", "lsgan", "wgan-gp", "sngan", "cgan")
REAL, FAKE = np.array([2.0, -0.5, 0.1]), np.array([-1.0, 0.3, 4.0])
real, fake = (torch.from_numpy(x).unsqueeze(1) for x in (REAL, FAKE))


def generator(seed=5):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch(digits):
    return torch.from_numpy(digits.train.rows[:48])


@pytest.fixture
def labels(digits):
    return torch.from_numpy(digits.train.labels[:48])


def watched(model):
    """The stage, and a list that its optimisers write their names into instead of stepping."""
    seen = []
    for name, optimiser in model.stages[0].optimisers.items():
        optimiser.step = lambda name=name: seen.append(name)
    return model.stages[0], seen


def test_the_first_papers_losses_in_its_own_words():
    D = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    value = np.log(D(REAL)).mean() + np.log(1 - D(FAKE)).mean()
    assert cross_entropy(real, fake).item() == pytest.approx(-value)
    assert non_saturating(fake).item() == pytest.approx(-np.log(D(FAKE)).mean())
    undecided = torch.zeros(3, 1)
    assert cross_entropy(undecided, undecided).item() == pytest.approx(np.log(4))


def test_an_images_gradient_is_its_own_and_can_be_differentiated():
    A = torch.randn(4, 4, requires_grad=True)
    x = torch.randn(7, 4, requires_grad=True)
    gradient = gradient_by_input(((x @ A) * x).sum(1), x)
    torch.testing.assert_close(gradient, x @ (A + A.T))
    gradient.sum().backward()
    # d/dA_ij sum_nk (x_n (A + A^T))_nk = sum_n x_ni + sum_n x_nj
    sums = x.detach().sum(0)
    torch.testing.assert_close(A.grad, sums[:, None] + sums[None, :])


@pytest.mark.parametrize("name", GANS)
@pytest.mark.parametrize("n_critic", [1, 3])
def test_d_steps_n_critic_times_and_then_g(make_model, batch, labels, name, n_critic):
    stage, seen = watched(make_model(name, n_critic=n_critic).train())
    assert stage.batches == n_critic
    stage.step(batch, labels, generator())
    assert seen == ["D"] * n_critic + ["G"]


@pytest.mark.parametrize("n_critic", [1, 3])
def test_each_step_of_d_is_on_images_of_its_own(make_model, batch, labels, n_critic):
    model = make_model("lsgan", n_critic=n_critic).train()
    judged = []
    model.D.register_forward_pre_hook(lambda _, args: judged.append(args[0].detach()))
    stage, _ = watched(model)
    stage.step(batch, labels, generator())
    reals, fakes = judged[:-1:2], judged[1:-1:2]
    torch.testing.assert_close(torch.cat(reals), to_unit(batch, 17))
    assert len(fakes) == n_critic
    assert all(not torch.equal(a, b) for a, b in pairwise(fakes))
    assert torch.equal(judged[-1], fakes[-1])  # G's step is on the last of them


def test_the_default_of_wgan_gp_takes_five_batches(make_model):
    counts = {name: make_model(name).stages[0].batches for name in GANS}
    assert counts == dict.fromkeys(GANS, 1) | {"wgan-gp": 5}


@pytest.mark.parametrize(
    ("name", "params"), [*((name, {}) for name in GANS), ("dcgan", {"r1": 1.0})]
)
def test_each_player_moves_its_own_weights_only(make_model, batch, labels, name, params):
    model = make_model(name, n_critic=1, **params).train()
    stage = model.stages[0]
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    step_G = stage.optimisers["G"].step
    after_D = {}

    def between():
        after_D.update({k: p.detach().clone() for k, p in model.named_parameters()})
        step_G()

    stage.optimisers["G"].step = between
    stage.step(batch, labels, generator())
    after = dict(model.named_parameters())
    for name in before:
        if name.startswith("D."):
            assert torch.equal(after[name], after_D[name])
        else:
            assert torch.equal(after_D[name], before[name])
            assert not torch.equal(after[name], before[name])
    # But for biases in front of nothing that differs, D has moved as a whole.
    moved = [not torch.equal(after_D[k], before[k]) for k in before if k.startswith("D.")]
    assert sum(moved) >= len(moved) - 1


@pytest.mark.parametrize("name", GANS)
def test_fewer_losses_after_some_steps_against_a_still_opponent(make_model, batch, labels, name):
    """Each player lowers its own loss while the other stands still."""
    for player in ("D", "G"):
        model = make_model(name, n_critic=1, learning_rate=2e-3).train()
        stage = model.stages[0]
        stage.optimisers["G" if player == "D" else "D"].step = lambda: None
        losses = [
            stage.step(batch, labels, generator(step))[f"loss_{player}"].item()
            for step in range(40)
        ]
        assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.01


@pytest.mark.parametrize("name", GANS)
def test_what_is_logged(make_model, batch, labels, name):
    values = make_model(name).train().stages[0].step(batch, labels, generator())
    expected = {"loss_D", "loss_G", "gradient_norm_D", "gradient_norm_G"}
    more = {"wasserstein_estimate", "penalty"} if name == "wgan-gp" else {"accuracy_D"}
    assert set(values) == expected | more


def test_accuracy_weighs_real_and_fake_the_same_and_knows_its_boundary(make_model):
    outputs = torch.tensor([[0.2], [0.6], [3.0]]), torch.tensor([[0.2], [-0.1]])
    found = {name: make_model(name).verdict(*outputs)["accuracy_D"] for name in ("dcgan", "lsgan")}
    assert found["dcgan"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["lsgan"] == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize(
    ("name", "params"), [*((name, {}) for name in GANS), ("dcgan", {"r1": 1.0})]
)
def test_a_step_in_bfloat16_is_near_that_in_float32(make_model, batch, labels, name, params):
    values = []
    for enabled in (False, True):
        model = make_model(name, n_critic=1, **params).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled, cache_enabled=False):
            values.append(model.stages[0].step(batch, labels, generator()))
    assert all(value.dtype == torch.float32 for value in values[1].values())
    for key in ("loss_D", "loss_G", "gradient_norm_D"):
        torch.testing.assert_close(values[1][key], values[0][key], rtol=0.05, atol=0.02)


@pytest.mark.parametrize(("name", "params"), [("dcgan", {"r1": 1.0}), ("wgan-gp", {})])
def test_a_penalty_can_be_had_of_a_compiled_d(make_model, batch, labels, name, params):
    """Compiled code cannot be differentiated twice."""
    values = []
    for compiled in (False, True):
        model = make_model(name, n_critic=1, **params).train()
        if compiled:
            model.D.compile(backend="aot_eager")
        values.append(model.stages[0].step(batch, labels, generator()))
    torch.testing.assert_close(values[1], values[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "params"),
    [("dcgan", {"r1": 1.0}), ("dcgan", {"n_critic": 2}), ("dcgan", {"r1": 1.0, "n_critic": 2}),
     ("wgan-gp", {"n_critic": 1}), ("mlp-gan", {"dropout": 0.5}), ("cgan", {"n_critic": 2})],
)  # fmt: skip
def test_options_are_counted(make_model, batch, labels, name, params):
    """The models as they are by default are counted in tests/test_cost.py."""
    model = make_model(name, **params).train()
    stage = model.stages[0]
    n = 3 * stage.batches
    with FlopCounterMode(display=False) as counter:
        stage.step(batch[:n], labels[:n], generator())
    assert stage.step_flops(3) == counter.get_total_flops()


def test_no_d_but_dcgans_and_lsgans_normalises_by_the_batch(make_model):
    batch_norms = {
        name: any(isinstance(m, nn.BatchNorm2d) for m in make_model(name).D.modules())
        for name in GANS
    }
    assert {name for name, has in batch_norms.items() if has} == {"dcgan", "lsgan"}
