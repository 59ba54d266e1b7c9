"""What the Transformer and the LSTM share, of both: the likelihood is a distribution, it is causal,
a class is told by its start token, and sampling step by step draws from it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from genbench.models.autoregressive import draw
from genbench.models.gpt import GPT
from genbench.models.lstm import LSTM
from genbench.training import has_bfloat16


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def build(kind, vocabulary=3, length=4, classes=0, width=8, spread=0.3):
    torch.manual_seed(1)
    sizes = {"vocabulary": vocabulary, "length": length, "width": width, "layers": 2}
    if kind == "gpt":
        network = GPT(**sizes, heads=2, dropout=0.0, classes=classes)
    else:
        network = LSTM(**sizes, classes=classes)
    with torch.no_grad():  # far from uniform, so that mistakes show
        for p in network.parameters():
            p.add_(spread * torch.randn(p.shape))
    return network.eval()


@pytest.fixture(params=["gpt", "lstm"])
def kind(request):
    return request.param


EVERYTHING = torch.tensor(list(itertools.product(range(3), repeat=4)))


@torch.no_grad()
def test_probabilities_of_all_sequences_sum_to_one(kind):
    network = build(kind)
    log_p = -network.negative_log_likelihood(EVERYTHING).double()
    assert log_p.shape == (81,)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert log_p.max() > log_p.min() + 1


@torch.no_grad()
def test_probabilities_sum_to_one_within_each_class_and_differ_between_them(kind):
    network = build(kind, classes=3)
    log_p = [-network.negative_log_likelihood(EVERYTHING, torch.full((81,), c)) for c in range(3)]
    for each in log_p:
        assert each.double().exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert (log_p[0] - log_p[1]).abs().max() > 0.1
    assert (log_p[1] - log_p[2]).abs().max() > 0.1


@torch.no_grad()
def test_the_likelihood_is_the_chain_rule_over_the_forward_pass(kind):
    network = build(kind)
    tokens = torch.randint(3, (6, 4), generator=generator())
    log_p = network(tokens).log_softmax(-1)
    expected = -sum(log_p[range(6), t, tokens[:, t]] for t in range(4))
    torch.testing.assert_close(network.negative_log_likelihood(tokens), expected)


@torch.no_grad()
def test_a_token_changes_no_logits_up_to_its_own(kind):
    network = build(kind, vocabulary=5, length=7)
    tokens = torch.randint(5, (1, 7), generator=generator())
    before = network(tokens)
    for t in range(7):
        other = tokens.clone()
        other[0, t] = (other[0, t] + 1) % 5
        after = network(other)
        torch.testing.assert_close(after[:, : t + 1], before[:, : t + 1])
        if t < 6:
            assert not torch.allclose(after[:, t + 1], before[:, t + 1])


@torch.no_grad()
@pytest.mark.parametrize("classes", [0, 4])
def test_logits_step_by_step_are_those_of_the_whole_pass(kind, classes):
    network, seen = build(kind, vocabulary=13, length=20, classes=classes, width=16), []
    labels = torch.arange(9) % classes if classes else None

    def watched(logits, generator):
        seen.append(logits)
        return draw(logits, generator)

    tokens = network.sample(9, generator(4), labels, choose=watched)
    assert tokens.shape == (9, 20)
    assert tokens.dtype == torch.int64
    whole = network(tokens, labels)
    torch.testing.assert_close(torch.stack(seen, 1), whole, rtol=0, atol=1e-4)
    assert whole.std() > 0.1


@torch.no_grad()
def test_frequencies_of_samples_are_the_probabilities(kind):
    network, n = build(kind), 20_000
    p = (-network.negative_log_likelihood(EVERYTHING)).exp()
    tokens = network.sample(n, generator())
    index = (tokens * torch.tensor([27, 9, 3, 1])).sum(1)
    frequency = torch.bincount(index, minlength=81) / n
    deviations = (frequency - p) / (p * (1 - p) / n).sqrt()
    assert deviations.abs().max() < 5
    assert deviations.square().mean() == pytest.approx(1, abs=0.5)


def test_start_tokens_are_never_predicted_and_each_class_has_its_own(kind):
    for classes, embeddings in [(0, 4), (1, 4), (10, 13)]:
        network = build(kind, classes=classes)
        assert network.embeddings == embeddings
        labels = torch.zeros(2, dtype=torch.int64) if classes else None
        assert network(torch.zeros(2, 4, dtype=torch.int64), labels).shape == (2, 4, 3)
    assert network.start(3, torch.tensor([0, 9, 4]), "cpu").tolist() == [3, 12, 7]


def test_a_class_where_there_is_none_is_refused_and_the_other_way_round(kind):
    tokens, labels = torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="a network of 0 classes"):
        build(kind).negative_log_likelihood(tokens, labels)
    with pytest.raises(ValueError, match="a network of 2 classes"):
        build(kind, classes=2).sample(2, generator())


@torch.no_grad()
def test_an_untrained_network_knows_next_to_nothing():
    torch.manual_seed(0)
    for network in (
        GPT(vocabulary=17, length=16, width=32, layers=2, heads=4, dropout=0.0),
        LSTM(vocabulary=17, length=16, width=32, layers=2),
    ):
        tokens = torch.randint(17, (64, 16), generator=generator())
        nats = network.negative_log_likelihood(tokens).mean() / 16
        assert nats.item() == pytest.approx(math.log(17), rel=0.02)


def test_the_optimiser_decays_no_weights_and_is_fused(kind):
    group = build(kind).optimiser(0.01).param_groups[0]
    assert group["weight_decay"] == 0
    assert group["betas"] == (0.9, 0.95)
    assert group["lr"] == 0.01
    assert group["fused"]


def learn(kind, dtype, steps=30):
    """The losses of a short training on sequences that repeat themselves, in nats a token."""
    network = build(kind, vocabulary=16, length=12, width=32, spread=0.0).train()
    optimiser = network.optimiser(0.01)
    losses = []
    for step in range(steps):
        half = torch.randint(16, (32, 2), generator=generator(step))
        tokens = half.repeat(1, 6)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = network.negative_log_likelihood(tokens).mean() / 12
        assert loss.dtype == torch.float32
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def test_learning_in_bfloat16_is_learning_in_float32_to_a_twentieth(kind):
    """bfloat16 has 8 bits of precision: curves agree within 5% of the loss at every step."""
    if kind == "lstm" and not has_bfloat16("cpu"):
        pytest.skip("this CPU has no bfloat16 instructions, without which torch has no such LSTM")
    exact, rounded = learn(kind, "float32"), learn(kind, "bfloat16")
    assert exact[-1] < 0.9 * exact[0]
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0)


def test_drawn_frequencies_follow_the_softmax():
    logits = torch.tensor([0.3, -1.0, 2.0, 0.0, -torch.inf, 1.0])
    p, n = logits.softmax(0), 50_000
    index = draw(logits.expand(n, -1), generator())
    frequency = torch.bincount(index, minlength=6) / n
    assert frequency[4] == 0
    deviations = (frequency - p)[p > 0] / (p * (1 - p) / n).sqrt()[p > 0]
    assert deviations.abs().max() < 4


def test_a_draw_stays_in_the_alphabet_at_both_ends_of_the_uniform_numbers(monkeypatch):
    logits = torch.randn(1000, 256, generator=generator())
    logits[:, [0, 255]] = -torch.inf  # without probability: not even at the ends
    for u in (0.0, 1 - 2**-24):
        monkeypatch.setattr(torch, "rand", lambda n, _, u=u, **kw: torch.full((n, 1), u))
        index = draw(logits, generator())
        assert index.min() >= 1
        assert index.max() <= 254


def test_logits_that_are_not_finite_are_told_of(kind):
    network = build(kind)
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        network.sample(2, generator())
