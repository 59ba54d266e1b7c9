"""Copies of training pieces: plain search, planted copies, and the time that it takes."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genbench.metrics.music_copies import longest_runs, longest_transposed_runs

notes = st.sampled_from([-1, -1, 60, 61, 62, 127, 0])


def music(*shape):
    return hnp.arrays(np.int8, st.tuples(*shape), elements=notes)


def relative(run):
    """The run counted from its first note."""
    flat = [p for step in run for p in step]
    first = next((p for p in flat if p != -1), 0)
    return [None if p == -1 else p - first for p in flat]


def plain(sample, pieces, form):
    """The longest run by trying all of them."""
    for length in range(len(sample), 0, -1):
        for i in range(len(sample) - length + 1):
            run = form(sample[i : i + length])
            for piece in pieces:
                for j in range(len(piece) - length + 1):
                    if form(piece[j : j + length]) == run:
                        return length
    return 0


@settings(deadline=None, max_examples=80)
@given(st.data(), st.integers(1, 2))
def test_the_longest_run_is_that_of_plain_search(data, voices):
    samples = data.draw(music(st.integers(1, 3), st.integers(1, 6), st.just(voices))).tolist()
    pieces = data.draw(st.lists(music(st.integers(1, 7), st.just(voices)), min_size=1, max_size=3))
    listed = [piece.tolist() for piece in pieces]
    for found, form in ((longest_runs, list), (longest_transposed_runs, relative)):
        expected = [plain(sample, listed, form) for sample in samples]
        assert found(np.array(samples), pieces).tolist() == expected


def tune(seed, steps, voices=4):
    return np.random.default_rng(seed).integers(40, 80, (steps, voices))


def test_a_planted_copy_is_found_wherever_it_stands():
    pieces = [tune(seed, 200) for seed in range(3)]
    sample = tune(9, 64)
    sample[5:35] = pieces[1][170:200]  # up to the end of its piece
    assert longest_runs(sample[None], pieces).tolist() == [30]
    sample[5:35] += 3
    assert longest_runs(sample[None], pieces).tolist() == [0]
    assert longest_transposed_runs(sample[None], pieces).tolist() == [30]
    assert longest_transposed_runs(pieces[0][None, :64] - 2, pieces).tolist() == [64]


def test_a_run_does_not_reach_over_the_end_of_a_piece_or_of_a_sample():
    a, b = tune(0, 10), tune(1, 10)
    across = np.concatenate([a, b])
    assert longest_runs(across[None], [a, b]).tolist() == [10]
    assert longest_runs(np.stack([a, b]), [across]).tolist() == [10, 10]
    rests = np.full((4, 4), -1)
    assert longest_runs(np.stack([rests, rests]), [rests[:2], rests[:3]]).tolist() == [3, 3]


def test_voices_that_move_apart_are_no_transposition():
    piece = tune(0, 30)
    sample = piece[None, 10:20].copy()
    sample[..., 0] += 1
    assert longest_transposed_runs(sample, [piece]).tolist() == [0]
    assert longest_transposed_runs(sample[..., :1], [piece[:, :1]]).tolist() == [10]


def test_a_rest_before_the_first_note_does_not_fix_the_key():
    piece = np.array([[60], [-1], [-1], [67], [65]])
    sample = np.array([[[-1], [-1], [50], [48]]])
    assert longest_transposed_runs(sample, [piece]).tolist() == [4]
    with_its_past = np.array([[[60], [-1], [-1], [50], [48]]])
    assert longest_transposed_runs(with_its_past, [piece]).tolist() == [4]


def test_eighty_thousand_steps_take_seconds():
    rng = np.random.default_rng(0)
    # Few chords, each held for some steps, so that runs are long.
    chords = tune(1, 40)
    pieces = [np.repeat(chords[rng.integers(40, size=60)], 4, axis=0) for _ in range(334)]
    samples = np.stack([pieces[i % 334][i % 50 : i % 50 + 64] for i in range(500)])
    started = time.process_time()
    for voices in (slice(None), slice(1)):
        parts = [piece[:, voices] for piece in pieces]
        for found in (longest_runs, longest_transposed_runs):
            assert (found(samples[..., voices], parts) == 64).all()
    assert time.process_time() - started < 30  # about 3 s on one core


@pytest.mark.parametrize(
    ("samples", "pieces", "message"),
    [
        (np.zeros((2, 4, 4)), [np.zeros((4, 4), int)], "samples: expected whole numbers"),
        (np.zeros((2, 4, 4), int), [], "pieces: expected at least one"),
        (np.zeros((2, 4, 4), int), [np.zeros((4, 4), int), np.zeros((4, 4))], "piece 1: expected"),
        (np.zeros((2, 4, 4), int), [np.zeros((4, 3), int)], "piece 0: has 3 voices"),
        (np.zeros((2, 4, 4), int), [np.zeros((0, 4), int)], "piece 0: needs at least 1"),
        (np.zeros((2, 4, 5), int), [np.zeros((4, 5), int)], "expected 1 to 4 voices, got 5"),
        (np.zeros((0, 4, 4), int), [np.zeros((4, 4), int)], "samples: needs at least 1"),
    ],
)
def test_other_shapes_are_refused(samples, pieces, message):
    with pytest.raises(ValueError, match=message):
        longest_runs(samples, pieces)
