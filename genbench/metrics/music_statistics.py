"""Statistics of style of four-part music: what sounds for how long, beside a reference.

Every histogram is of time: the functions of `HISTOGRAMS` label each sixteenth of each voice or pair
of voices, or each beat, so that a note counts once for each sixteenth that it lasts and passing
notes weigh little. Distances between histograms are all Jensen-Shannon's, as of text (`js_distance`
says why). Windows are as in `music_windows`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import rel_entr

from genbench.metrics.checks import Array
from genbench.metrics.measured import Measured, normal
from genbench.metrics.music_windows import (
    BAR,
    BEAT,
    HIGHEST,
    OCTAVE,
    PAIRS,
    REST,
    VOICES,
    check_windows,
    ratio,
)

NONE = -1  # the label of what has none, such as a rest's pitch class
BEYOND = OCTAVE + 1  # all leaps beyond an octave are one kind

CHORDS = {
    "major triad": (0, 4, 7),
    "minor triad": (0, 3, 7),
    "dominant seventh": (0, 4, 7, 10),
    "major seventh": (0, 4, 7, 11),
    "minor seventh": (0, 3, 7, 10),
    "half-diminished seventh": (0, 3, 6, 10),
    "diminished seventh": (0, 3, 6, 9),
}
"""Name -> semitones above the root: the consonant triads and the seventh chords of major and minor
keys, complete. Diminished and augmented triads are dissonant, and no chord lacks its fifth."""


# --- histograms -----------------------------------------------------------------------------------


def js_distance(samples: np.ndarray, reference: np.ndarray) -> Measured:
    """Jensen-Shannon distance, in [0, 1], of the labels p of samples (N, L), N >= 2, from those q
    of a reference (M, L'); labels are whole numbers, `NONE` counts for nothing.

    The square root of, in bits and with m = (p + q) / 2,

        JSD = 1/2 sum p log(p / m) + 1/2 sum q log(q / m)

    Lin 1991, "Divergence measures based on the Shannon entropy", eq. 4.1; its root is a metric:
    Endres and Schindelin 2003. Total variation would weigh a fault by its time alone, and faults
    are short: a share e of time spent on what the reference never does is e in total variation, but
    about sqrt(e / 2) here. It also has no derivative where p = q, hence no interval. Of finite
    samples the distance errs upwards, more so with more kinds of labels: compare at equal numbers,
    and with what real windows get.

    The interval is the delta method's over samples: sample i with t_i labels, of which the term
    1/2 log(p / m) sums to s_i, has the influence (s_i - t_i sum s / sum t) / mean(t) on JSD. At
    distance 0 there is none: NaN ends. Raises ValueError where the samples or the reference have no
    label.
    """
    x, y = samples.reshape(len(samples), -1), reference.reshape(-1)
    rows, columns = np.nonzero(x != NONE)
    of_samples, of_reference = x[rows, columns], y[y != NONE]
    for name, labels in (("samples", of_samples), ("reference", of_reference)):
        if not len(labels):
            raise ValueError(f"{name}: none has an occasion for it")
    found, kinds = np.unique(np.concatenate([of_samples, of_reference]), return_inverse=True)
    N, K = len(x), len(found)
    counts = np.bincount(rows * K + kinds[: len(rows)], minlength=N * K).reshape(N, K)
    q = np.bincount(kinds[len(rows) :], minlength=K) / len(of_reference)
    p = counts.sum(axis=0) / len(of_samples)
    m = (p + q) / 2
    jsd = max(float((rel_entr(p, m) + rel_entr(q, m)).sum()) / 2 / math.log(2), 0.0)
    if jsd == 0:
        return Measured(0.0, math.nan, math.nan, "no interval at distance 0")
    # Where p = 0 no sample has the label, so the term counts for nothing.
    term = np.log2(np.where(p > 0, p / m, 1)) / 2
    s, t = counts @ term, counts.sum(axis=1)
    influence = (s - t * s.sum() / t.sum()) / t.mean()
    error = float(influence.std(ddof=1)) / math.sqrt(N)
    return normal(math.sqrt(jsd), error / (2 * math.sqrt(jsd)))


def pitch_classes(x: np.ndarray) -> np.ndarray:
    """Pitch class 0 (C) to 11 of each sixteenth of each voice: (N, T, 4) for windows (N, T, 4).

    Keys are not taken off, so over many windows it is their mixture that is compared: music in no
    key at all passes where the reference uses every key alike.
    """
    return np.where(x == REST, NONE, x % OCTAVE)


def melodic_intervals(x: np.ndarray) -> np.ndarray:
    """By which interval the note that sounds was reached from the note before it in its voice, in
    semitones up or down, all beyond an octave as one, for each voice: (N, T, 4).

    A voice's first note in the window, or after a rest, was reached by none.
    """
    before = _before(x)
    moved = np.clip(x - before, -BEYOND, BEYOND) + BEYOND + np.arange(VOICES) * (2 * BEYOND + 1)
    reached = np.where((x == REST) | (before == REST), NONE, moved)
    return np.take_along_axis(reached, _starts(x), axis=1)


def harmonic_intervals(x: np.ndarray) -> np.ndarray:
    """Semitones 0 to 11 from each voice up to each one above it by name, octaves taken off, for
    each of the six pairs: (N, T, 6). Spacing and crossing have rules of their own
    (`voice_leading`)."""
    upper, lower = x[..., PAIRS[0]], x[..., PAIRS[1]]
    interval = (upper - lower) % OCTAVE + np.arange(len(PAIRS[0])) * OCTAVE
    return np.where((upper == REST) | (lower == REST), NONE, interval)


def note_lengths(x: np.ndarray) -> np.ndarray:
    """Length in sixteenths of the note that sounds, a bar or more as one, for each voice:
    (N, T, 4)."""
    T = x.shape[1]
    ends = T - _starts(x[:, ::-1])[:, ::-1]
    length = np.minimum(ends - _starts(x), BAR) + np.arange(VOICES) * (BAR + 1)
    return np.where(x == REST, NONE, length)


def _before(x: np.ndarray) -> np.ndarray:
    """What stood a sixteenth before; a rest before the window."""
    return np.concatenate([np.full_like(x[:, :1], REST), x[:, :-1]], axis=1)


def _starts(x: np.ndarray) -> np.ndarray:
    """The step at which the run of equal values began that each step is in: (N, T, 4)."""
    steps = np.arange(x.shape[1])[None, :, None]
    return np.maximum.accumulate(np.where(x != _before(x), steps, 0), axis=1)


# --- chords ---------------------------------------------------------------------------------------


def pitch_class_sets(x: np.ndarray) -> np.ndarray:
    """The pitch classes that sound at each step as bits 0 (C) to 11: (N, T); 0 in silence."""
    return np.bitwise_or.reduce(np.where(x == REST, 0, 1 << x % OCTAVE), axis=2)


def _transposed(sets: np.ndarray, semitones: int) -> np.ndarray:
    return (sets << semitones | sets >> (OCTAVE - semitones)) & ((1 << OCTAVE) - 1)


def _chord_sets() -> np.ndarray:
    """Whether each of the 4,096 pitch-class sets is one of `CHORDS`, at any root."""
    is_chord = np.zeros(1 << OCTAVE, dtype=bool)
    for intervals in CHORDS.values():
        for root in range(OCTAVE):
            is_chord[_transposed(np.array(sum(1 << i for i in intervals)), root)] = True
    return is_chord


IS_CHORD = _chord_sets()


def chord_share(samples: Array) -> Measured:
    """Of the steps at which anything sounds, the share whose pitch classes are exactly those of one
    of `CHORDS`, of samples (N, T, 4), N >= 2.

    Neither end is better: what passes between chords is style too, so compare it with the
    reference's. The interval is `ratio`'s. Raises ValueError for silent windows and wrong shapes.
    """
    sets = pitch_class_sets(check_windows(samples))
    return ratio(IS_CHORD[sets].sum(axis=1), (sets > 0).sum(axis=1))


def chord_transitions(x: np.ndarray) -> np.ndarray:
    """From which chord to which each beat leads to the next, up to transposition of both: labels
    (N, beats - 1).

    Beats are taken as every fourth step, their first sixteenth speaking for them. Whatever is not
    one of `CHORDS` is one kind, so that there are at most some 600 kinds, of which style uses few:
    all sets of pitch classes would make millions, and two sets of a few hundred real windows would
    hardly share any. A chord that is kept leads to itself, which tells of harmonic rhythm.
    """
    sets = pitch_class_sets(x[:, ::BEAT])
    chords = np.where(IS_CHORD[sets], sets, 0)
    turns = [_transposed(chords, semitones) for semitones in range(OCTAVE)]
    # The least number over all transpositions stands for them, and needs no root.
    pairs = [(turn[:, :-1] << OCTAVE) + turn[:, 1:] for turn in turns]
    return np.min(pairs, axis=0)


HISTOGRAMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "pitch_class_js": pitch_classes,
    "melodic_interval_js": melodic_intervals,
    "harmonic_interval_js": harmonic_intervals,
    "note_length_js": note_lengths,
    "chord_transition_js": chord_transitions,
}
"""Metric -> the labels whose `js_distance` it is."""


# --- repetition -----------------------------------------------------------------------------------


def repetition(samples: Array, steps: int) -> Measured:
    """Share of the units of `steps` sixteenths (`BEAT`, `BAR`) of a window that repeat one before
    them in all four voices, of samples (N, T, 4), N >= 2.

    A window's first unit can repeat none and is no chance. Silent units are left out, and so are
    steps at the end that fill no unit. Neither end is better. The interval is `ratio`'s. Raises
    ValueError where no window has two units, and for wrong shapes.
    """
    units = _units(samples, steps)
    return _repeated(units, units)


def repetition_transposed(samples: Array, steps: int) -> Measured:
    """As `repetition`, but of units that repeat one before them up to a transposition of all
    voices alike, the unison included."""
    units = _units(samples, steps)
    first = np.argmax(units != REST, axis=2)[..., None]
    from_first = units - np.take_along_axis(units, first, axis=2)
    return _repeated(units, np.where(units == REST, -HIGHEST - 1, from_first))


def _units(samples: Array, steps: int) -> np.ndarray:
    """The units of windows, (N, U, 4 steps)."""
    x = check_windows(samples)
    N, U = len(x), x.shape[1] // steps
    return x[:, : U * steps].reshape(N, U, steps * VOICES)


def _repeated(units: np.ndarray, forms: np.ndarray) -> Measured:
    """Share of units whose form, of the same shape, an earlier one has."""
    N, U, size = units.shape
    if U < 2:
        raise ValueError("samples: none has an occasion for it")
    _, number = np.unique(forms.reshape(N * U, size), axis=0, return_inverse=True)
    number = number.reshape(N, U)
    earlier = np.tri(U, k=-1, dtype=bool)
    sounds = (units != REST).any(axis=2)
    repeats = sounds & ((number[:, :, None] == number[:, None, :]) & earlier).any(axis=2)
    return ratio(repeats.sum(axis=1), np.maximum(sounds.sum(axis=1) - 1, 0))
