"""Self-BLEU: how much samples repeat one another's words.

Zhu et al. 2018, "Texygen: a benchmarking platform for text generation models": the BLEU (Papineni
et al. 2002) of each sample with all others as its references, mean over samples. 1 where each
sample has a twin, 0 where no two share a word. BLEU's arithmetic is sacrebleu's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from genbench.metrics.measured import Measured, normal

ORDER = 4  # the longest n-grams of words
GROUPS = 20  # of the jackknife

Statistics = tuple[list[int], list[int], int, int]
"""What BLEU is computed from: of each order the n-grams that references have and all of them, then
the lengths of the sample and of the reference closest to it."""


def self_bleu(samples: Sequence[Sequence[str]], *, seed: int) -> Measured:
    """Self-BLEU of N >= 20 samples, each a sequence of words, in [0, 1].

    As sacrebleu has it for sentences: orders up to 4, or to what the sample is long enough for;
    where no n-gram of an order is shared, half, a quarter, ... of one is counted instead ("exp"); a
    sample of no words scores 0. It rises with the number of samples and their lengths, so compare
    at equal ones. The interval is that of a jackknife which leaves out each of 20 groups, drawn by
    `seed`, in turn. Raises ValueError for fewer samples, ModuleNotFoundError without sacrebleu.
    """
    if len(samples) < GROUPS:
        raise ValueError(f"samples: needs at least {GROUPS}, got {len(samples)}")
    grams = [ngrams(words) for words in samples]
    groups = np.array_split(np.random.default_rng(seed).permutation(len(samples)), GROUPS)
    without = []
    for group in groups:
        kept = np.delete(np.arange(len(samples)), group)
        without.append(_mean_bleu([grams[i] for i in kept]))
    spread = ((np.array(without) - np.mean(without)) ** 2).sum()
    return normal(_mean_bleu(grams), math.sqrt((GROUPS - 1) / GROUPS * spread))


def ngrams(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    """How often each n-gram of 1 to 4 words occurs."""
    orders = range(1, ORDER + 1)
    return Counter(tuple(words[i : i + n]) for n in orders for i in range(len(words) - n + 1))


def _mean_bleu(grams: Sequence[Counter[tuple[str, ...]]]) -> float:
    from sacrebleu.metrics import BLEU

    each = [
        BLEU.compute_bleu(*of, smooth_method="exp", effective_order=True, max_ngram_order=ORDER)
        for of in leave_one_out(grams)
    ]
    return float(np.mean([bleu.score for bleu in each])) / 100


def leave_one_out(grams: Sequence[Counter[tuple[str, ...]]]) -> Iterable[Statistics]:
    """BLEU's statistics of each of N >= 2 samples, given its n-grams, against all others.

    A sample's n-gram counts up to as often as the one reference that has it most often has it. That
    is the highest count of all samples, or the second highest for the sample that has the highest:
    two numbers for each n-gram serve all samples, where each on its own would look through N - 1.
    """
    highest: dict[tuple[str, ...], tuple[int, int]] = {}
    for gram_counts in grams:
        for gram, count in gram_counts.items():
            first, second = highest.get(gram, (0, 0))
            if count > second:
                highest[gram] = (max(count, first), min(count, first))
    lengths = [sum(count for gram, count in c.items() if len(gram) == 1) for c in grams]
    of_length = Counter(lengths)
    for gram_counts, length in zip(grams, lengths, strict=True):
        correct, total = [0] * ORDER, [0] * ORDER
        for gram, count in gram_counts.items():
            first, second = highest[gram]
            total[len(gram) - 1] += count
            correct[len(gram) - 1] += min(count, second if count == first else first)
        others = (other for other, n in of_length.items() if n > (other == length))
        closest = min(others, key=lambda other: (abs(other - length), other))
        yield correct, total, length, closest
