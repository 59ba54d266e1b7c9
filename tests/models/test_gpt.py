"""The Transformer's likelihood as a distribution: it sums to one, it is causal, and sampling with
a cache draws from it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from genbench.models.gpt import GPT


def gpt(vocabulary=3, length=4, dropout=0.0, spread=1.0):
    torch.manual_seed(1)
    network = GPT(vocabulary=vocabulary, length=length, width=8, layers=2, heads=2, dropout=dropout)
    with torch.no_grad():  # far from uniform, so that mistakes show
        for p in network.parameters():
            p.add_(spread * torch.randn(p.shape) * 0.3)
    return network.eval()


@torch.no_grad()
def test_probabilities_of_all_sequences_sum_to_one():
    network = gpt()
    everything = torch.tensor(list(itertools.product(range(3), repeat=4)))
    log_p = -network.negative_log_likelihood(everything).double()
    assert len(log_p) == 81
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert log_p.max() > log_p.min() + 1


@torch.no_grad()
def test_the_likelihood_is_the_chain_rule_over_the_forward_pass():
    network = gpt()
    tokens = torch.randint(3, (6, 4), generator=torch.Generator().manual_seed(0))
    log_p = network(tokens).log_softmax(-1)
    expected = -sum(log_p[range(6), t, tokens[:, t]] for t in range(4))
    torch.testing.assert_close(network.negative_log_likelihood(tokens), expected)


@torch.no_grad()
def test_a_token_changes_no_logits_up_to_its_own():
    network = gpt(vocabulary=5, length=7)
    tokens = torch.randint(5, (1, 7), generator=torch.Generator().manual_seed(0))
    before = network(tokens)
    for t in range(7):
        other = tokens.clone()
        other[0, t] = (other[0, t] + 1) % 5
        after = network(other)
        torch.testing.assert_close(after[:, : t + 1], before[:, : t + 1])
        if t < 6:
            assert not torch.allclose(after[:, t + 1], before[:, t + 1])


@torch.no_grad()
def test_sampling_with_a_cache_draws_from_the_uncached_conditionals(monkeypatch):
    network, seen = gpt(vocabulary=5, length=7), []
    draw = torch.multinomial

    def watched(probabilities, n, *, generator):
        seen.append(probabilities)
        return draw(probabilities, n, generator=generator)

    monkeypatch.setattr(torch, "multinomial", watched)
    tokens = network.sample(9, torch.Generator().manual_seed(4))
    assert tokens.shape == (9, 7)
    assert tokens.dtype == torch.int64
    torch.testing.assert_close(torch.stack(seen, 1), network(tokens).softmax(-1))


@torch.no_grad()
def test_frequencies_of_samples_are_the_probabilities():
    network, n = gpt(), 20_000
    everything = torch.tensor(list(itertools.product(range(3), repeat=4)))
    p = (-network.negative_log_likelihood(everything)).exp()
    tokens = network.sample(n, torch.Generator().manual_seed(0))
    index = (tokens * torch.tensor([27, 9, 3, 1])).sum(1)
    frequency = torch.bincount(index, minlength=81) / n
    deviations = (frequency - p) / (p * (1 - p) / n).sqrt()
    assert deviations.abs().max() < 5
    assert deviations.square().mean() == pytest.approx(1, abs=0.5)


def test_the_start_token_is_never_drawn_and_never_predicted():
    network = gpt()
    assert network.transformer.wte.num_embeddings == 4
    assert network(torch.zeros(2, 4, dtype=torch.int64)).shape == (2, 4, 3)


@torch.no_grad()
def test_an_untrained_network_knows_next_to_nothing():
    torch.manual_seed(0)
    network = GPT(vocabulary=17, length=16, width=32, layers=2, heads=4, dropout=0.0).eval()
    tokens = torch.randint(17, (64, 16), generator=torch.Generator().manual_seed(0))
    nats = network.negative_log_likelihood(tokens).mean() / 16
    assert nats.item() == pytest.approx(math.log(17), rel=0.02)


def test_dropout_is_for_training_only():
    network = gpt(dropout=0.5)
    tokens = torch.zeros(2, 4, dtype=torch.int64)
    assert torch.equal(network(tokens), network(tokens))
    network.train()
    assert not torch.equal(network(tokens), network(tokens))


def test_the_optimiser_decays_no_weights():
    group = gpt().optimiser(0.01).param_groups[0]
    assert group["weight_decay"] == 0
    assert group["betas"] == (0.9, 0.95)
    assert group["lr"] == 0.01
