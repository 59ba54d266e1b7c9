"""Music for chapters: piano rolls to look at, and sound to listen to."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from genbench.data.music import BAR
from genbench.data.score_files import REST, STEPS_PER_BEAT, TEMPO, VOICES, notes

# Of soprano, alto, tenor and bass; they differ in lightness too.
COLOURS = ("#C44E1B", "#D9A21B", "#3C8DAD", "#1F3B63")
NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")

RATE = 11_025  # samples a second: enough for the partials of a soprano, and half the page
PARTIALS = 6
ATTACK, RELEASE = 0.03, 0.08  # seconds


def piano_rolls(windows: Mapping[str, np.ndarray], columns: int = 2) -> Figure:
    """Windows (T, 4) of MIDI pitches, REST for silence, each under its title: a bar for each note,
    a colour for each voice, a line at every 16 steps."""
    columns = min(columns, len(windows))
    rows = -(-len(windows) // columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(7.6, 0.5 + 1.7 * rows), squeeze=False, sharex=True, sharey=True
    )
    for ax in axes.flat[len(windows) :]:
        ax.axis("off")
    for ax, (title, window) in zip(axes.flat, windows.items(), strict=False):
        for voice, colour in zip(window.T, COLOURS, strict=True):
            start = 0
            for pitch, steps in notes(voice):
                if pitch != REST:
                    ax.barh(pitch, steps * 0.94, left=start, height=0.9, color=colour, linewidth=0)
                start += steps
        ax.set(title=title, xlim=(0, len(window)))
        ax.xaxis.set_major_locator(MultipleLocator(BAR))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / BAR:g}"))
        ax.yaxis.set_major_locator(MultipleLocator(12))
        ax.yaxis.set_major_formatter(FuncFormatter(pitch_name))
        ax.grid(axis="x")
    for ax in axes[-1]:
        ax.set_xlabel("bars")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS]
    fig.legend(handles, VOICES, loc="outside lower center", ncols=4)
    return fig


def pitch_name(pitch: float, _: int = 0) -> str:
    """A MIDI pitch as a musician calls it: C4 is 60."""
    octave, name = divmod(round(pitch), 12)
    return f"{NAMES[name]}{octave - 1}"


def sound(piece: np.ndarray, tempo: float = TEMPO) -> np.ndarray:
    """What a piece (T, 4) of MIDI pitches sounds like on a plain organ: float32 samples (N,) in
    [-1, 1], RATE of them a second; tempo: quarters a minute.

    A tone is its first partials with amplitudes 1/k, in equal temperament at A4 = 440 Hz.
    """
    step = 60 / tempo / STEPS_PER_BEAT
    signal = np.zeros(round(len(piece) * step * RATE) + round(RELEASE * RATE) + 1)
    for voice in piece.T:
        start = 0
        for pitch, steps in notes(voice):
            if pitch != REST:
                tone = _tone(440 * 2 ** ((pitch - 69) / 12), steps * step)
                first = round(start * step * RATE)
                signal[first : first + len(tone)] += tone
            start += steps
    loudest = np.abs(signal).max()
    return (signal / loudest if loudest else signal).astype(np.float32)


def _tone(frequency: float, seconds: float) -> np.ndarray:
    """A tone that swells for ATTACK, sounds until `seconds`, and dies away over RELEASE."""
    t = np.arange(round((seconds + RELEASE) * RATE)) / RATE
    # Partials above half of RATE would come out as other tones.
    partials = range(1, min(PARTIALS, int(RATE / 2 / frequency)) + 1)
    wave = sum((np.sin(2 * np.pi * k * frequency * t) / k for k in partials), np.zeros_like(t))
    envelope = np.clip(np.minimum(t / ATTACK, (seconds + RELEASE - t) / RELEASE), 0, 1)
    return np.asarray(wave * envelope)
