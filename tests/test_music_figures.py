"""Piano rolls and sound."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import svg

from genbench import figures, music_figures
from genbench.music_figures import RATE, piano_rolls, pitch_name, sound


def held(*pitches: int, steps: int = 64) -> np.ndarray:
    """Four voices that hold a note each."""
    return np.tile(np.array(pitches, np.int8), (steps, 1))


@pytest.mark.parametrize(("pitch", "hertz"), [(69, 440.0), (57, 220.0), (81, 880.0)])
def test_a_note_sounds_at_its_pitch(pitch, hertz):
    heard = sound(held(pitch, -1, -1, -1))
    spectrum = np.abs(np.fft.rfft(heard))
    loudest = np.fft.rfftfreq(len(heard), 1 / RATE)[spectrum.argmax()]
    assert loudest == pytest.approx(hertz, abs=1)


def test_sound_lasts_as_long_as_the_music_and_stays_in_range():
    piece = held(72, 67, 64, 48)
    heard = sound(piece, tempo=60)
    assert heard.dtype == np.float32
    assert len(heard) / RATE == pytest.approx(16, abs=0.1)
    assert np.abs(heard).max() == pytest.approx(1)


def test_silence_is_silent_and_a_voice_that_ends_is_not_heard_after():
    assert not sound(held(-1, -1, -1, -1)).any()
    piece = held(72, -1, -1, -1)
    piece[32:] = -1
    heard = sound(piece, tempo=60)
    assert np.abs(heard[: 7 * RATE]).max() > 0.5
    assert not heard[9 * RATE :].any()


def test_pitches_have_their_names():
    assert [pitch_name(p) for p in (60, 61, 69, 36, 81)] == ["C4", "C♯4", "A4", "C2", "A5"]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_note_is_one_bar_of_a_piano_roll(n):
    figures.style()
    windows = {f"piece {i}": held(72, 67, 64, 48) for i in range(n)}

    def draw():
        return piano_rolls(windows)

    fig = draw()
    shown = [ax for ax in fig.axes if ax.get_title()]
    assert len(shown) == n
    # Held notes are struck anew with each of the 16 beats.
    assert all(len(ax.patches) == 4 * 16 for ax in shown)
    assert svg(draw) == svg(draw)
    assert {patch.get_facecolor() for patch in shown[0].patches} == {
        music_figures.plt.matplotlib.colors.to_rgba(c) for c in music_figures.COLOURS
    }
