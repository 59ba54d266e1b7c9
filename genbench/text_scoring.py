"""Score a text, whoever wrote it, against a data set of text: distances and supports of sentence
features, memorisation, and what only text has.

Real passages are taken in the samples' own number and lengths, one for one, so that length alone
makes no distance. Metrics of characters and words take any run of spaces and line ends as one
space, so that wrapping makes none either.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np

from genbench.data.characters import CharacterData
from genbench.data.sources import Unavailable
from genbench.data.text import TextData, passage_starts, passages
from genbench.features import minilm, smollm2
from genbench.features.language_model import bits_per_byte, load
from genbench.features.spaces import MINILM
from genbench.metrics.frechet import fd, fd_infinity, gaussian
from genbench.metrics.kernel import kernel_distance, median_bandwidth, mmd_rbf
from genbench.metrics.mauve import mauve
from genbench.metrics.measured import Measured, maximum, mean, or_reason
from genbench.metrics.memorisation import authenticity, ct_test, distance_ratio, regions
from genbench.metrics.neighbours import nearest, nearest_other
from genbench.metrics.prdc import manifold, prdc
from genbench.metrics.self_bleu import self_bleu
from genbench.metrics.text_copies import longest_copies
from genbench.metrics.text_ngrams import character_js, distinct
from genbench.metrics.vendi import vendi_score
from genbench.metrics.words import real_types, real_words, words
from genbench.scoring import SEED, SUPPORTS, Judge, Score, attempt
from genbench.sequence_scoring import QUICK_METRICS, distinct_rows, model_scores, outcome
from genbench.suite import EvaluationSpec

__all__ = ["QUICK_METRICS", "model_scores", "outcome", "own_scores", "score_text"]

LEAST = 2  # no metric is defined for fewer samples

# Training passages for the distances of memorisation: an encoder takes about 30 ms a passage on one
# core. `longest_copies` looks through all of the training text.
TRAIN_PASSAGES = 5_000

# Samples that the language model reads: it takes half a second for each on one core.
LANGUAGE_MODEL_SAMPLES = 200


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
    support = or_reason(lambda: prdc(x, manifold(test)))
    results: dict[str, Measured | str] = {
        "fd": fd(x, real),
        "fd_infinity": or_reason(lambda: fd_infinity(x, real, seed=SEED)),
        "kid": kernel_distance(
            x, test, subsets=spec.kid_subsets, subset_size=size, seed=SEED
        )._replace(flag="" if size == spec.kid_subset_size else f"subsets of {size}"),
        "mmd_rbf": mmd_rbf(x, test, bandwidth=median_bandwidth(test)),
        **{name: s if isinstance(s := support, str) else getattr(s, name) for name in SUPPORTS},
        "vendi": vendi_score(x),
        "mauve": or_reason(lambda: mauve(x, test, seed=SEED)),
        "distance_ratio": or_reason(
            lambda: distance_ratio(to_train, to_test, fresh_to_train, nearest_other(test))
        ),
        "authenticity": authenticity(to_train, index, nearest_other(train)),
        "ct": or_reason(
            lambda: ct_test(x, test, to_train, fresh_to_train, regions(train, seed=SEED))
        ),
    }
    for metric, result in results.items():
        yield Score(metric, MINILM, result)


def _text_scores(samples: Sequence[str], data: TextData) -> Iterator[Score]:
    """What needs no features."""
    flat, train, test = [spaced(s) for s in samples], spaced(data.train), spaced(data.test)
    for n in (1, 2, 3):
        yield Score(f"distinct_{n}", "", or_reason(functools.partial(distinct, flat, n)))
    copied = longest_copies(flat, train)
    yield Score("longest_copy", "", maximum(copied))
    yield Score("mean_copy", "", mean(copied))
    yield Score("character_js", "", or_reason(lambda: character_js(flat, test)))
    spoken, vocabulary = [words(s) for s in flat], frozenset(words(train))
    yield Score("real_words", "", or_reason(lambda: real_words(spoken, vocabulary)))
    yield Score("real_types", "", or_reason(lambda: real_types(spoken, vocabulary)))


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
        yield Score(metric, extractor, _where_possible(compute) if thorough else why)


def _bits(samples: Sequence[str], device: str, language_model: str) -> Measured:
    """Bits per byte of as many samples, drawn at random, as the language model reads."""
    drawn = np.random.default_rng(SEED).permutation(len(samples))[:LANGUAGE_MODEL_SAMPLES]
    found = bits_per_byte([samples[i] for i in drawn], load(language_model, device))
    if len(drawn) == len(samples):
        return found
    return found._replace(flag=f"of {len(drawn)} samples")


def _where_possible(compute: Callable[[], Measured]) -> Measured | str:
    """As `or_reason`, and why it cannot be had where a package or a file is missing."""
    try:
        return or_reason(compute)
    except Unavailable as error:
        return str(error)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        return f"the package {package} is not installed; pip install {package}"


def spaced(text: str) -> str:
    """`text` with each run of spaces and line ends as one space, and none at its ends."""
    return " ".join(text.split())
