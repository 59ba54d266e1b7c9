"""Words of text, and how many of those that samples have are real ones.

A word is real where a vocabulary has it: that of the training split is one that every data set
brings, names, spelling and age of its language included, where a dictionary would call many of its
own words wrong. But a real word may be missing there, so fresh real text has less than 1, and who
copies has 1: values count beside those of real passages.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from genbench.metrics.measured import Measured, normal

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

LEAST = 2  # samples with words


def words(text: str) -> list[str]:
    """The words of a text in their order: runs of letters and digits, apostrophes within them
    included, in small letters."""
    return WORD.findall(text.lower())


def real_words(samples: Sequence[Sequence[str]], vocabulary: Collection[str]) -> Measured:
    """Share of the samples' words that the vocabulary has, each as often as it occurs, in [0, 1].

    The interval is the delta method's for a ratio of means over samples. Raises ValueError where
    fewer than two of the samples, which are sequences of words, have any.
    """
    t = _lengths(samples)
    k = np.array([sum(word in vocabulary for word in sample) for sample in samples])
    value = k.sum() / t.sum()
    influence = (k - t * value) / t.mean()
    return normal(float(value), float(influence.std(ddof=1)) / math.sqrt(len(t)))


def real_types(samples: Sequence[Sequence[str]], vocabulary: Collection[str]) -> Measured:
    """Share of the different words of all samples that the vocabulary has, in [0, 1].

    Non-words are mostly different ones and real words recur, so it falls as samples are added:
    compare at equal numbers. The interval is the jackknife's over samples. Raises ValueError as
    `real_words` does.
    """
    _lengths(samples)
    holders = Counter(word for sample in samples for word in set(sample))
    # What would be lost without sample i: of all types, and of real ones.
    alone = [{word for word in set(sample) if holders[word] == 1} for sample in samples]
    u = np.array([len(types) for types in alone])
    r = np.array([sum(word in vocabulary for word in types) for types in alone])
    V, R, N = len(holders), sum(word in vocabulary for word in holders), len(samples)
    without = (R - r) / (V - u)
    return normal(R / V, math.sqrt((N - 1) / N * ((without - without.mean()) ** 2).sum()))


def _lengths(samples: Sequence[Sequence[str]]) -> np.ndarray:
    """Numbers of words, (N,)."""
    t = np.array([len(sample) for sample in samples])
    if (t > 0).sum() < LEAST:
        raise ValueError(f"samples: fewer than {LEAST} of {len(samples)} hold words")
    return t
