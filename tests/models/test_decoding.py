"""Which tokens remain after a cut, in what proportions, and what comes after a prompt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from token_rows import generator

from genbench.errors import UserError
from genbench.models.autoregressive import draw
from genbench.models.decoding import after, greedy, truncated
from genbench.models.lstm import LSTM


def cut(p, temperature, top_k, top_p):
    """The distribution that is drawn from, by sorting probabilities one after the other."""
    p = p ** (1 / temperature)
    order = np.argsort(-p)
    kept = order[: len(p) if top_k is None else top_k]
    mass = p[kept].sum()
    nucleus, total = [], 0.0
    for token in kept:
        nucleus.append(token)
        total += p[token] / mass
        if total >= top_p:
            break
    q = np.zeros_like(p)
    q[nucleus] = p[nucleus]
    return q / q.sum()


@pytest.mark.parametrize(
    "how",
    [{}, {"temperature": 0.5}, {"temperature": 2.0}, {"top_k": 3}, {"top_p": 0.6},
     {"temperature": 1.5, "top_k": 4, "top_p": 0.8}],
)  # fmt: skip
def test_frequencies_are_those_of_the_cut_distribution(how):
    p, n = np.array([0.05, 0.3, 0.02, 0.25, 0.18, 0.2]), 40_000
    expected = cut(p, *({"temperature": 1.0, "top_k": None, "top_p": 1.0} | how).values())
    logits = torch.from_numpy(np.log(p)).float().expand(n, -1)
    found = torch.bincount(truncated(**how)(logits, generator()), minlength=6).numpy() / n
    assert (found[expected == 0] == 0).all()
    q = expected[expected > 0]
    assert (np.abs(found[expected > 0] - q) < 4.5 * np.sqrt(q * (1 - q) / n)).all()


@settings(max_examples=60, deadline=None)
@given(
    # Apart from each other: of tokens that are as likely, either may be the last one kept.
    st.lists(st.integers(-50, 50), min_size=1, max_size=9, unique=True),
    st.floats(0.2, 5),
    st.integers(1, 12),
    st.floats(0.05, 1),
)
def test_a_token_is_never_one_that_was_cut(values, temperature, top_k, top_p):
    logits = torch.tensor(values) / 10
    p = logits.double().softmax(0).numpy()
    # A hair more mass: where the sums are equal to rounding, either set will do.
    allowed = cut(p, temperature, top_k, min(1.0, top_p + 1e-5)) > 0
    choose = truncated(temperature=temperature, top_k=top_k, top_p=top_p)
    tokens = choose(logits.expand(200, -1), generator())
    assert set(tokens.tolist()) <= set(np.flatnonzero(allowed))


def test_the_defaults_are_ancestral_sampling():
    logits = torch.randn(50, 7, generator=generator(1))
    assert torch.equal(truncated()(logits, generator()), draw(logits, generator()))


def test_a_nucleus_of_nothing_and_one_token_are_the_likeliest_one():
    logits = torch.randn(50, 7, generator=generator(1))
    best = greedy(logits, generator())
    assert torch.equal(best, logits.argmax(1))
    for how in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}):
        assert torch.equal(truncated(**how)(logits, generator()), best)


@pytest.mark.parametrize(
    "how", [{"temperature": 0.0}, {"temperature": float("nan")}, {"temperature": -1},
            {"top_k": 0}, {"top_p": 0}, {"top_p": 1.1}, {"top_p": float("nan")}],
)  # fmt: skip
def test_settings_that_leave_no_distribution_are_refused(how):
    with pytest.raises(UserError, match="sampling: need temperature > 0"):
        truncated(**how)


def test_a_sequence_goes_on_after_its_prompt_as_the_network_says():
    torch.manual_seed(0)
    network = LSTM(vocabulary=5, length=9, width=8, layers=1).eval()
    prompt = torch.randint(5, (4, 6), generator=generator())
    tokens = network.sample(4, generator(), choose=after(prompt, greedy))
    assert torch.equal(tokens[:, :6], prompt)
    for t in (6, 7, 8):  # the state has seen the prompt
        assert torch.equal(tokens[:, t], network(tokens)[:, t].argmax(1))
