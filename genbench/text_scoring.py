"""Score a text, whoever wrote it, against a data set of text: distances and supports of sentence
features, memorisation, and what only text has.

The samples of a text are its blocks or lines, of at most 256 characters. Real passages are taken
in the samples' own number and lengths, one for one, so that length alone makes no distance.
Metrics of characters and words take any run of spaces and line ends as one space, so that wrapping
makes none either.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from genbench.data.characters import CharacterData
from genbench.data.sources import Unavailable
from genbench.data.text import N_CHARACTERS, TextData, passage_starts, passages
from genbench.data.text_files import read_utf8
from genbench.errors import UserError
from genbench.features import minilm, smollm2
from genbench.features.language_model import bits_per_byte, load
from genbench.features.spaces import MINILM
from genbench.metrics.frechet import fd, fd_infinity, gaussian
from genbench.metrics.kernel import kernel_distance, median_bandwidth, mmd_rbf
from genbench.metrics.mauve import mauve
from genbench.metrics.measured import Measured, mean, normal
from genbench.metrics.memorisation import authenticity, ct_test, distance_ratio, regions
from genbench.metrics.neighbours import nearest, nearest_other
from genbench.metrics.prdc import manifold, prdc
from genbench.metrics.self_bleu import self_bleu
from genbench.metrics.vendi import vendi_score
from genbench.metrics.words import real_types, real_words, words
from genbench.scoring import SEED, SUPPORTS, Judge, Score, attempt
from genbench.sequence_scoring import QUICK_METRICS, distinct_rows, model_scores, outcome
from genbench.suite import EvaluationSpec

__all__ = ["QUICK_METRICS", "model_scores", "outcome", "own_scores", "score_text"]

N_SAMPLES = 1_500
"""Samples that are scored: as many passages of 256 characters as every test split holds."""

MAX_BYTES = 64 << 20
LEAST = 2  # no metric is defined for fewer samples

# Training passages for the distances of memorisation: an encoder takes about 30 ms a passage on one
# core. `longest_copies` looks through all of the training text.
TRAIN_PASSAGES = 5_000

# Samples that the language model reads: it takes half a second for each on one core.
LANGUAGE_MODEL_SAMPLES = 200

T = TypeVar("T")

# Beyond Unicode, so in no text: they end the text and each sample where both stand in one array.
END_OF_TEXT, END_OF_SAMPLE = 0x110000, 0x110001


# --- reading --------------------------------------------------------------------------------------


def own_scores(
    judge: Judge, rows: np.ndarray, split: str, *, thorough: bool = True
) -> Iterator[Score]:
    """Metrics of words and characters, of rows (N, L) of characters. thorough: whether to measure
    what takes minutes too."""
    data = cast(CharacterData, judge.data)
    samples = [data.alphabet.decode(row) for row in rows]
    x, real = judge.features(rows).features, judge.reference(split).features
    yield attempt("mauve", judge.extractor(judge.own).name, lambda: mauve(x, real, seed=SEED))
    yield from _text_scores(samples, data.text)
    yield from _slow_scores(samples, judge.device, smollm2.NAME, thorough=thorough)
    yield Score("distinct_rows", "", distinct_rows(rows))


def load_text_samples(path: Path, n: int = N_SAMPLES) -> tuple[list[str], list[str]]:
    """The first `n` samples of a UTF-8 file, and one line for each thing done to them.

    Samples are the blocks between blank lines or, where the text has no blank line, its lines;
    spaces around them are dropped and they are cut to 256 characters, the length of passages. Line
    ends may be those of any system. Raises UserError, in one line, for what is not a file, is
    larger than 64 MiB, is not UTF-8, holds a NUL, is blank, or has fewer than 2 samples.
    """
    text, notes = _read(path)
    by_block = re.split(r"\n(?:[^\S\n]*\n)+", text)
    blocks = by_block if len(by_block) > 1 else text.split("\n")
    if len(blocks) < LEAST:
        raise UserError(f"{path}: holds one sample; at least {LEAST} lines or blocks are needed")
    what = "blocks between blank lines" if len(by_block) > 1 else "lines, as none is blank"
    notes.append(f"samples are its {len(blocks)} {what}")
    if len(blocks) > n:
        notes.append(f"the first {n} of {len(blocks)} samples are scored")
    whole = [block.strip() for block in blocks[:n]]
    samples = [block[:N_CHARACTERS] for block in whole]
    if cut := sum(len(block) > N_CHARACTERS for block in whole):
        notes.append(f"{cut} of {len(samples)} samples were cut to {N_CHARACTERS} characters")
    if len(samples) < n:
        notes.append(
            f"{len(samples)} samples, and the protocol has {n}: metrics depend on that number, so "
            "compare with rows of equal n_samples alone"
        )
    if repeated := len(samples) - len(set(samples)):
        notes.append(f"{repeated} of {len(samples)} samples repeat an earlier one exactly")
    return samples, notes


def _read(path: Path) -> tuple[str, list[str]]:
    """The file's text without blanks around it, and whether a byte order mark was dropped."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; a data set of text takes one file of UTF-8 text")
    text, marked = read_utf8(path, MAX_BYTES)
    return text.strip(), ["a byte order mark was dropped"] if marked else []


# --- scoring --------------------------------------------------------------------------------------


def score_text(
    samples: Sequence[str],
    data: TextData,
    *,
    spec: EvaluationSpec | None = None,
    device: str = "cpu",
    thorough: bool = False,
    language_model: str = smollm2.NAME,
) -> list[Score]:
    """Every metric of text of N >= 2 samples, none of them blank, against the test split of `data`
    and, for memorisation, its training split.

    thorough: whether to measure what takes minutes too, Self-BLEU and the bits per byte of
    `language_model`, a name for `features.language_model.load`. Where a metric is not defined for
    so few samples or such ones, its score is the reason. Raises ValueError for fewer than 2
    samples, for blank ones, and for more or longer ones than the test split has passages for.
    """
    spec = spec or EvaluationSpec()
    if len(samples) < LEAST:
        raise ValueError(f"samples: needs at least {LEAST}, got {len(samples)}")
    if blank := sum(not sample.strip() for sample in samples):
        raise ValueError(f"samples: {blank} of {len(samples)} are blank")
    longest = max(map(len, samples))
    if (held := len(passage_starts(data.test, longest))) < len(samples):
        raise ValueError(
            f"samples: {len(samples)} of up to {longest} characters, and the test split holds "
            f"{held} passages of that length"
        )
    return [
        *_space_scores(samples, data, spec, device),
        *_text_scores(samples, data),
        *_slow_scores(samples, device, language_model, thorough=thorough),
    ]


def like(samples: Sequence[str], text: str, n: int) -> list[str]:
    """`n` passages of `text`, as `passages` draws them for the longest sample, each cut to the
    length of a sample in turn. Raises ValueError where the text is too short for them."""
    drawn = passages(text, max(map(len, samples)), n=n, seed=SEED)
    return [passage[: len(samples[i % len(samples)])] for i, passage in enumerate(drawn)]


def _space_scores(
    samples: Sequence[str], data: TextData, spec: EvaluationSpec, device: str
) -> Iterator[Score]:
    """Distances, supports and memorisation in the space of sentences."""
    N = len(samples)
    held = len(passage_starts(data.train, max(map(len, samples))))
    x, test, train = (
        minilm.features(texts, device)
        for texts in (
            samples,
            like(samples, data.test, N),
            like(samples, data.train, min(held, TRAIN_PASSAGES)),
        )
    )
    real = gaussian(test)
    to_train, index = nearest(x, train)
    to_test, _ = nearest(x, test)
    fresh_to_train, _ = nearest(test, train)
    size = min(spec.kid_subset_size, N)  # of real passages there are as many
    support = _or_reason(lambda: prdc(x, manifold(test)))
    results: dict[str, Measured | str] = {
        "fd": fd(x, real),
        "fd_infinity": _or_reason(lambda: fd_infinity(x, real, seed=SEED)),
        "kid": kernel_distance(
            x, test, subsets=spec.kid_subsets, subset_size=size, seed=SEED
        )._replace(flag="" if size == spec.kid_subset_size else f"subsets of {size}"),
        "mmd_rbf": mmd_rbf(x, test, bandwidth=median_bandwidth(test)),
        **{name: s if isinstance(s := support, str) else getattr(s, name) for name in SUPPORTS},
        "vendi": vendi_score(x),
        "mauve": _or_reason(lambda: mauve(x, test, seed=SEED)),
        "distance_ratio": _or_reason(
            lambda: distance_ratio(to_train, to_test, fresh_to_train, nearest_other(test))
        ),
        "authenticity": authenticity(to_train, index, nearest_other(train)),
        "ct": _or_reason(
            lambda: ct_test(x, test, to_train, fresh_to_train, regions(train, seed=SEED))
        ),
    }
    for metric, result in results.items():
        yield Score(metric, MINILM, result)


def _text_scores(samples: Sequence[str], data: TextData) -> Iterator[Score]:
    """What needs no features."""
    flat, train, test = [spaced(s) for s in samples], spaced(data.train), spaced(data.test)
    for n in (1, 2, 3):
        yield Score(f"distinct_{n}", "", _or_reason(functools.partial(distinct, flat, n)))
    copied = longest_copies(flat, train)
    # A maximum of few has no normal limit, and a bootstrap of it none that it converges to.
    yield Score("longest_copy", "", Measured(float(copied.max()), math.nan, math.nan))
    yield Score("mean_copy", "", mean(copied))
    yield Score("character_js", "", _or_reason(lambda: character_js(flat, test)))
    spoken, vocabulary = [words(s) for s in flat], frozenset(words(train))
    yield Score("real_words", "", _or_reason(lambda: real_words(spoken, vocabulary)))
    yield Score("real_types", "", _or_reason(lambda: real_types(spoken, vocabulary)))


def _slow_scores(
    samples: Sequence[str], device: str, language_model: str, *, thorough: bool
) -> Iterator[Score]:
    """What takes minutes; where that is not wanted, the reason."""
    measure: dict[tuple[str, str], Callable[[], Measured]] = {
        ("self_bleu", ""): lambda: self_bleu([words(s) for s in samples], seed=SEED),
        ("bits_per_byte", language_model): lambda: _bits(samples, device, language_model),
    }
    for (metric, extractor), compute in measure.items():
        why = "costly, so only where it is asked for"
        yield Score(metric, extractor, _or_reason(compute) if thorough else why)


def _bits(samples: Sequence[str], device: str, language_model: str) -> Measured:
    """Bits per byte of as many samples, drawn at random, as the language model reads."""
    drawn = np.random.default_rng(SEED).permutation(len(samples))[:LANGUAGE_MODEL_SAMPLES]
    found = bits_per_byte([samples[i] for i in drawn], load(language_model, device))
    if len(drawn) == len(samples):
        return found
    return found._replace(flag=f"of {len(drawn)} samples")


def _or_reason(compute: Callable[[], T]) -> T | str:
    """What is computed, or why the metric is not defined for these samples or cannot be had."""
    try:
        return compute()
    except (ValueError, Unavailable) as error:
        return str(error)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        return f"the package {package} is not installed; pip install {package}"


# --- metrics --------------------------------------------------------------------------------------


def spaced(text: str) -> str:
    """`text` with each run of spaces and line ends as one space, and none at its ends."""
    return " ".join(text.split())


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
    if (t > 0).sum() < LEAST:
        raise ValueError(f"samples: fewer than {LEAST} of {len(samples)} hold {n} words")
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


def longest_copies(samples: Sequence[str], text: str) -> np.ndarray:
    """Length int64 (N,) of the longest stretch of each sample that `text` has verbatim.

    Substrings of lengths 1, 2, 4, ... of text and samples are numbered in their order by doubling
    (Manber and Myers 1993, "Suffix arrays: a new method for on-line string searches", section 3).
    In that order the closest match to a place in a sample is the place of the text just before or
    after it. About 10 s and 0.5 GB for 4 million characters of text and 1,500 samples.
    """
    longest = max(map(len, samples), default=0)
    parts: list[Any] = [_codes(text), [END_OF_TEXT]]
    for sample in samples:
        parts += [_codes(sample), [END_OF_SAMPLE]]
    codes = np.concatenate(parts, dtype=np.int64)
    ranks = [np.unique(codes, return_inverse=True)[1].astype(np.int32)]
    while 2 ** (len(ranks) - 1) < longest:
        r, length = ranks[-1], 2 ** (len(ranks) - 1)
        pairs = r.astype(np.int64) * len(r)
        pairs[:-length] += r[length:]
        ranks.append(np.unique(pairs, return_inverse=True)[1].astype(np.int32))
    order = np.argsort(ranks[-1], kind="stable")
    before, after = _neighbours(order, len(text))
    starts = len(text) + 1 + np.cumsum([0, *(len(s) + 1 for s in samples)])[:-1]
    places = np.arange(len(text) + 1, len(codes))
    common = np.maximum(*(_common(ranks, places, place) for place in (before, after)))
    return np.maximum.reduceat(common, starts - len(text) - 1)


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _neighbours(order: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """For each place after n, the places <= n that are next before and after it in `order`; where
    there is none, n itself, at which nothing but the text's end stands."""
    of_text = order <= n
    last = np.maximum.accumulate(np.where(of_text, np.arange(len(order)), -1))
    following = np.where(of_text, np.arange(len(order)), len(order))
    following = np.minimum.accumulate(following[::-1])[::-1]
    padded = np.append(order, n)  # of both -1 and len(order)
    sides = []
    for side in (last, following):
        found = np.empty(len(order), np.int64)
        found[order] = padded[side]
        sides.append(found[n + 1 :])
    return sides[0], sides[1]


def _common(ranks: list[np.ndarray], i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """How many characters agree from i and j on, for each pair of places."""
    start = i
    for k in range(len(ranks) - 1, -1, -1):
        step = (ranks[k][i] == ranks[k][j]).astype(np.int64) << k
        i, j = i + step, j + step
    return i - start
