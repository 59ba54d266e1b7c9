"""How much of a window of music stands in the training pieces: its longest run of steps there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genbench.metrics.checks import Array
from genbench.metrics.music_windows import HIGHEST, REST, check_notes

# Codes of the ends of pieces and of samples, which differ, so that no run that reaches one is
# shared. A step's own code is at least 0.
END_OF_PIECE, END_OF_SAMPLE = -2, -1
BITS = 8  # of a voice in a step's code
MOST_VOICES = 4


def longest_runs(samples: Array, pieces: Sequence[Array]) -> np.ndarray:
    """Steps int64 (N,) of the longest run of each sample that stands in one of the pieces, the same
    in every voice, rests included.

    samples: (N, T, V); pieces: (T_i, V) each, V from 1 to 4 voices, MIDI pitches or -1. A held note
    makes short runs common, the more so in one voice: compare with what unseen real windows have.
    A tenth of a second for 80,000 steps of pieces and 500 samples of 64, half of one where all are
    copies. Raises ValueError for other shapes and values.
    """
    music = _Music(samples, pieces)
    return _longest(music, np.zeros(len(music.steps), np.int64))


def longest_transposed_runs(samples: Array, pieces: Sequence[Array]) -> np.ndarray:
    """As `longest_runs`, up to a transposition of all voices alike."""
    music = _Music(samples, pieces)
    return _longest(music, music.first_notes())


class _Music:
    """Pieces, then samples, in one array of steps int64 (P, V), an end after each of them.

    start: the first step of the samples. owner: (P,) the sample that a step is of, meant from
    `start` on. ends: (P,) 0, or the code of an end.
    """

    def __init__(self, samples: Array, pieces: Sequence[Array]) -> None:
        x = check_notes(samples, "samples", "NTV")
        N, T, V = x.shape
        if V > MOST_VOICES:
            raise ValueError(f"samples: expected 1 to {MOST_VOICES} voices, got {V}")
        if not pieces:
            raise ValueError("pieces: expected at least one")
        end = np.full((1, V), REST)
        parts: list[np.ndarray] = []
        for i, piece in enumerate(pieces):
            checked = check_notes(piece, f"piece {i}", "TV")
            if checked.shape[1] != V:
                raise ValueError(f"piece {i}: has {checked.shape[1]} voices but samples have {V}")
            parts += [checked, end]
        last = np.cumsum([len(part) for part in parts])[1::2] - 1
        self.n, self.start = N, int(last[-1]) + 1
        padded = np.pad(x, ((0, 0), (0, 1), (0, 0)), constant_values=REST)
        self.steps = np.concatenate([*parts, padded.reshape(-1, V)])
        self.owner = (np.arange(len(self.steps)) - self.start) // (T + 1)
        self.ends = np.zeros(len(self.steps), np.int64)
        self.ends[last] = END_OF_PIECE
        self.ends[self.start + T :: T + 1] = END_OF_SAMPLE

    def first_notes(self) -> np.ndarray:
        """The first pitch (P,) that sounds at each step or after it, upper voices first; 0 where
        none does."""
        flat = np.append(self.steps.reshape(-1), 0)
        places = np.where(flat == REST, len(flat) - 1, np.arange(len(flat)))
        following = np.minimum.accumulate(places[::-1])[::-1]
        return flat[following[: -1 : self.steps.shape[1]]]


def _longest(music: _Music, base: np.ndarray) -> np.ndarray:
    """The longest run of each sample that pieces have, pitches being counted from base (P,) at the
    run's first step.

    Runs of 1, 2, 3, ... steps are numbered, equal ones alike, and those that only samples or only
    pieces have are dropped, since no longer run can begin at their places. Numbers come from
    sorting, so nothing is left to the luck of a hash.
    """
    longest = np.zeros(music.n, np.int64)
    places, runs, length = np.arange(len(music.steps)), np.zeros(len(music.steps), np.int64), 0
    shifts = BITS * np.arange(music.steps.shape[1])
    while len(places):
        step = music.steps[places + length]
        relative = np.where(step == REST, 0, step - base[places, None] + HIGHEST + 1)
        end = music.ends[places + length]
        code = np.where(end == 0, (relative << shifts).sum(axis=1), end)
        pairs = (runs << (BITS * MOST_VOICES + 1)) + code - END_OF_PIECE
        found, runs = np.unique(pairs, return_inverse=True)
        of_sample = places >= music.start
        shared = [np.bincount(runs[of], minlength=len(found)) > 0 for of in (of_sample, ~of_sample)]
        kept = (shared[0] & shared[1])[runs]
        places, runs, length = places[kept], runs[kept], length + 1
        longest[music.owner[places[places >= music.start]]] = length
    return longest
