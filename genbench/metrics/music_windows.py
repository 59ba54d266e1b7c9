"""Windows of music in four parts: what they are, what is asked of them, and rates over them.

A window is T sixteenths by four voices, soprano, alto, tenor and bass: MIDI pitches, or -1 for a
rest. The grid does not tell a note that is struck again from one that is held, so a note here is a
run of equal pitch. It is cut where the window is, which happens to the reference's alike.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from genbench.data.music import BAR as BAR
from genbench.metrics.checks import Array
from genbench.metrics.measured import Measured, normal

VOICES = 4
PAIRS = tuple(zip(*itertools.combinations(range(VOICES), 2), strict=True))  # upper, lower
BEAT = 4  # sixteenths of a quarter
REST = -1
HIGHEST = 127  # of MIDI
OCTAVE = 12  # semitones


def check_notes(x: Array, name: str, axes: str, least: int = 1) -> np.ndarray:
    """`x` as int64, if it is of whole numbers from -1 (a rest) to 127, has an axis for each letter
    of `axes`, none of them empty, and at least `least` rows: ValueError otherwise, calling it
    `name`."""
    notes = np.asarray(x)
    if notes.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected whole numbers, got {notes.dtype}")
    if notes.ndim != len(axes) or 0 in notes.shape[1:]:
        raise ValueError(f"{name}: expected shape ({', '.join(axes)}), got {notes.shape}")
    if len(notes) < least:
        raise ValueError(f"{name}: needs at least {least}, got {len(notes)}")
    if not REST <= notes.min() <= notes.max() <= HIGHEST:
        raise ValueError(
            f"{name}: expected MIDI pitches 0 to {HIGHEST}, or {REST} for a rest, "
            f"got {notes.min()} to {notes.max()}"
        )
    return notes.astype(np.int64)


def check_windows(x: Array, name: str = "samples") -> np.ndarray:
    """Windows (N, T, 4), N >= 2, as int64; ValueError otherwise (`check_notes`)."""
    notes = check_notes(x, name, "NTV", least=2)
    if notes.shape[2] != VOICES:
        raise ValueError(f"{name}: expected {VOICES} voices, got {notes.shape[2]}")
    return notes


def ratio(counts: np.ndarray, chances: np.ndarray) -> Measured:
    """Events over chances of both (N,), sum counts / sum chances, with the delta method's interval
    over windows, since what stands in one window hangs together.

    Window i has the influence (counts_i - r chances_i) / mean(chances) (Cochran 1977, "Sampling
    techniques", chapter 6). The interval has no width, and a flag says so, where windows do not
    differ. Raises ValueError where there is no chance at all.
    """
    if not chances.any():
        raise ValueError("samples: none has an occasion for it")
    r = counts.sum() / chances.sum()
    error = float((counts - r * chances).std(ddof=1) / chances.mean() / math.sqrt(len(counts)))
    return normal(float(r), error, "" if error > 0 else "no spread: no interval")
