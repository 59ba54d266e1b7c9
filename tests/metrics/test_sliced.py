"""The sliced Wasserstein distance against SciPy's along each line, and closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from genbench.metrics.measured import Z
from genbench.metrics.sliced import sliced_wasserstein


def draw(seed, n=200, d=6, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(size=(n, d)) * scale + shift


def directions(projections, d, seed=2020):
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(projections, d, generator=generator, dtype=torch.float64).numpy()
    return theta / np.linalg.norm(theta, axis=1, keepdims=True)


@pytest.mark.parametrize(("n", "m", "projections"), [(50, 50, 5), (30, 71, 70), (2, 3, 1)])
def test_agrees_with_scipy_along_each_direction(n, m, projections):
    x, y = draw(0, n), draw(1, m, shift=0.2)
    expected = [wasserstein_distance(x @ a, y @ a) for a in directions(projections, 6)]
    found = sliced_wasserstein(x, y, projections=projections)
    assert found.value == pytest.approx(np.mean(expected), rel=1e-10)


def test_pixels_of_few_levels_and_many_ties():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (40, 9), np.uint8), rng.integers(0, 3, (60, 9), np.uint8)
    expected = [wasserstein_distance(x @ a, y @ a) for a in directions(10, 9)]
    assert sliced_wasserstein(x, y, projections=10).value == pytest.approx(np.mean(expected))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 5))
def test_in_one_dimension_it_is_scipys(n, m, d):
    x, y = draw(n, n, 1), draw(m + 50, m, 1, shift=0.5)
    expected = wasserstein_distance(x[:, 0], y[:, 0])
    found = sliced_wasserstein(x, y, projections=d)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.low <= found.value <= found.high
    assert sliced_wasserstein(y, x, projections=d).value == pytest.approx(expected, rel=1e-9)


def test_a_shift_is_its_mean_projection():
    x, shift = draw(0), np.arange(6.0)
    expected = np.abs(directions(256, 6) @ shift).mean()
    assert sliced_wasserstein(x + shift, x).value == pytest.approx(expected, rel=1e-9)
    # Over all directions, the mean of |theta . shift| is |shift| times a ratio of gamma functions.
    ratio = math.gamma(3) / (math.sqrt(math.pi) * math.gamma(3.5))
    assert expected == pytest.approx(ratio * np.linalg.norm(shift), rel=0.1)


def test_scaled_normals_are_apart_by_their_mean_absolute_deviations():
    found = sliced_wasserstein(draw(0, 20_000, 4, scale=1.5), draw(1, 20_000, 4), projections=32)
    assert found.value == pytest.approx(0.5 * math.sqrt(2 / math.pi), rel=0.03)


def test_identical_sets_are_at_zero_in_any_order_and_repeated():
    x = draw(0)
    for y in (x, x[::-1], np.tile(x, (3, 1))):
        assert sliced_wasserstein(x, y)[:3] == pytest.approx((0, 0, 0), abs=1e-12)


def test_units_are_those_of_the_input():
    x, y = draw(0), draw(1, shift=0.3)
    found = sliced_wasserstein(x, y)
    assert sliced_wasserstein(7 * x, 7 * y)[:3] == pytest.approx([7 * v for v in found[:3]])


def test_seeded_whatever_the_array_and_without_the_global_state():
    x, y = draw(0).astype(np.float32), draw(1).astype(np.float32)
    state = torch.random.get_rng_state()
    found = sliced_wasserstein(x, y)
    assert found == sliced_wasserstein(torch.from_numpy(x), torch.from_numpy(y))
    assert found != sliced_wasserstein(x, y, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_error_is_the_jackknifes():
    x, y = draw(0, n=120, shift=0.4), draw(1)
    found = sliced_wasserstein(x, y, projections=16)
    left_out = [
        sliced_wasserstein(np.delete(x, i, axis=0), y, projections=16).value for i in range(120)
    ]
    error = np.std(left_out) * np.sqrt(119)
    assert (found.high - found.low) / 2 == pytest.approx(Z * error, rel=0.05)


@pytest.mark.parametrize(
    ("shift", "scale", "widest"), [(0.5, 1.0, 1.15), (0.0, 1.3, 1.15), (0.0, 1.0, 1.5)]
)
def test_intervals_hold_the_expected_value(shift, scale, widest):
    y = draw(0, n=300)
    samples = (draw(s, shift=shift, scale=scale) for s in range(1, 201))
    found = np.array([sliced_wasserstein(x, y, projections=16)[:3] for x in samples])
    value, low, high = found.T
    assert ((low <= value.mean()) & (value.mean() <= high)).mean() > 0.9
    assert 0.85 < (high - low).mean() / (2 * Z * value.std()) < widest


@pytest.mark.parametrize(
    ("samples", "reference", "projections", "message"),
    [
        (draw(0, n=1), draw(1), 8, "samples: needs at least 2 rows, got 1"),
        (draw(0), draw(1) * np.nan, 8, "reference: 200 of 200 rows hold NaN"),
        (draw(0), draw(1, d=3), 8, "samples: have 6 dimensions but reference has 3"),
        (np.zeros((5, 1, 4, 4)), draw(1), 8, r"samples: expected shape \(N, D >= 1\)"),
        (draw(0), draw(1), 0, "projections: expected a number >= 1, got 0"),
    ],
)
def test_hostile_input(samples, reference, projections, message):
    with pytest.raises(ValueError, match=message):
        sliced_wasserstein(samples, reference, projections=projections)
