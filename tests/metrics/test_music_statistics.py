"""Statistics of style: known answers, a plain second computation, and what they are blind to."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import jensenshannon

from genbench.metrics.music_statistics import (
    CHORDS,
    HISTOGRAMS,
    IS_CHORD,
    NONE,
    chord_share,
    chord_transitions,
    harmonic_intervals,
    js_distance,
    melodic_intervals,
    note_lengths,
    pitch_classes,
    repetition,
    repetition_transposed,
)
from genbench.metrics.music_windows import BAR, BEAT

C_MAJOR, G_SEVENTH, D_MINOR = (72, 67, 64, 48), (71, 65, 62, 55), (69, 65, 62, 50)
CLUSTER, SILENCE = (63, 62, 61, 60), (-1, -1, -1, -1)

# Few pitches, so that intervals, chords and repetitions occur.
windows = hnp.arrays(
    np.int8,
    st.tuples(st.integers(2, 4), st.integers(1, 12), st.just(4)),
    elements=st.sampled_from([-1, 60, 61, 64, 67, 79]),
)


def of(*steps, n=2):
    """n equal windows of these steps."""
    return np.array([steps] * n, np.int16)


def beats(*chords, n=2):
    """n equal windows of these chords, a beat each."""
    return np.repeat(of(*chords, n=n), BEAT, axis=1)


def random_windows(seed, n=100, steps=32, pitches=range(60, 73)):
    """Windows whose notes change now and then, each window in a register of its own."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(list(pitches), (n, steps, 4)) + rng.integers(-5, 6, (n, 1, 1))
    kept = np.maximum.accumulate(
        np.where(rng.random((n, steps, 4)) < 0.4, np.arange(steps)[None, :, None], 0), axis=1
    )
    return np.take_along_axis(drawn, kept, axis=1)


# --- distances ------------------------------------------------------------------------------------


def test_a_distance_is_0_for_the_same_music_and_1_for_music_that_shares_nothing():
    x = of(C_MAJOR, G_SEVENTH).astype(int)
    same = js_distance(pitch_classes(x), pitch_classes(x))
    assert same.value == 0
    assert math.isnan(same.low)
    assert same.flag == "no interval at distance 0"
    assert js_distance(pitch_classes(x), pitch_classes(of(CLUSTER) * 0 + 61)).value == 1


def test_notes_count_by_how_long_they_last():
    a = of(C_MAJOR, C_MAJOR, C_MAJOR, G_SEVENTH).astype(int)
    b = of(C_MAJOR, G_SEVENTH, G_SEVENTH, G_SEVENTH).astype(int)
    p, q = np.zeros(12), np.zeros(12)
    for pitch in C_MAJOR:
        p[pitch % 12] += 3 / 16
        q[pitch % 12] += 1 / 16
    for pitch in G_SEVENTH:
        p[pitch % 12] += 1 / 16
        q[pitch % 12] += 3 / 16
    assert js_distance(pitch_classes(a), pitch_classes(b)).value == pytest.approx(
        jensenshannon(p, q, base=2)
    )


@settings(deadline=None, max_examples=50)
@given(windows, windows, st.sampled_from(list(HISTOGRAMS)))
def test_distances_are_those_of_scipy_and_the_same_both_ways(x, y, name):
    a, b = HISTOGRAMS[name](x.astype(int)), HISTOGRAMS[name](y.astype(int))
    if not (a != NONE).any() or not (b != NONE).any():
        with pytest.raises(ValueError, match="none has an occasion"):
            js_distance(a, b)
        return
    kinds = np.unique([*a[a != NONE], *b[b != NONE]])
    p, q = ([(labels == kind).sum() for kind in kinds] for labels in (a, b))
    value = js_distance(a, b).value
    # scipy takes the root of what rounding left, which may lie below 0.
    assert value == pytest.approx(np.nan_to_num(jensenshannon(p, q, base=2)), abs=1e-7)
    assert value == pytest.approx(js_distance(b, a).value, abs=1e-7)


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_intervals_are_as_wide_as_a_bootstrap_over_samples_makes_them(name):
    # Chords need few pitches to occur.
    x, y = (random_windows(seed, pitches=(60, 64, 67, 70)) for seed in (0, 1))
    labels, reference = HISTOGRAMS[name](x), HISTOGRAMS[name](y + 3 * (y > 66))
    found = js_distance(labels, reference)
    rng = np.random.default_rng(2)
    draws = [js_distance(labels[rng.integers(len(x), size=len(x))], reference) for _ in range(100)]
    # 100 draws tell a deviation to about 7%; the second order in 1/N adds some.
    expected = np.std([draw.value for draw in draws])
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(expected, rel=0.3)


# --- labels ---------------------------------------------------------------------------------------


def runs(voice):
    """Pitch, length and the pitch just before, of each run of a voice, in plain Python."""
    found, start = [], 0
    for t in range(1, len(voice) + 1):
        if t == len(voice) or voice[t] != voice[start]:
            found.append((voice[start], t - start, voice[start - 1] if start else -1))
            start = t
    return found


@settings(deadline=None, max_examples=50)
@given(windows)
def test_melodic_intervals_and_note_lengths_are_those_of_the_runs(x):
    intervals, lengths = [], []
    for window in x.astype(int):
        for v in range(4):
            for pitch, length, before in runs(window[:, v]):
                if pitch != -1:
                    lengths += [(v, length)] * length
                    if before != -1:
                        step = max(-13, min(13, pitch - before))
                        intervals += [(v, step)] * length
    labels = melodic_intervals(x.astype(int))
    assert sorted((k // 27, k % 27 - 13) for k in labels[labels != NONE]) == sorted(intervals)
    labels = note_lengths(x.astype(int))
    assert sorted((k // 17, k % 17) for k in labels[labels != NONE]) == sorted(lengths)


def test_intervals_between_voices_leave_octaves_out_and_rests_alone():
    labels = harmonic_intervals(of((76, 64, -1, 60)).astype(int))[0, 0]
    # soprano-alto, soprano-tenor, soprano-bass, alto-tenor, alto-bass, tenor-bass
    assert labels.tolist() == [0, NONE, 2 * 12 + 4, NONE, 4 * 12 + 4, NONE]


# --- chords ---------------------------------------------------------------------------------------


def test_the_table_has_every_chord_at_every_root_and_nothing_else():
    # A diminished seventh is the same set at four roots.
    assert IS_CHORD.sum() == 12 * (len(CHORDS) - 1) + 3
    for intervals in CHORDS.values():
        assert all(IS_CHORD[sum(1 << (root + i) % 12 for i in intervals)] for root in range(12))


def test_chords_are_told_in_any_inversion_and_doubling():
    assert chord_share(of(C_MAJOR, (79, 72, 64, 52), D_MINOR, G_SEVENTH)).value == 1
    # A bare fifth, a diminished and an augmented triad, a suspension and a cluster are none.
    others = [(72, 67, 60, 48), (71, 65, 62, 50), (72, 68, 64, 48), (72, 67, 65, 48), CLUSTER]
    assert chord_share(of(*others)).value == 0
    assert chord_share(of(C_MAJOR, CLUSTER, SILENCE, SILENCE)).value == 0.5
    with pytest.raises(ValueError, match="none has an occasion"):
        chord_share(of(SILENCE))


def test_chord_transitions_are_the_same_in_every_key():
    progression = beats(C_MAJOR, D_MINOR, G_SEVENTH, C_MAJOR).astype(int)
    labels = chord_transitions(progression)
    assert labels.shape == (2, 3)
    for semitones in range(-5, 7):
        assert (chord_transitions(progression + semitones) == labels).all()
    # Another root motion, and another order, are others.
    assert len(np.unique(labels[0])) == 3
    assert chord_transitions(beats(D_MINOR, C_MAJOR).astype(int))[0, 0] not in labels


def test_what_is_no_chord_is_one_kind_and_only_beats_count():
    a = chord_transitions(beats(C_MAJOR, CLUSTER, CLUSTER).astype(int))
    other = tuple(p + 1 for p in CLUSTER)
    b = chord_transitions(beats(C_MAJOR, SILENCE, other).astype(int))
    assert (a == b).all()
    x = beats(C_MAJOR, D_MINOR).astype(int)
    x[:, 1:BEAT] = CLUSTER
    assert (chord_transitions(x) == chord_transitions(beats(C_MAJOR, D_MINOR).astype(int))).all()


# --- repetition -----------------------------------------------------------------------------------


def test_repetition_counts_units_that_stood_before():
    up = tuple(p + 2 for p in C_MAJOR)
    x = beats(C_MAJOR, D_MINOR, C_MAJOR, up, D_MINOR)
    assert repetition(x, BEAT).value == 2 / 4
    assert repetition_transposed(x, BEAT).value == 3 / 4


def test_silence_repeats_nothing_and_rests_are_part_of_a_unit():
    x = beats(SILENCE, SILENCE, C_MAJOR, SILENCE, C_MAJOR)
    assert repetition(x, BEAT).value == repetition_transposed(x, BEAT).value == 1
    x[:, 0] = (-1, 60, -1, -1)
    assert repetition(x, BEAT).value == 1 / 2
    for measured in (repetition, repetition_transposed):
        with pytest.raises(ValueError, match="none has an occasion"):
            measured(beats(SILENCE, SILENCE, C_MAJOR), BEAT)


def test_a_bar_repeats_only_where_all_of_it_does():
    bar = np.repeat(np.array([C_MAJOR, D_MINOR, G_SEVENTH, C_MAJOR]), BEAT, axis=0)
    other = bar.copy()
    other[-1, 3] += 1
    assert (
        repetition(np.stack([np.concatenate([bar, bar, other, bar + 5])] * 2), BAR).value == 1 / 3
    )
    x = np.stack([np.concatenate([bar, other, bar + 5, bar[:7]])] * 2)
    assert repetition(x, BAR).value == 0
    assert repetition_transposed(x, BAR).value == 1 / 2
    with pytest.raises(ValueError, match="none has an occasion"):
        repetition(x[:, : 2 * BAR - 1], BAR)


@settings(deadline=None, max_examples=50)
@given(windows)
def test_repetition_is_that_of_plain_comparison(x):
    def form(unit):
        first = unit[unit != -1][0]
        return tuple(None if p == -1 else p - first for p in unit)

    exact = transposed = chances = 0
    for window in x.astype(int):
        units = [window[i : i + 2].ravel() for i in range(0, len(window) - 1, 2)]
        units = [unit for unit in units if (unit != -1).any()]
        forms = [form(unit) for unit in units]
        chances += max(len(units) - 1, 0)
        for i, unit in enumerate(units):
            exact += any((unit == earlier).all() for earlier in units[:i])
            transposed += forms[i] in forms[:i]
    if chances == 0:
        return
    assert repetition(x, 2).value == pytest.approx(exact / chances)
    assert repetition_transposed(x, 2).value == pytest.approx(transposed / chances)


def test_repetition_does_not_see_the_order_of_bars():
    x = random_windows(3, n=50, steps=64, pitches=(60, 64))
    moved = x.reshape(50, 4, BAR, 4)[:, [2, 0, 3, 1]].reshape(x.shape)
    for steps in (BEAT, BAR):
        assert repetition(x, steps).value == repetition(moved, steps).value


# --- hostile input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 8, 4)), "expected whole numbers, got float64"),
        (np.zeros((2, 8, 4), bool), "expected whole numbers, got bool"),
        (np.zeros((8, 4), int), "expected shape .N, T, V., got .8, 4."),
        (np.zeros((2, 0, 4), int), "expected shape"),
        (np.zeros((2, 8, 3), int), "expected 4 voices, got 3"),
        (np.zeros((1, 8, 4), int), "needs at least 2, got 1"),
        (np.full((2, 8, 4), -2), "got -2 to -2"),
        (np.full((2, 8, 4), 255, np.uint8), "got 255 to 255"),
    ],
)
def test_what_is_no_set_of_windows_is_refused(x, message):
    for measured in (chord_share, lambda x: repetition(x, BEAT)):
        with pytest.raises(ValueError, match=message):
            measured(x)
