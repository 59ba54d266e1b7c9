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
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from genbench.data.text import N_CHARACTERS, TextData, passage_starts, passages
from genbench.errors import UserError
from genbench.features import minilm
from genbench.metrics import MetricInfo
from genbench.metrics.frechet import fd, fd_infinity, gaussian
from genbench.metrics.kernel import kernel_distance, median_bandwidth, mmd_rbf
from genbench.metrics.measured import Measured, mean, normal
from genbench.metrics.memorisation import authenticity, ct_test, distance_ratio, regions
from genbench.metrics.neighbours import nearest, nearest_other
from genbench.metrics.prdc import manifold, prdc
from genbench.metrics.vendi import vendi_score
from genbench.scoring import SEED, SUPPORTS, Score
from genbench.suite import EvaluationSpec

N_SAMPLES = 1_500
"""Samples that are scored: as many passages of 256 characters as every test split holds."""

MAX_BYTES = 64 << 20
LEAST = 2  # no metric is defined for fewer samples

# Training passages for the distances of memorisation: an encoder takes about 30 ms a passage on one
# core. `longest_copies` looks through all of the training text.
TRAIN_PASSAGES = 5_000

T = TypeVar("T")

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

# Beyond Unicode, so in no text: they end the text and each sample where both stand in one array.
END_OF_TEXT, END_OF_SAMPLE = 0x110000, 0x110001

TEXT_METRICS: dict[str, MetricInfo] = {
    "distinct_1": MetricInfo(1, None, "share of words", "text", "Distinct-1"),
    "distinct_2": MetricInfo(1, None, "share of pairs of words", "text", "Distinct-2"),
    "distinct_3": MetricInfo(1, None, "share of triples of words", "text", "Distinct-3"),
    "longest_copy": MetricInfo(1, None, "characters", "text", "Longest copy from train", ""),
    "mean_copy": MetricInfo(1, None, "characters", "text", "Longest copy, mean over samples"),
    "character_js": MetricInfo(
        1, False, "Jensen-Shannon distance", "text", "Jensen-Shannon distance of 4-grams"
    ),
}
"""Declarations of the metrics that only text has; what they need is called "text"."""


# --- reading --------------------------------------------------------------------------------------


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
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path}: is a folder; a data set of text takes one file of UTF-8 text")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: is not a file; expected one of UTF-8 text")
        if status.st_size > MAX_BYTES:
            raise UserError(
                f"{path}: is of {status.st_size:,} bytes and {MAX_BYTES:,} are read at most; "
                f"give its first part"
            )
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: {reason}; expected a file of UTF-8 text") from None
    if (nul := content.find(b"\0")) >= 0:
        raise UserError(f"{path}: is binary (byte {nul} is NUL); expected UTF-8 text")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is not UTF-8 (byte {error.start} is 0x{content[error.start]:02x}); convert it"
        ) from None
    marked = text.startswith("\ufeff")
    text = re.sub(r"\r\n?", "\n", text.removeprefix("\ufeff")).strip()
    if not text:
        raise UserError(f"{path}: is empty or blank; expected at least {LEAST} lines of text")
    return text, ["a byte order mark was dropped"] if marked else []


# --- scoring --------------------------------------------------------------------------------------


def score_text(
    samples: Sequence[str],
    data: TextData,
    *,
    spec: EvaluationSpec | None = None,
    device: str = "cpu",
) -> list[Score]:
    """Every metric of text of N >= 2 samples, none of them blank, against the test split of `data`
    and, for memorisation, its training split.

    Where a metric is not defined for so few samples or such ones, its score is the reason. Raises
    ValueError for fewer than 2 samples, for blank ones, and for more or longer ones than the test
    split has passages for.
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
    return [*_space_scores(samples, data, spec, device), *_text_scores(samples, data)]


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
        "distance_ratio": _or_reason(
            lambda: distance_ratio(to_train, to_test, fresh_to_train, nearest_other(test))
        ),
        "authenticity": authenticity(to_train, index, nearest_other(train)),
        "ct": _or_reason(
            lambda: ct_test(x, test, to_train, fresh_to_train, regions(train, seed=SEED))
        ),
    }
    for metric, result in results.items():
        yield Score(metric, minilm.NAME, result)


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


def _or_reason(compute: Callable[[], T]) -> T | str:
    """What is computed, or why the metric is not defined for these samples."""
    try:
        return compute()
    except ValueError as error:
        return str(error)


# --- metrics --------------------------------------------------------------------------------------


def spaced(text: str) -> str:
    """`text` with each run of spaces and line ends as one space, and none at its ends."""
    return " ".join(text.split())


def distinct(samples: Sequence[str], n: int) -> Measured:
    """Distinct-n: different n-grams of words over all of them, in (0, 1].

    Li et al. 2016, "A diversity-promoting objective function for neural conversation models",
    section 5.2. Words are runs of letters and digits, apostrophes within them included, in small
    letters; no n-gram spans two samples. It falls as samples are added or grow longer: compare at
    equal numbers and lengths. The interval is the jackknife's over samples, whose variance errs
    upwards (Efron and Stein 1981). Raises ValueError where fewer than two samples hold n words.
    """
    grams = []
    for sample in samples:
        words = WORD.findall(sample.lower())
        grams.append(list(zip(*(words[i:] for i in range(n)), strict=False)))
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
