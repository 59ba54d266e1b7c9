"""Statistics of n-grams: known answers."""

from __future__ import annotations

import pytest

from genbench.metrics.text_ngrams import character_js, distinct


def test_distinct_n_counts_types_over_tokens():
    assert distinct(["a b a", "A b"], 1).value == pytest.approx(2 / 5)
    assert distinct(["a b a", "a b"], 2).value == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="hold 3 words"):
        distinct(["a b", "c d"], 3)


def test_the_distance_of_characters_is_0_for_the_same_text_and_1_for_another_alphabet():
    assert character_js(["abcdabcd"], "abcdabcd").value == pytest.approx(0, abs=1e-7)
    assert character_js(["aaaaaa", "aaaaa"], "bbbbbbb").value == pytest.approx(1)
