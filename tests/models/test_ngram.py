"""The n-gram model: a distribution, as its formulas say, in text and in music."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from token_rows import BOTH, MUSIC, TEXT, generator, info, rows

from genbench.errors import UserError
from genbench.models.interface import HasLikelihood
from genbench.models.ngram import NGram, Params, discounts, shared

START = "start"


def fit(data, batch, seed=0, **params):
    model = NGram(Params(**params), data)
    model.stages[0].prepare(batch, torch.zeros(len(batch)).long(), generator(seed))
    return model


def skewed(data, n, seed=0):
    """Rows with frequent and rare tokens, each of which leans on the two before."""
    rng = np.random.default_rng(seed)
    tokens = np.minimum(rng.geometric(0.4, (n, math.prod(data.shape))) - 1, data.levels - 1)
    for t in range(2, tokens.shape[1]):
        again = rng.random(n) < 0.5
        tokens[again, t] = (tokens[again, t - 1] + tokens[again, t - 2]) % data.levels
    return torch.from_numpy(tokens).byte().view(n, *data.shape)


def by_definition(training, test, levels, voices, order):
    """p(x_t | x_<t) of the test rows, with dictionaries of tuples, one n-gram after the other, and
    the discounts for each length of context."""
    repeats = [0]
    for before, row in itertools.pairwise(training):
        lengths = range(0, len(row), voices)
        repeats.append(max(k for k in lengths if row[:k] == before[len(row) - k :]))

    def context_of(row, t):
        return (START, *row[:t])[t + 1 - min(order - 1, t + 1) :]

    # Voice, context, token -> adjusted count; by length of context.
    counted = [Counter() for _ in range(order)]
    for row, repeated in zip(training, repeats, strict=True):
        for t, w in enumerate(row):
            c = context_of(row, t)
            if t >= repeated or c[:1] == (START,):
                counted[len(c)][t % voices, c, w] += 1
    for k in reversed(range(order - 1)):
        before = defaultdict(set)
        for v, c, w in counted[k + 1]:
            before[v, c[1:], w].add(c[0])
        counted[k].update({ngram: len(tokens) for ngram, tokens in before.items()})

    D, contexts = [], [defaultdict(dict) for _ in range(order)]
    for k in range(order):
        n = Counter(counted[k].values())
        found = (0.5, 1.0, 1.5)
        if all(n[i] for i in (1, 2, 3, 4)):
            Y = n[1] / (n[1] + 2 * n[2])
            found = (1 - 2 * Y * n[2] / n[1], 2 - 3 * Y * n[3] / n[2], 3 - 4 * Y * n[4] / n[3])
        D.append(found if min(found) > 0 else (0.5, 1.0, 1.5))
        for (v, c, w), a in counted[k].items():
            contexts[k][v, c][w] = a

    def p(w, v, c):
        lower = p(w, v, c[1:]) if c else 1 / levels
        seen = contexts[len(c)].get((v, c))
        if not seen:
            return lower
        taken = {u: D[len(c)][min(a, 3) - 1] for u, a in seen.items()}
        left = sum(taken.values()) * lower
        return ((seen[w] - taken[w] if w in seen else 0) + left) / sum(seen.values())

    return [[p(w, t % voices, context_of(row, t)) for t, w in enumerate(row)] for row in test], D


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "data", [info((12,), 5, train=300), info((6, 4), 5, train=300)], ids=["text", "music"]
)
def test_probabilities_are_those_of_the_definition(data, order):
    training, test = skewed(data, 300), torch.cat([skewed(data, 10, seed=1), rows(data, 10)])
    model = fit(data, training, order=order)
    as_lists = [batch.flatten(1).tolist() for batch in (training, test)]
    voices = math.prod(data.shape[1:])
    expected, D = by_definition(*as_lists, data.levels, voices, order)
    found = model.probabilities(test)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    bits = model.bits_per_dim(test, generator())
    assert isinstance(model, HasLikelihood)
    assert model.likelihood == "bpd"
    np.testing.assert_allclose(bits.numpy(), -np.log2(expected).mean(1), rtol=1e-5)
    assert order < 3 or any(found != (0.5, 1.0, 1.5) for found in D)


@pytest.mark.parametrize("step", [3, 4, 8])
def test_overlapping_rows_are_counted_as_the_definition_says(step):
    data = info((12,), 5, train=200)
    sequence = skewed(info((12 + 4 * 199 * 2,), 5), 1)[0]
    training = sequence.unfold(0, 12, step)[:200].contiguous()
    model = fit(data, training, order=4)
    test = skewed(data, 20, seed=1)
    expected, _ = by_definition(training.tolist(), test.tolist(), 5, 1, 4)
    np.testing.assert_allclose(model.probabilities(test).numpy(), expected, rtol=1e-9)


def test_a_row_shares_what_ends_the_row_before():
    sequence = torch.arange(20)
    assert shared(sequence.unfold(0, 8, 3), 1).tolist() == [0, 5, 5, 5, 5]
    assert shared(sequence.unfold(0, 8, 8), 1).tolist() == [0, 0]
    music = sequence.unfold(0, 8, 4)
    assert shared(music, 4).tolist() == [0, 4, 4, 4]
    assert shared(sequence.unfold(0, 8, 3), 4).tolist() == [0, 0, 0, 0, 0]  # not a whole step
    same = torch.ones(3, 6, dtype=torch.int64)
    assert shared(same, 1).tolist() == [0, 5, 5]
    assert shared(torch.ones(1, 6), 1).tolist() == [0]


def test_rows_that_overlap_tell_as_much_as_those_that_do_not():
    """Four times the rows, of the same tokens: without a word on overlap, discounts are too small
    and bits of held-out rows are many more."""
    data, sequence = info((32,), 6, train=4000), skewed(info((32 * 1000,), 6), 1, seed=3)[0]
    apart, overlapping = sequence.view(-1, 32), sequence.unfold(0, 32, 8)
    held_out = skewed(data, 200, seed=4)
    order = torch.randperm(len(overlapping), generator=generator())
    bits = [
        fit(data, batch, order=6).bits_per_dim(held_out, generator()).mean().item()
        for batch in (apart, overlapping, overlapping[order])
    ]
    assert bits[1] == pytest.approx(bits[0], rel=0.01)
    assert bits[2] > 1.03 * bits[0]


def test_a_known_answer():
    """Three 0 and one 1 out of three tokens: discounts 1.5 and 0.5 leave a half to the uniform."""
    model = fit(info((4,), 3), torch.tensor([[0, 0, 1, 0]]).byte(), order=1)
    p = model.probabilities(torch.tensor([[0, 1, 2, 0]]).byte())[0].tolist()
    assert p[:3] == pytest.approx([1.5 / 4 + 1 / 6, 0.5 / 4 + 1 / 6, 1 / 6])


def test_discounts_of_counts_of_counts():
    counts = torch.tensor([1] * 10 + [2] * 6 + [3] * 3 + [4] * 2 + [9] * 5)
    Y = 10 / (10 + 12)
    expected = (1 - 2 * Y * 6 / 10, 2 - 3 * Y * 3 / 6, 3 - 4 * Y * 2 / 3)
    assert discounts(counts) == pytest.approx(expected)
    assert discounts(torch.tensor([1, 1, 2, 4])) == (0.5, 1, 1.5)  # none is there three times
    assert discounts(torch.tensor([1, 2, 3, *[4] * 20])) == (0.5, 1, 1.5)  # D_3+ would be negative


@pytest.mark.parametrize("order", [1, 2, 4, 7])
@pytest.mark.parametrize("data", BOTH.values(), ids=BOTH)
def test_every_conditional_sums_to_one_after_seen_and_unseen_tokens(data, order):
    model = fit(data, skewed(data, 40), order=order)
    for before in (skewed(data, 6), rows(data, 6, seed=9)):
        flat = before.flatten(1)
        for t in range(flat.shape[1]):
            each = flat.repeat_interleave(5, 0)
            each[:, t] = torch.arange(5).byte().repeat(6)
            p = model.probabilities(each.view(-1, *data.shape))[:, t].view(6, 5)
            assert p.min() > 0
            torch.testing.assert_close(p.sum(1), torch.ones(6).double(), rtol=0, atol=1e-12)


@pytest.fixture
def tiny():
    """All 81 rows of 4 tokens out of 3, and a model of a few of them."""
    data = info((2, 2), 3)
    every = torch.tensor(list(itertools.product(range(3), repeat=4))).byte().view(81, 2, 2)
    return fit(data, skewed(data, 40), order=3), every


def test_probabilities_of_all_rows_sum_to_one(tiny):
    model, every = tiny
    p = 2 ** (-4 * model.bits_per_dim(every, generator()).double())
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    assert p.max() > 10 * p.min()


def test_frequencies_of_samples_are_the_probabilities(tiny):
    model, every = tiny
    n, p = 40_000, model.probabilities(every).prod(1)
    index = (model.sample(n, generator()).flatten(1) * torch.tensor([27, 9, 3, 1])).sum(1)
    frequency = torch.bincount(index, minlength=81) / n
    deviations = (frequency - p) / (p * (1 - p) / n).sqrt()
    assert deviations.abs().max() < 5
    assert deviations.square().mean().item() == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize("data", BOTH.values(), ids=BOTH)
@pytest.mark.parametrize("order", [1, 3, 9])
def test_samples_are_rows_and_a_function_of_the_generator(data, order):
    model = fit(data, skewed(data, 40), order=order)
    samples = model.sample(100, generator(3))
    assert samples.shape == (100, *data.shape)
    assert samples.dtype == torch.uint8
    assert samples.unique().tolist() == [0, 1, 2, 3, 4]
    torch.rand(5)
    assert torch.equal(model.sample(100, generator(3)), samples)
    assert not torch.equal(model.sample(100, generator(4)), samples)


def test_bits_come_near_the_entropy_of_a_markov_chain():
    """x_t is x_{t-2} + 1 with probability 0.8, else any of 6: 0.8 + 0.2 / 6 and 5 of 0.2 / 6."""
    data, rng = info((30,), 6, train=2000), np.random.default_rng(0)
    tokens = rng.integers(6, size=(2500, 30))
    for t in range(2, 30):
        follows = rng.random(2500) < 0.8
        tokens[follows, t] = (tokens[follows, t - 2] + 1) % 6
    batch = torch.from_numpy(tokens).byte()
    p = np.array([0.8 + 0.2 / 6, *[0.2 / 6] * 5])
    entropy = (28 * -(p * np.log2(p)).sum() + 2 * np.log2(6)) / 30
    bits = [
        fit(data, batch[:2000], order=order).bits_per_dim(batch[2000:], generator()).mean().item()
        for order in (2, 3, 4)
    ]
    assert bits[0] > 1.5 * entropy
    assert bits[1] == pytest.approx(entropy, rel=0.015)
    assert bits[1] < bits[2] < 1.05 * entropy


def test_each_voice_has_notes_of_its_own():
    """Four voices on notes of their own, at random: without its voice no note could be told."""
    data = info((6, 4), 8)
    own = torch.randint(2, (40, 6, 4), generator=generator()) + torch.arange(0, 8, 2)
    model = fit(data, own.byte(), order=1)
    assert model.bits_per_dim(own.byte(), generator()).mean().item() == pytest.approx(1, abs=0.1)
    samples = model.sample(200, generator())
    assert (samples // 2 == torch.arange(4)).float().mean() > 0.95


def test_rows_shorter_than_the_order_are_known_from_their_start():
    data = info((3,), 4)
    model = fit(data, torch.tensor([[1, 2, 3]] * 40).byte(), order=9)
    samples = model.sample(200, generator())
    assert (samples == torch.tensor([1, 2, 3])).all(1).float().mean() > 0.8


def test_all_rows_are_learned_from_unless_fewer_are_to_be_kept():
    batch = skewed(TEXT, 40)
    one, two = (fit(TEXT, batch, seed=seed).rows for seed in (0, 1))
    assert torch.equal(one, batch)
    assert torch.equal(two, batch)
    few, other = (fit(TEXT, batch, seed=seed, kept=9).rows for seed in (0, 1))
    assert few.shape == (9, 12)
    assert not torch.equal(few, other)


def test_the_state_carries_all_and_a_second_fit_leaves_nothing_of_the_first():
    many, few, test = skewed(TEXT, 40), skewed(TEXT, 15, seed=1), rows(TEXT, 9)
    model = fit(TEXT, many)
    first = model.bits_per_dim(test, generator())
    other = NGram(Params(), TEXT)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.bits_per_dim(test, generator()), first)
    assert torch.equal(other.sample(20, generator()), model.sample(20, generator()))
    model.stages[0].prepare(few, torch.zeros(15).long(), generator())
    second = model.bits_per_dim(test, generator())
    assert not torch.equal(second, first)
    assert torch.equal(fit(TEXT, few).bits_per_dim(test, generator()), second)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.bits_per_dim(test, generator()), second)


def test_it_has_no_step_and_costs_no_flops():
    model = fit(MUSIC, rows(MUSIC, 10))
    assert list(model.parameters()) == []
    assert model.stages[0].step_flops(64) == model.sample_flops() == 0
    with pytest.raises(TypeError, match="no training step"):
        model.stages[0].step(torch.zeros(1), torch.zeros(1), generator())


def test_an_order_beyond_63_bits_is_refused_and_the_longest_one_works():
    data = info((30,), 90)
    assert fit(data, rows(data, 20), order=9).sample(3, generator()).shape == (3, 30)
    with pytest.raises(
        UserError, match=r"ngram: order 10 is too long for tokens.*may be 9 at most"
    ):
        NGram(Params(order=10), data)


def test_bad_rows_and_a_model_without_any_are_refused():
    model = NGram(Params(), TEXT)
    with pytest.raises(ValueError, match="must be fitted"):
        model.sample(3, generator())
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        fit(TEXT, rows(TEXT, 0))
    bad = torch.full((2, 12), 5).byte()
    with pytest.raises(ValueError, match=r"rows: tokens must be within 0\.\.4"):
        fit(TEXT, bad)
    with pytest.raises(ValueError, match=r"rows: tokens must be within 0\.\.4"):
        fit(TEXT, rows(TEXT, 5)).bits_per_dim(bad, generator())
