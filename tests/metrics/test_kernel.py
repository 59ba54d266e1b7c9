"""The kernel distance against its definition."""

import numpy as np
import pytest

from genbench.metrics.kernel import kernel_distance


def draw(seed, n=300, d=8, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


def test_one_subset_of_everything_is_the_unbiased_estimator():
    x, y = draw(0, n=40), draw(1, n=40, shift=0.5)

    def k(a, b):
        return (a @ b.T / 8 + 1) ** 3

    def off_diagonal_mean(K):
        return (K.sum() - np.trace(K)) / (len(K) * (len(K) - 1))

    expected = off_diagonal_mean(k(x, x)) + off_diagonal_mean(k(y, y)) - 2 * k(x, y).mean()
    found = kernel_distance(x, y, subsets=1, subset_size=40)
    assert found.mean == pytest.approx(expected, rel=1e-12)
    assert found.std == 0


def test_zero_for_equal_distributions_and_growing_with_the_shift():
    x = draw(0, n=800)
    same, near, far = (
        kernel_distance(draw(1, n=800, shift=s), x, subsets=20, subset_size=200)
        for s in (0, 0.3, 1)
    )
    assert abs(same.mean) < 3 * same.std
    assert same.mean < near.mean < far.mean


def test_seeded_and_silent(capfd):
    x, y = draw(0), draw(1)
    settings = {"subsets": 5, "subset_size": 100}
    assert kernel_distance(x, y, **settings) == kernel_distance(x, y, **settings)
    assert kernel_distance(x, y, **settings) != kernel_distance(x, y, **settings, seed=1)
    assert capfd.readouterr() == ("", "")


def test_float32_and_float64_agree():
    x, y = draw(0).astype(np.float32), draw(1, shift=0.2).astype(np.float32)
    settings = {"subsets": 5, "subset_size": 100}
    found = kernel_distance(x, y, **settings)
    assert found == kernel_distance(x.astype(np.float64), y.astype(np.float64), **settings)


@pytest.mark.parametrize(
    ("samples", "reference", "settings", "message"),
    [
        (draw(0, n=9), draw(1), {}, "samples: needs at least 100 rows, got 9"),
        (draw(0), draw(1, n=9), {}, "reference: needs at least 100 rows, got 9"),
        (draw(0) * np.nan, draw(1), {}, "samples: 300 of 300 rows hold NaN"),
        (draw(0), draw(1, d=3), {}, "samples: have 8 dimensions but reference has 3"),
        (draw(0), draw(1), {"subsets": 0}, "subsets >= 1"),
        (draw(0), draw(1), {"subset_size": 1}, "subset_size >= 2"),
    ],
)
def test_hostile_input(samples, reference, settings, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(samples, reference, **({"subset_size": 100} | settings))
