"""A WGAN-GP on piano rolls: what a roll is, that it learns, and what it costs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from token_rows import BOTH, MUSIC, TEXT, generator, info, rows
from torch.utils.flop_counter import FlopCounterMode

from genbench.models.interface import HasLikelihood, to_unit
from genbench.models.token_gan import Params, TokenGAN, to_roll, to_tokens

LABELS = torch.zeros(64, dtype=torch.int64)


def build(data=TEXT, **params):
    torch.manual_seed(0)
    return TokenGAN(Params(**{"width": 4, "latent": 6, "blocks": 2} | params), data).eval()


@pytest.fixture(params=BOTH)
def data(request):
    return BOTH[request.param]


def test_a_roll_has_a_one_where_the_voice_has_the_token():
    """The alto is the second of four voices, so its tokens are channels 5 to 9."""
    row = torch.tensor([[[0, 1, 2, 3], [4, 4, 0, 0]]]).byte()
    roll = to_roll(row, 5)
    assert roll.shape == (1, 20, 1, 2)
    assert roll[0, :, 0, 0].nonzero().flatten().tolist() == [0, 5 + 1, 10 + 2, 15 + 3]
    assert roll[0, :, 0, 1].nonzero().flatten().tolist() == [4, 5 + 4, 10, 15]
    text = torch.tensor([[3, 0, 4]]).byte()
    assert to_roll(text, 5)[0, :, 0].argmax(0).tolist() == [3, 0, 4]
    assert to_roll(text, 5).sum() == 3


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 7), st.sampled_from([(), (1,), (4,)]), st.integers(2, 256))
def test_rows_survive_the_way_to_a_roll_and_back(n, places, voices, levels):
    batch = rows(info((places, *voices), levels), n)
    roll = to_roll(batch, levels)
    assert roll.shape == (n, math.prod(voices) * levels, 1, places)
    assert torch.equal(to_tokens(roll, levels).reshape(batch.shape), batch)


@torch.no_grad()
def test_g_gives_each_place_of_each_voice_a_distribution(data):
    model = build(data)
    roll = model.G(model.noise(7, generator()))
    assert roll.shape == (7, *model.roll)
    mass = roll.unflatten(1, (-1, 5)).sum(2)
    torch.testing.assert_close(mass, torch.ones_like(mass))
    assert roll.min() > 0


@torch.inference_mode()
def test_samples_are_the_likeliest_tokens_and_a_function_of_the_generator(data):
    model = build(data)
    samples = model.sample(50, generator(3))
    assert samples.shape == (50, *data.shape)
    assert samples.dtype == torch.uint8
    assert samples.max() <= 4
    steps = samples.view(50, data.shape[0], -1)
    roll = model.G(model.noise(50, generator(3))).squeeze(2).unflatten(1, (-1, 5))
    chosen = roll.gather(2, steps.transpose(1, 2).unsqueeze(2).long()).squeeze(2)
    assert torch.equal(chosen, roll.amax(2))
    torch.rand(5)
    assert torch.equal(model.sample(50, generator(3)), samples)
    assert not torch.equal(model.sample(50, generator(4)), samples)


@torch.no_grad()
@pytest.mark.parametrize("places", [1, 2, 3, 13, 16, 17])
@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_any_length_will_do(places, blocks):
    model = build(info((places,)), blocks=blocks)
    assert model.sample(3, generator()).shape == (3, places)
    assert model.D(to_roll(rows(info((places,)), 3), 5)).shape == (3, 1)


def test_d_sees_rows_as_they_are_and_its_penalty_lies_between_rolls(data):
    model, seen = build(data), []
    batch = rows(data, 9)
    model.D.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    fake = model.generate(model.noise(9, generator()), LABELS).detach()
    judged = model.D.forward

    def between(x):
        seen.append(x.detach())
        return judged(x)

    model.D.forward = between
    model.criticise(to_unit(batch, 5), fake, LABELS, generator())
    real, *_, x_hat = (seen[0], seen[-1])
    assert torch.equal(real, to_roll(batch, 5))
    e = ((x_hat - fake) / (real - fake)).flatten(1)
    torch.testing.assert_close(e, e[:, :1].expand_as(e), rtol=0, atol=1e-3)
    assert ((e > 0) & (e < 1)).all()


def test_the_penalty_is_of_the_slope_by_the_roll(data):
    """Against finite differences of D along its own gradient."""
    model = build(data)
    for p in model.D.parameters():
        p.data = p.data.double()
    roll = to_roll(rows(data, 3), 5).double().requires_grad_()
    (gradient,) = torch.autograd.grad(model.D(roll).sum(), roll)
    norm = gradient.flatten(1).norm(dim=1)
    direction = gradient / norm[:, None, None, None]
    with torch.no_grad():
        slope = (model.D(roll + 1e-6 * direction) - model.D(roll - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close(slope.squeeze(1), norm, rtol=1e-4, atol=1e-4)


def test_every_place_of_every_voice_is_judged(data):
    model = build(data)
    roll = to_roll(rows(data, 4), 5).requires_grad_()
    (gradient,) = torch.autograd.grad(model.D(roll).sum(), roll)
    assert (gradient.abs() > 0).float().mean() > 0.9


def test_rows_that_are_all_one_are_soon_made(data):
    """A few dozen steps bring G to the row, and D's distance down from its highest."""
    model = build(data, width=16, learning_rate=1e-2, n_critic=1, beta1=0.5).train()
    row = (torch.arange(math.prod(data.shape)) * 2 % 5).view(1, *data.shape).byte()
    stage = model.stages[0]
    batch = stage.prepare(row.expand(8, *data.shape), LABELS, generator())
    distances = [
        stage.step(batch, LABELS[:8], generator(i))["wasserstein_estimate"].item()
        for i in range(60)
    ]
    samples = model.eval().sample(20, generator())
    assert (samples == row).float().mean() > 0.9
    assert distances[-1] < 0.6 * max(distances)


def test_gradients_reach_every_parameter_and_each_player_moves(data):
    model = build(data, n_critic=2).train()
    stage = model.stages[0]
    assert stage.batches == 2
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    values = stage.step(rows(data, 16), LABELS[:16], generator())
    assert set(values) == {
        "loss_D", "loss_G", "wasserstein_estimate", "penalty", "gradient_norm_D", "gradient_norm_G",
    }  # fmt: skip
    last = f"D.{len(model.D) - 1}.bias"  # raises real and fake rows alike
    moved = {k for k, p in model.named_parameters() if not torch.equal(p, before[k])}
    assert moved == set(before) - {last}


def test_the_critic_starts_with_a_slope_of_about_one(data):
    model = build(data, width=32, blocks=4)
    fake = model.generate(model.noise(16, generator()), LABELS).detach()
    _, values = model.criticise(to_unit(rows(data, 16), 5), fake, LABELS, generator())
    assert values["penalty"] < 0.5  # 1 at a slope of nothing


@pytest.mark.parametrize("params", [{"n_critic": 1}, {"n_critic": 3}, {"blocks": 1}])
def test_the_formulas_are_what_the_counter_counts(data, params):
    model = build(data, **params).train()
    stage = model.stages[0]
    n = 3 * stage.batches
    with FlopCounterMode(display=False) as counter:
        stage.step(rows(data, n), LABELS[:n], generator())
    assert stage.step_flops(3) == counter.get_total_flops() > 0
    assert stage.step_flops(64) == 64 * stage.step_flops(1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.sample(3, generator())
    assert 3 * model.sample_flops() == counter.get_total_flops() > 0


def test_it_declares_no_likelihood():
    assert not isinstance(build(MUSIC), HasLikelihood)
