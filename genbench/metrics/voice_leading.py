"""Rules of voice leading in four parts, as textbooks such as Aldwell and Schachter's "Harmony and
voice leading" state them.

Motion is between one sonority and the next that differs. Only voices that change their pitch move,
so a chord that is repeated moves nobody, and every motion lies between two successive sixteenths. A
rest ends a line: nothing is compared across it. Windows as in `music_windows`.

Composers break the rules too, the more so on a grid that cannot tell ornaments from chords, so
compare a rate with that of real windows: it is the mark, and zero is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from genbench.metrics.checks import Array
from genbench.metrics.music_windows import OCTAVE, PAIRS, REST, check_windows

UNISON, FIFTH = 0, 7  # semitones, octaves taken off

RANGES = np.array([(60, 79), (55, 74), (48, 67), (40, 62)])
"""Lowest and highest MIDI pitch of soprano (C4 to G5), alto (G3 to D5), tenor (C3 to G4) and bass
(E2 to D4). Textbooks differ by a step at the ends; these are the wider ones."""


class Faults(NamedTuple):
    """How often windows break a rule, counts int64 (N,), and could have, chances int64 (N,)."""

    counts: np.ndarray
    chances: np.ndarray


def parallel_fifths(samples: Array) -> Faults:
    """Two voices that stand a perfect fifth apart move in the same direction to another.

    Octaves are taken off, so a twelfth is a fifth. A chance is a fifth that both voices leave, in
    whatever direction. samples: (N, T, 4), N >= 2; ValueError for others.
    """
    return _parallels(samples, FIFTH)


def parallel_octaves(samples: Array) -> Faults:
    """As `parallel_fifths`, of voices in unison or one or more octaves apart."""
    return _parallels(samples, UNISON)


def voice_crossing(samples: Array) -> Faults:
    """A voice sounds below the next lower one. A chance is a sixteenth of a pair of neighbouring
    voices that both sound. samples: (N, T, 4), N >= 2; ValueError for others."""
    distance, both = _neighbours(check_windows(samples))
    return _summed(both & (distance < 0), both)


def wide_spacing(samples: Array) -> Faults:
    """Soprano and alto, or alto and tenor, sound more than an octave apart. A chance is a sixteenth
    of such a pair that both sound. samples: (N, T, 4), N >= 2; ValueError for others."""
    distance, both = _neighbours(check_windows(samples)[..., :-1])
    return _summed(both & (abs(distance) > OCTAVE), both)


def out_of_range(samples: Array) -> Faults:
    """A note is outside its voice's range (`RANGES`). A chance is a sixteenth in which a voice
    sounds. samples: (N, T, 4), N >= 2; ValueError for others."""
    x = check_windows(samples)
    lowest, highest = RANGES.T
    sounds = x != REST
    return _summed(sounds & ((x < lowest) | (x > highest)), sounds)


RULES: dict[str, Callable[[Array], Faults]] = {
    "parallel_fifths": parallel_fifths,
    "parallel_octaves": parallel_octaves,
    "voice_crossing": voice_crossing,
    "wide_spacing": wide_spacing,
    "out_of_range": out_of_range,
}
"""Metric -> the rule whose rate of faults it is."""


def _parallels(samples: Array, interval: int) -> Faults:
    x = check_windows(samples)
    upper, lower = x[..., PAIRS[0]], x[..., PAIRS[1]]
    both = (upper != REST) & (lower != REST)
    stands = both & (abs(upper - lower) % OCTAVE == interval)
    upper_moves, lower_moves = np.diff(upper, axis=1), np.diff(lower, axis=1)
    left = stands[:, :-1] & both[:, 1:] & (upper_moves != 0) & (lower_moves != 0)
    return _summed(left & stands[:, 1:] & ((upper_moves > 0) == (lower_moves > 0)), left)


def _neighbours(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Semitones from each voice but the first up to the one above it, and whether both sound."""
    upper, lower = x[..., :-1], x[..., 1:]
    return upper - lower, (upper != REST) & (lower != REST)


def _summed(faults: np.ndarray, chances: np.ndarray) -> Faults:
    return Faults(faults.sum(axis=(1, 2)), chances.sum(axis=(1, 2)))
