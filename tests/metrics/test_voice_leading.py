"""Rules of voice leading: progressions by hand, those that must not count among them, and a plain
second computation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genbench.metrics.voice_leading import (
    RANGES,
    RULES,
    out_of_range,
    parallel_fifths,
    parallel_octaves,
    voice_crossing,
    wide_spacing,
)

SOPRANO, ALTO, TENOR, BASS = range(4)


def of(*steps):
    """Two equal windows of these steps (soprano, alto, tenor, bass)."""
    return np.array([steps] * 2, np.int16)


def counts(rule, *steps):
    found = rule(of(*steps))
    assert found.counts[0] == found.counts[1]
    return int(found.counts[0]), int(found.chances[0])


def two(rule, *steps):
    """Of two voices, tenor above bass, the others resting."""
    return counts(rule, *((-1, -1, *step) for step in steps))


# C major to D major with every voice a whole tone up: fifths between tenor and bass and between
# soprano and bass, octaves between soprano and tenor.
BLOCK = ((67, 64, 55, 48), (69, 66, 57, 50))


def test_chords_that_move_as_a_block_have_all_their_parallels():
    assert counts(parallel_fifths, *BLOCK) == (2, 2)
    assert counts(parallel_octaves, *BLOCK) == (1, 1)


def test_a_good_progression_has_none():
    # I IV V I in C with the upper voices against the bass or held.
    progression = ((67, 64, 60, 48), (69, 65, 60, 53), (67, 62, 59, 55), (67, 64, 60, 48))
    assert counts(parallel_fifths, *progression)[0] == 0
    assert counts(parallel_octaves, *progression)[0] == 0


@pytest.mark.parametrize(
    "steps",
    [
        ((55, 48), (57, 50)),  # C-G to D-A
        ((55, 48), (48, 41)),  # down
        ((67, 48), (69, 50)),  # twelfths
        ((55, 48), (69, 50)),  # a fifth to a twelfth, both up
        ((48, 55), (50, 57)),  # with voices crossed
    ],
)
def test_parallel_fifths(steps):
    assert two(parallel_fifths, *steps) == (1, 1)
    assert two(parallel_octaves, *steps) == (0, 0)


@pytest.mark.parametrize(
    "steps",
    [
        ((60, 48), (62, 50)),  # octaves
        ((48, 48), (50, 50)),  # unisons
        ((72, 48), (74, 50)),  # two octaves
        ((48, 48), (62, 50)),  # a unison to an octave, both up
    ],
)
def test_parallel_octaves(steps):
    assert two(parallel_octaves, *steps) == (1, 1)
    assert two(parallel_fifths, *steps) == (0, 0)


@pytest.mark.parametrize(
    ("steps", "chances"),
    [
        (((55, 48), (55, 48), (55, 48)), 0),  # a repeated chord
        (((55, 48), (55, 36)), 0),  # oblique: the bass alone leaps an octave, a fifth revoiced
        (((55, 48), (67, 48)), 0),  # oblique: the tenor alone
        (((55, 48), (50, 55)), 1),  # contrary: to another interval
        (((55, 48), (57, 38)), 1),  # contrary: to a twelfth and an octave
        (((55, 48), (56, 50)), 1),  # a perfect fifth to a diminished one
        (((54, 48), (57, 50)), 0),  # a diminished fifth to a perfect one
        (((53, 48), (55, 50)), 0),  # parallel fourths
        (((48, 53), (50, 55)), 0),  # a fourth that is a fifth only from its upper note down
        (((52, 48), (57, 50)), 0),  # a fifth that is reached by similar motion from a third: hidden
        (((55, 48), (-1, -1), (57, 50)), 0),  # over a rest
        (((55, 48), (57, -1)), 0),  # into a rest
        (((-1, 48), (57, 50)), 0),  # out of a rest
    ],
)
def test_what_is_no_parallel_fifth(steps, chances):
    assert two(parallel_fifths, *steps) == (0, chances)


def test_octaves_by_contrary_motion_are_no_parallels():
    assert two(parallel_octaves, (48, 48), (55, 43)) == (0, 1)
    assert two(parallel_octaves, (60, 48), (53, 53)) == (0, 1)


def test_a_held_chord_does_not_hide_parallels_nor_count_them_twice():
    held = [step for step in BLOCK for _ in range(8)]
    assert counts(parallel_fifths, *held) == (2, 2)


def test_parallels_between_any_two_voices_are_found():
    for upper, lower in itertools.combinations(range(4), 2):
        steps = np.full((2, 4), -1)
        steps[:, upper], steps[:, lower] = (67, 69), (60, 62)
        assert counts(parallel_fifths, *steps) == (1, 1)


def test_crossing_is_strict_and_between_neighbours():
    assert counts(voice_crossing, (72, 67, 64, 48)) == (0, 3)
    assert counts(voice_crossing, (72, 72, 72, 72)) == (0, 3)
    assert counts(voice_crossing, (66, 67, 64, 65)) == (2, 3)
    assert counts(voice_crossing, (66, -1, 67, 48)) == (0, 1)


def test_spacing_counts_what_is_beyond_an_octave_above_the_bass():
    assert counts(wide_spacing, (79, 67, 55, 31)) == (0, 2)
    assert counts(wide_spacing, (80, 67, 54, 54)) == (2, 2)
    assert counts(wide_spacing, (80, -1, 54, 54)) == (0, 0)


def test_ranges_hold_at_both_ends_of_each_voice():
    assert counts(out_of_range, *RANGES.T) == (0, 8)
    assert counts(out_of_range, RANGES[:, 0] - 1, RANGES[:, 1] + 1) == (8, 8)
    assert counts(out_of_range, (72, -1, -1, 80)) == (1, 2)
    assert RANGES[SOPRANO].tolist() == [60, 79]
    assert RANGES[BASS].tolist() == [40, 62]


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(
        np.int8,
        st.tuples(st.integers(2, 3), st.integers(1, 10), st.just(4)),
        elements=st.sampled_from([-1, 48, 55, 60, 62, 67, 69, 74]),
    )
)
def test_rules_are_those_of_plain_counting(x):
    expected = {name: [] for name in RULES}
    for window in x.astype(int):
        n = dict.fromkeys(RULES, 0)
        distinct = [step for step, _ in itertools.groupby(map(tuple, window))]
        for a, b in itertools.pairwise(distinct):
            for i, j in itertools.combinations(range(4), 2):
                if -1 in (a[i], a[j], b[i], b[j]):
                    continue
                similar = (b[i] - a[i]) * (b[j] - a[j]) > 0
                kinds = {abs(s[i] - s[j]) % 12 for s in (a, b)}
                n["parallel_fifths"] += similar and kinds == {7}
                n["parallel_octaves"] += similar and kinds == {0}
        for step in window:
            for i, (low, high) in enumerate(RANGES):
                n["out_of_range"] += step[i] != -1 and not low <= step[i] <= high
            for i in range(3):
                if -1 not in step[i : i + 2]:
                    n["voice_crossing"] += step[i] < step[i + 1]
                    n["wide_spacing"] += i < 2 and abs(step[i] - step[i + 1]) > 12
        for name, count in n.items():
            expected[name].append(count)
    for name, rule in RULES.items():
        found = rule(x)
        assert found.counts.tolist() == expected[name]
        assert (found.counts <= found.chances).all()
