"""Self-BLEU: sacrebleu's own sentence scores, one by one, and what its interval promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genbench.metrics.self_bleu import leave_one_out, ngrams, self_bleu

BLEU = pytest.importorskip("sacrebleu.metrics").BLEU


def by_sentence(samples):
    """Each sample scored by sacrebleu against all others as its references."""
    bleu = BLEU(tokenize="none", effective_order=True)
    lines = [" ".join(sample) for sample in samples]
    return [
        bleu.sentence_score(line, [*lines[:i], *lines[i + 1 :]]).score / 100
        for i, line in enumerate(lines)
    ]


def drawn(rng, n, vocabulary, longest=12):
    return [
        [f"w{w}" for w in rng.integers(vocabulary, size=rng.integers(longest))] for _ in range(n)
    ]


@pytest.mark.parametrize("vocabulary", [2, 10, 100])
def test_it_is_the_mean_of_sacrebleus_sentence_scores(vocabulary):
    samples = drawn(np.random.default_rng(vocabulary), 40, vocabulary)
    assert any(not sample for sample in samples)  # of no words, which score 0
    found = self_bleu(samples, seed=0)
    assert found.value == pytest.approx(np.mean(by_sentence(samples)), abs=1e-12)
    assert found.low < found.value < found.high


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=7), min_size=2, max_size=6))
def test_statistics_are_those_of_each_sample_against_the_others(samples):
    found = list(leave_one_out([ngrams(words) for words in samples]))
    bleu = BLEU(tokenize="none", effective_order=True)
    for i, (correct, total, length, closest) in enumerate(found):
        others = [" ".join(words) for j, words in enumerate(samples) if j != i]
        score = bleu.sentence_score(" ".join(samples[i]), others)
        assert (correct, total) == (score.counts, score.totals)
        assert (length, closest) == (score.sys_len, score.ref_len)


def test_twins_score_1_and_strangers_0():
    words = [[f"w{i}-{j}" for j in range(6)] for i in range(20)]
    assert self_bleu(words, seed=0).value == 0
    assert self_bleu(words * 2, seed=0).value == pytest.approx(1)
    assert self_bleu([words[0]] * 30, seed=0) == pytest.approx((1, 1, 1, ""))


def test_the_interval_is_as_wide_as_redrawn_samples_spread():
    rng = np.random.default_rng(5)
    found = [self_bleu(drawn(rng, 30, 30), seed=0) for _ in range(20)]
    spread = np.std([f.value for f in found], ddof=1)
    claimed = np.mean([(f.high - f.low) / 2 / 1.96 for f in found])
    assert claimed == pytest.approx(spread, rel=0.5)


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="at least 20, got 19"):
        self_bleu([["a"]] * 19, seed=0)
