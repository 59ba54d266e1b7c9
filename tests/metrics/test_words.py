"""Real words: counts by hand, and intervals that hold their share of redraws."""

import numpy as np
import pytest

from genbench.metrics.words import real_types, real_words, words

VOCABULARY = frozenset({"to", "be", "or", "not", "o'er"})


def test_words_are_runs_of_letters_and_digits_with_apostrophes_within():
    assert words("To be--'O'er', x_y 2nd café’s!") == [
        "to", "be", "o'er", "x", "y", "2nd", "café’s",
    ]  # fmt: skip
    assert words(" ... ") == []


def test_shares_are_of_tokens_and_of_types():
    samples = [["to", "be", "or"], ["to", "bee"], ["bee", "bee", "xyz"]]
    assert real_words(samples, VOCABULARY).value == pytest.approx(4 / 8)
    assert real_types(samples, VOCABULARY).value == pytest.approx(3 / 5)


def test_all_real_is_1_and_none_is_0_without_a_width():
    for measure in (real_words, real_types):
        assert measure([["to", "be"], ["or"], []], VOCABULARY) == (1, 1, 1, "")
        assert measure([["x", "y"], ["z"]], VOCABULARY)[:3] == (0, 0, 0)


@pytest.mark.parametrize("measure", [real_words, real_types])
def test_fewer_than_two_samples_with_words_are_refused(measure):
    with pytest.raises(ValueError, match="fewer than 2 of 3 hold words"):
        measure([["to"], [], []], VOCABULARY)


@pytest.mark.parametrize("measure", [real_words, real_types])
def test_the_interval_is_as_wide_as_redrawn_samples_spread(measure):
    """Samples of unequal lengths and errors, from Zipf's law over words of which half are real."""
    rng = np.random.default_rng(6)
    real = frozenset(range(0, 400, 2))
    p = 1 / np.arange(1, 401)
    p /= p.sum()

    def redraw():
        ends = rng.integers(1, 30, size=80).cumsum()
        drawn = rng.choice(400, ends[-1], p=p)
        return measure([sample.tolist() for sample in np.split(drawn, ends[:-1])], real)

    found = [redraw() for _ in range(100)]
    spread = np.std([f.value for f in found], ddof=1)
    claimed = np.mean([(f.high - f.low) / 2 / 1.96 for f in found])
    # The jackknife errs upwards for types.
    assert 0.85 * spread < claimed < 1.6 * spread
