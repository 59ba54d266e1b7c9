"""The GAN's losses against the formulas of its paper, and whose weights a step touches."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import logsigmoid

from genbench.models.dcgan import Adversarial
from genbench.models.interface import to_unit


@pytest.fixture
def batch(digits):
    return torch.from_numpy(digits.train.rows[:16])


def generator():
    return torch.Generator().manual_seed(5)


def test_losses_are_those_of_the_paper(make_model, batch):
    model = make_model("dcgan").train()
    twin = make_model("dcgan").train()
    values = model.stages[0].step(batch, torch.zeros(len(batch)).long(), generator())

    # E[log D(x)] + E[log(1 - D(G(z)))], and the non-saturating E[log D(G(z))] under the new D.
    x = to_unit(batch, 17)
    fake = twin.G(twin.noise(len(batch), generator())).detach()
    D_ascends = logsigmoid(twin.D(x)).mean() + logsigmoid(-twin.D(fake)).mean()
    torch.testing.assert_close(values["loss_D"], -D_ascends.detach())
    twin.D.load_state_dict(model.D.state_dict())
    torch.testing.assert_close(values["loss_G"], -logsigmoid(twin.D(fake)).mean().detach())


def test_gradient_norms_are_those_of_the_losses(make_model, batch):
    model = make_model("dcgan").train()
    twin = make_model("dcgan").train()
    values = model.stages[0].step(batch, torch.zeros(len(batch)).long(), generator())
    fake = twin.G(twin.noise(len(batch), generator()))
    real_logits, fake_logits = twin.D(to_unit(batch, 17)), twin.D(fake.detach())
    loss_D = -(logsigmoid(real_logits).mean() + logsigmoid(-fake_logits).mean())
    gradients = torch.autograd.grad(loss_D, list(twin.D.parameters()))
    expected = torch.cat([g.flatten() for g in gradients]).norm()
    torch.testing.assert_close(values["gradient_norm_D"], expected)


def test_each_player_moves_its_own_weights_only(make_model, batch):
    model = make_model("dcgan").train()
    step = model.stages[0]
    assert isinstance(step, Adversarial)

    before = {k: v.clone() for k, v in model.named_parameters()}
    # G's step alone: D's optimiser does nothing, and D's gradients stay those of its own loss.
    seen = {}
    step.optimisers["D"].step = lambda: seen.update(
        {k: p.grad.clone() for k, p in model.D.named_parameters()}
    )
    step.step(batch, torch.zeros(len(batch)).long(), generator())
    for name, p in model.D.named_parameters():
        assert torch.equal(p, before[f"D.{name}"])
        assert torch.equal(p.grad, seen[name])
    assert all(not torch.equal(p, before[f"G.{k}"]) for k, p in model.G.named_parameters())


def test_d_takes_no_gradient_to_g(make_model, batch):
    model = make_model("dcgan").train()
    step = model.stages[0]
    seen = []
    step.optimisers["D"].step = lambda: seen.extend(p.grad for p in model.G.parameters())
    step.step(batch, torch.zeros(len(batch)).long(), generator())
    assert seen == [None] * len(list(model.G.parameters()))


def test_accuracy_counts_real_and_fake_alike(make_model, batch):
    model = make_model("dcgan").train()
    last = model.D[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(3.0)  # D takes everything for real
    values = model.stages[0].step(batch, torch.zeros(len(batch)).long(), generator())
    assert values["accuracy_D"] == 0.5


def test_initial_weights_are_small_and_centred(make_model):
    model = make_model("dcgan", width=32)
    weights = torch.cat([m.weight.detach().flatten() for m in model.modules()
                         if hasattr(m, "kernel_size")])  # fmt: skip
    assert weights.mean().abs() < 1e-3
    assert weights.std() == pytest.approx(0.02, rel=0.05)
