"""The sentence VAE: its bound against log p(x) on a grid of z, what trains it and what tells of
collapse."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from pydantic import ValidationError
from token_rows import BOTH, MUSIC, TEXT, generator, info, rows
from torch.distributions import Normal, kl_divergence
from torch.utils.flop_counter import FlopCounterMode

from genbench.metrics.likelihood import iwae_bound
from genbench.models.autoregressive import draw
from genbench.models.decoding import greedy
from genbench.models.interface import HasLatentPosterior, HasLikelihood, Reconstructs
from genbench.models.token_vae import Params, TokenVAE, divergences

LABELS = torch.zeros(64, dtype=torch.int64)


def build(data=TEXT, spread=0.0, **params):
    torch.manual_seed(1)
    model = TokenVAE(Params(**{"width": 8, "latent": 3} | params), data).eval()
    with torch.no_grad():  # so that z has a say, and mistakes show
        for p in model.parameters():
            p.add_(spread * torch.randn(p.shape))
    return model


def train(model, batch, steps):
    model.train()
    stage = model.stages[0]
    tokens = stage.prepare(batch, LABELS, generator())
    values = [stage.step(tokens, LABELS, generator(step)) for step in range(steps)]
    model.eval()
    return values


@pytest.fixture(params=BOTH)
def data(request):
    return BOTH[request.param]


@pytest.fixture(scope="module")
def tiny():
    """All 81 rows of 4 tokens out of 3, a model of them with one latent dimension, and its log
    p(x|z) + log p(z) on a grid of z, as (81, grid)."""
    every = torch.tensor(list(itertools.product(range(3), repeat=4))).byte()
    model = build(info((4,), levels=3), spread=0.4, latent=1)
    z = torch.linspace(-9, 9, 301)
    with torch.no_grad():
        many, each = every.long().repeat_interleave(301, 0), z.repeat(81).unsqueeze(1)
        log_x = -model.distortion(many, each).view(81, 301)
    return model, every, z, log_x.double() + Normal(0.0, 1.0).log_prob(z).double()


def on_grid(log_density):
    """Their integral over z, in logarithms."""
    return log_density.logsumexp(1) + math.log(18 / 300)


@torch.no_grad()
def test_probabilities_of_all_rows_sum_to_one(tiny):
    _, _, _, log_joint = tiny
    log_p = on_grid(log_joint)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-4)
    assert log_p.max() > log_p.min() + 1


@torch.no_grad()
def test_the_bound_is_below_the_likelihood_by_the_posteriors_divergence(tiny):
    model, every, z, log_joint = tiny
    log_p = on_grid(log_joint)
    mean, log_variance = model.encode(every)
    log_q = Normal(mean, (log_variance / 2).exp()).log_prob(z).double()
    gap = (log_q.exp() * (log_q - log_joint + log_p[:, None])).sum(1) * 18 / 300
    assert gap.max() > 0.05
    many = every.repeat(300, 1)
    draws = sum(model.elbo_terms(many, generator())).view(300, 81).double()
    error = draws.std(0) / math.sqrt(300)
    assert (((log_p + draws.mean(0)) - gap).abs() < 4.5 * error + 1e-3).all()
    # Averaged over all rows, each as likely as it is: the bound is one in a clear margin.
    assert (log_p.exp() * (log_p + draws.mean(0))).sum() > 0.01


@torch.no_grad()
def test_importance_samples_come_from_the_bound_to_the_likelihood(tiny):
    model, every, _, log_joint = tiny
    log_p = on_grid(log_joint)
    weights = model.log_weights(every.repeat(20, 1), generator(), 100)
    assert isinstance(model, HasLatentPosterior)
    assert weights.shape == (20 * 81, 100)
    weights = weights.view(20, 81, 100).transpose(0, 1).reshape(81, 2000).double()
    many = iwae_bound(weights)
    relative = (weights - many[:, None]).exp().std(1) / math.sqrt(2000)
    assert ((many - log_p).abs() < 5 * relative + 1e-3).all()
    few = iwae_bound(weights.view(81 * 200, 10)).view(81, 200).mean(1)
    one = weights.mean(1)
    elbo = -sum(model.elbo_terms(every.repeat(300, 1), generator()))
    assert one.mean() < few.mean() < many.mean()
    assert one.mean().item() == pytest.approx(elbo.mean().item(), abs=0.02)


@torch.no_grad()
def test_rate_and_bits(data):
    model, batch = build(data, spread=0.3), rows(data, 6)
    mean, log_variance = model.encode(batch)
    q, p = Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(3), torch.ones(3))
    torch.testing.assert_close(divergences(mean, log_variance), kl_divergence(q, p))
    distortion, rate = model.elbo_terms(batch, generator(2))
    torch.testing.assert_close(rate, kl_divergence(q, p).sum(1))
    z = mean + q.stddev * torch.randn(mean.shape, generator=generator(2))
    log_x = model.net.decoder(batch.flatten(1).long(), z).log_softmax(2)
    nats = -log_x.gather(2, batch.flatten(1).long().unsqueeze(2)).sum((1, 2))
    torch.testing.assert_close(distortion, nats)
    bits = model.bits_per_dim(batch, generator(2))
    assert isinstance(model, HasLikelihood)
    assert model.likelihood == "bpd_bound"
    torch.testing.assert_close(bits, (nats + rate) / math.log(2) / math.prod(data.shape))


@torch.no_grad()
def test_every_token_has_a_say_in_the_posterior_but_only_earlier_ones_in_a_conditional():
    model = build(spread=0.5)
    batch = rows(TEXT, 1).expand(12, -1)
    changed = batch.clone()
    changed.fill_diagonal_(0)
    changed = torch.where(changed == batch, (batch + torch.eye(12).byte()) % 5, changed)
    before, after = (model.encode(x)[0] for x in (batch, changed))
    assert ((before - after).abs().amax(1) > 0).float().mean() > 0.8
    z = torch.zeros(12, 3)
    logits = [model.net.decoder(x.long(), z) for x in (batch, changed)]
    for t in range(12):
        difference = (logits[0][t] - logits[1][t]).abs().amax(1)
        assert difference[: t + 1].max() < 1e-6
        assert t == 11 or difference[t + 1] > 1e-6


@torch.no_grad()
def test_logits_step_by_step_are_those_of_the_whole_pass(data):
    model, seen = build(data, spread=0.3, layers=2), []

    def watched(logits, generator):
        seen.append(logits)
        return draw(logits, generator)

    z = torch.randn(7, 3, generator=generator())
    tokens = model.net.decoder.sample(z, generator(1), watched)
    whole = model.net.decoder(tokens, z)
    torch.testing.assert_close(torch.stack(seen, 1), whole, rtol=0, atol=1e-5)
    assert (whole - model.net.decoder(tokens, -z)).abs().max() > 0.1


@torch.inference_mode()
def test_samples_are_rows_and_a_function_of_the_generator(data):
    model = build(data)
    samples = model.sample(50, generator(3))
    assert samples.shape == (50, *data.shape)
    assert samples.dtype == torch.uint8
    assert samples.unique().tolist() == [0, 1, 2, 3, 4]
    torch.rand(5)
    assert torch.equal(model.sample(50, generator(3)), samples)
    assert not torch.equal(model.sample(50, generator(4)), samples)
    likeliest = model.sample(50, generator(3), greedy)
    assert not torch.equal(likeliest, samples)


def constant_rows(n=64, length=12):
    """Rows of one token each: a row is known by what z has to say, and nothing else."""
    return (torch.arange(n) % 5)[:, None].expand(-1, length).byte()


def test_a_trained_model_reconstructs_and_walks_from_one_row_to_another():
    batch = constant_rows()
    model = build(width=16, latent=2, learning_rate=0.03, word_dropout=0.5)
    values = train(model, batch, 90)
    assert values[0]["distortion"] / 12 == pytest.approx(math.log(5), rel=0.1)
    assert values[-1]["loss"] < 0.35 * values[0]["loss"]
    assert isinstance(model, Reconstructs)
    assert (model.reconstruct(batch) == batch).float().mean() > 0.95
    a, b = batch[:4], batch[1:5]
    walk = model.interpolate(a, b, 6)
    assert walk.shape == (4, 6, 12)
    assert torch.equal(walk[:, 0], model.reconstruct(a))
    assert torch.equal(walk[:, 5], model.reconstruct(b))
    assert 1 <= model.active_units(batch) <= 2
    with torch.no_grad():
        assert model.bits_per_dim(batch, generator()).mean() < 0.6 * math.log2(5)


def test_interpolation_keeps_the_shape_of_music():
    model, batch = build(MUSIC, spread=0.3), rows(MUSIC, 4)
    assert model.interpolate(batch[:2], batch[2:], 3).shape == (2, 3, 6, 4)
    assert model.reconstruct(batch).shape == batch.shape


def test_collapse_shows_in_rate_and_active_units_and_free_bits_work_against_it():
    """Tokens that are independent and uniform: z has nothing to say that pays."""
    batch = rows(TEXT, 64)
    plain = build(free_bits=0.0, learning_rate=0.02, spread=0.6)
    assert plain.active_units(batch) > 0
    found = train(plain, batch, 70)
    assert found[0]["rate"] > 0.3
    assert found[-1]["rate"] < 0.1
    assert plain.active_units(batch) == 0
    free = build(free_bits=0.5, learning_rate=0.02, spread=0.6)
    kept = train(free, batch, 70)
    assert kept[-1]["rate"] > 0.8
    assert free.active_units(batch) == 3


def test_the_loss_counts_what_is_beyond_the_free_bits():
    batch = rows(TEXT, 16)
    for free_bits in (0.0, 0.12, 5.0):
        model = build(free_bits=free_bits, spread=0.3)
        each = divergences(*model.encode(batch)).mean(0)
        assert each.min() < 0.12 < each.max() < 5
        values = train(model, batch, 1)[0]
        counted = sum(max(free_bits, kl) for kl in each.tolist())
        assert values["loss"].item() == pytest.approx(values["distortion"].item() + counted)
        assert values["rate"].item() == pytest.approx(each.sum().item())
        assert set(values) == {"loss", "distortion", "rate", "gradient_norm"}


@torch.no_grad()
def test_active_units_are_those_whose_posterior_mean_varies():
    model, batch = build(latent=4), rows(TEXT, 200)
    output = model.net.encoder.output
    output.weight.zero_()
    output.weight[0, 0] = output.weight[2, 1] = 30.0
    means, _ = model.encode(batch)
    assert (means.var(0) > 0.01).tolist() == [True, False, True, False]
    assert model.active_units(batch) == 2
    assert model.active_units(batch, threshold=1e9) == 0
    with pytest.raises(ValueError, match="at least 2, got 1"):
        model.active_units(batch[:1])
    with pytest.raises(ValueError, match="at least 2 are needed, got 1"):
        model.interpolate(batch[:1], batch[:1], 1)


def test_word_dropout_hides_its_share_of_the_inputs_in_training_alone():
    seen = []
    model = build(info((500,)), word_dropout=0.3)
    model.net.decoder.lstm.lstm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    batch = rows(info((500,)), 20)
    train(model, batch, 1)
    decoder, z_part = model.net.decoder, model.net.decoder.from_latent
    # What is left of a hidden input is the part from z, the same all along a row.
    same = torch.zeros(20, 500, dtype=torch.bool)
    for i, row in enumerate(seen[0].detach()):
        _, index, counts = torch.unique(row, dim=0, return_inverse=True, return_counts=True)
        same[i] = index == counts.argmax()
    assert same.float().mean().item() == pytest.approx(0.3, abs=0.02)
    with torch.no_grad():
        model.bits_per_dim(batch, generator())
        mean, log_variance = model.encode(batch)
        z = model.reparameterised(mean, log_variance, generator())
        start = decoder.lstm.start(20, None, "cpu")
        tokens = torch.cat([start[:, None], batch[:, :-1].long()], 1)
        expected = decoder.lstm.embedding(tokens) + z_part(z)[:, None]
    torch.testing.assert_close(seen[1], expected)


def test_gradients_reach_every_parameter(data):
    model = build(data, layers=2, free_bits=0.0)
    train(model, rows(data, 16), 1)
    assert all(p.grad.abs().max() > 0 for p in model.parameters())
    optimiser = model.stages[0].optimisers["vae"]
    trained = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert trained == {id(p) for p in model.parameters()}


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # by switching oneDNN off
@pytest.mark.parametrize("layers", [1, 2])
def test_the_formulas_are_what_the_counter_counts(data, layers):
    """Of the LSTMs as separate products: of the CPU's fused kernel the counter sees nothing."""
    model = build(data, layers=layers)
    stage = model.stages[0]
    batch = stage.prepare(rows(data, 3), LABELS, generator())
    with torch.backends.mkldnn.flags(enabled=False):
        with FlopCounterMode(display=False) as counter:
            stage.step(batch, LABELS, generator())
        assert stage.step_flops(3) == counter.get_total_flops() > 0
        with FlopCounterMode(display=False) as counter:
            model.sample(3, generator())
        assert 3 * model.sample_flops() == counter.get_total_flops() > 0


@torch.no_grad()
def test_logits_that_are_not_finite_are_told_of():
    model = build()
    for p in model.parameters():
        p.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        model.sample(2, generator())


def test_an_odd_width_is_refused():
    with pytest.raises(ValidationError, match="width 7 is odd"):
        Params(width=7)
