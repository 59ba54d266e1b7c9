"""Metrics of music in four parts: the register, all of them at once, and units of likelihood.

A sample is a window as `music_windows` has it. Statistics of style are in `music_statistics`, rules
in `voice_leading`, copies in `music_copies`; distances in a feature space are those of `METRICS`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from genbench.metrics import MUSIC_METRICS
from genbench.metrics.checks import Array
from genbench.metrics.measured import Measured, maximum, mean, or_reason
from genbench.metrics.music_copies import longest_runs, longest_transposed_runs
from genbench.metrics.music_statistics import (
    HISTOGRAMS,
    chord_share,
    js_distance,
    repetition,
    repetition_transposed,
)
from genbench.metrics.music_windows import BAR, BEAT, VOICES, check_notes, check_windows, ratio
from genbench.metrics.voice_leading import RULES


def measure(samples: Array, reference: Array, pieces: Sequence[Array]) -> dict[str, Measured | str]:
    """Every metric of `MUSIC_METRICS` that needs "music", in its order; where it is not defined for
    these windows, the reason.

    samples: (N, T, 4), N >= 2, against held-out windows (M, T, 4), M >= 2, of equal length, since
    windows cut notes; copies are looked for in the training pieces, (T_i, 4) each. Intervals are
    over samples, the reference being fixed. Raises ValueError for other shapes and values.
    """
    x, y = check_windows(samples), check_windows(reference, "reference")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"samples: of {x.shape[1]} steps but reference of {y.shape[1]}")
    metrics: dict[str, Callable[[], Measured]] = {
        name: functools.partial(js_distance, labels(x), labels(y))
        for name, labels in HISTOGRAMS.items()
    }
    metrics["chord_share"] = lambda: chord_share(x)
    metrics["chord_share_gap"] = lambda: _minus(chord_share(x), chord_share(y).value)
    for name, rule in RULES.items():
        faults = rule(x)
        metrics[name] = functools.partial(ratio, *faults)
        metrics[f"{name}_per_window"] = functools.partial(mean, faults.counts)
    for name, steps in (("beats_repeated", BEAT), ("bars_repeated", BAR)):
        metrics[name] = functools.partial(repetition, x, steps)
        metrics[f"{name}_transposed"] = functools.partial(repetition_transposed, x, steps)
    for name, runs in _runs(x, pieces).items():
        metrics[f"mean_{name}"] = functools.partial(mean, runs)
        metrics[f"longest_{name}"] = functools.partial(maximum, runs)
    asked = (name for name, info in MUSIC_METRICS.items() if info.needs == "music")
    return {name: or_reason(metrics[name]) for name in asked}


def _runs(x: np.ndarray, pieces: Sequence[Array]) -> dict[str, np.ndarray]:
    """The longest run (N,) of each sample that stands in the pieces, by what counts as the same."""
    whole = [check_notes(piece, f"piece {i}", "TV") for i, piece in enumerate(pieces)]
    soprano = x[..., :1], [piece[:, :1] for piece in whole]
    return {
        "run": longest_runs(x, whole),
        "run_transposed": longest_transposed_runs(x, whole),
        "soprano_run": longest_runs(*soprano),
        "soprano_run_transposed": longest_transposed_runs(*soprano),
    }


def _minus(measured: Measured, constant: float) -> Measured:
    value, low, high, flag = measured
    return Measured(value - constant, low - constant, high - constant, flag)


def nats_per_step(bits_per_token: float) -> float:
    """Negative log-likelihood a step of four voices, in nats, from bits a token, of which a step
    has four: 4 ln 2 times it.

    By the chain rule the four tokens of a step have the log-likelihood of the step, whatever their
    order. Published figures for JSB chorales (such as those of Bai, Kolter and Koltun 2018, "An
    empirical evaluation of generic convolutional and recurrent networks for sequence modeling") are
    nats a frame too, but frames of a quarter note (Boulanger-Lewandowski et al. 2012), four of our
    steps, of 88 keys without voices, on splits of their own. Even 4 nats_per_step is another
    quantity: it says the rhythm within the quarter, and who sings what.
    """
    return bits_per_token * VOICES * math.log(2)
