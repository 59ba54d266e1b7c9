"""A trained detector finds what differs, and nothing where nothing does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genbench.metrics.detector import detector_accuracy
from genbench.metrics.measured import proportion


def detect(samples, reference, seed=0):
    return detector_accuracy(samples, reference, levels=17, seed=seed)


def test_the_same_distribution_is_not_told_apart(digits):
    """Disjoint images of one distribution: the 95% interval holds a half, over a few seeds too."""
    held = []
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(len(digits.train))
        x = digits.train.rows[order]
        found = detect(x[:400], x[400:800], seed)
        assert found == proportion(round(400 * found.value), 400)
        held.append(found.low < 0.5 < found.high)
    # Two or more misses in six at 5% each: once in 30 sets of seeds, and these are fixed.
    assert sum(held) >= 5


def test_train_and_test_split_are_not_told_apart(digits):
    found = detect(digits.train.rows, digits.test.rows)
    assert found.low < 0.5 < found.high
    assert found.flag == ""


def test_noise_is_told_apart(digits):
    noise = np.random.default_rng(0).integers(0, 17, (400, 1, 8, 8)).astype(np.uint8)
    assert detect(noise, digits.test.rows).value > 0.99


def test_a_shift_of_two_grey_levels_is_detected(digits):
    shifted = np.minimum(digits.train.rows[:500], 14) + np.uint8(2)
    assert detect(shifted, digits.test.rows).low > 0.9


def test_more_is_told_apart_the_more_samples_are_wrong(digits):
    noise = np.random.default_rng(0).integers(0, 17, (500, 1, 8, 8)).astype(np.uint8)
    half = np.concatenate([noise[:250], digits.train.rows[:250]])
    found = detect(half, digits.test.rows)
    # At best noise is found and the rest guessed as real: 3/4.
    assert 0.65 < found.value < 0.8


def test_a_seed_gives_the_same_value_and_the_smaller_set_sets_the_size(digits):
    x, y = torch.from_numpy(digits.train.rows), torch.from_numpy(digits.test.rows)
    state = torch.get_rng_state()
    with torch.inference_mode():
        found = detect(x[:301], y)
    assert found == detect(digits.train.rows[:301], digits.test.rows)
    assert torch.equal(torch.get_rng_state(), state)
    assert found == proportion(round(302 * found.value), 302)  # 151 held out of each 301


@pytest.mark.parametrize(("n", "flag"), [(2, "only 2 images of each set"), (200, "")])
def test_few_images_are_flagged(digits, n, flag):
    assert detect(digits.train.rows[:n], digits.test.rows).flag == flag


REAL = np.zeros((6, 1, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("samples", "reference", "message"),
    [
        (np.full((6, 1, 8, 8), np.nan), REAL, "samples: expected uint8, got float64"),
        (REAL, REAL.astype(np.int64), "reference: expected uint8, got int64"),
        (REAL, REAL[:, 0], "reference: expected shape"),
        (REAL[:1], REAL, "samples: needs at least 2 images, got 1"),
        (REAL + np.uint8(20), REAL, r"samples: expected values in 0\.\.16, got 20"),
        (REAL, np.zeros((6, 3, 8, 8), np.uint8), r"reference: expected images of shape \(1, 8, 8"),
    ],
)
def test_hostile_input(samples, reference, message):
    with pytest.raises(ValueError, match=message):
        detect(samples, reference)
