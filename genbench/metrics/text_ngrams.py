"""What n-grams of texts say: those of words, how varied samples are; those of characters, how far
the samples are from a text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from genbench.metrics.measured import Measured, normal
from genbench.metrics.words import words


def distinct(samples: Sequence[str], n: int) -> Measured:
    """Distinct-n: different n-grams of words over all of them, in (0, 1].

    Li et al. 2016, "A diversity-promoting objective function for neural conversation models",
    section 5.2. Words are those of `metrics.words`; no n-gram spans two samples. It falls as
    samples are added or grow longer: compare at equal numbers and lengths. The interval is the
    jackknife's over samples, whose variance errs upwards (Efron and Stein 1981). Raises ValueError
    where fewer than two samples hold n words.
    """
    grams = []
    for sample in samples:
        spoken = words(sample)
        grams.append(list(zip(*(spoken[i:] for i in range(n)), strict=False)))
    t = np.array([len(g) for g in grams])
    if (t > 0).sum() < 2:
        raise ValueError(f"samples: fewer than 2 of {len(samples)} hold {n} words")
    holders = Counter(gram for g in grams for gram in set(g))
    # u_i: types that would be lost without sample i
    u = np.array([sum(holders[gram] == 1 for gram in set(g)) for g in grams])
    V, T, N = len(holders), t.sum(), len(samples)
    without = (V - u) / (T - t)
    return normal(float(V / T), math.sqrt((N - 1) / N * ((without - without.mean()) ** 2).sum()))


def character_js(samples: Sequence[str], text: str, n: int = 4) -> Measured:
    """Jensen-Shannon distance, in [0, 1], of the n-grams of characters p of the samples from those
    q of `text`: the square root of, in bits and with m = (p + q) / 2,

        JSD = 1/2 sum p log(p / m) + 1/2 sum q log(q / m)

    Lin 1991, "Divergence measures based on the Shannon entropy", eq. 4.1; its root is a metric:
    Endres and Schindelin 2003. Of finite samples it errs upwards, so compare at equal numbers.

    The interval is the delta method's: a change dp changes JSD by 1/2 sum dp log(p / m), so a
    sample with t_i n-grams, of which the term 1/2 log(p / m) sums to s_i, has the influence
    (s_i - t_i sum s / sum t) / mean(t). At distance 0 there is none: NaN ends. Raises ValueError
    where no sample, or not the text, has n characters.
    """
    counts = [Counter(s[i : i + n] for i in range(len(s) - n + 1)) for s in samples]
    P, Q = Counter[str](), Counter(text[i : i + n] for i in range(len(text) - n + 1))
    for c in counts:
        P.update(c)
    if not P or not Q:
        raise ValueError(f"{'text' if P else 'samples'}: fewer than {n} characters in each")
    total_p, total_q = P.total(), Q.total()
    p = np.array([P[gram] for gram in P]) / total_p
    q = np.array([Q[gram] for gram in P]) / total_q
    term = dict(zip(P, np.log2(2 * p / (p + q)) / 2, strict=True))
    # For n-grams that the samples lack m = q / 2, so that log(q / m) = 1.
    shared = q > 0
    of_q = (q[shared] * np.log2(2 * q[shared] / (p + q)[shared])).sum() + 1 - q.sum()
    s = np.array([sum(k * term[gram] for gram, k in c.items()) for c in counts])
    t = np.array([c.total() for c in counts])
    jsd = max(float(s.sum() / total_p + of_q / 2), 0.0)
    if jsd == 0:
        return Measured(0.0, math.nan, math.nan, "no interval at distance 0")
    influence = (s - t * s.sum() / t.sum()) / t.mean()
    error = float(influence.std(ddof=1)) / math.sqrt(len(samples))
    return normal(math.sqrt(jsd), error / (2 * math.sqrt(jsd)))
