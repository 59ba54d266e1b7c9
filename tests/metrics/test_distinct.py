"""The birthday test against generators whose number of outputs is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import pdist

from genbench.metrics.distinct import RATE, distinct_samples, duplicate_radius
from genbench.metrics.neighbours import nearest_other


def draw(seed, n=1000, d=16):
    return np.random.default_rng(seed).normal(size=(n, d))


def repeated(seed, support, n, d=16, p=None):
    """n draws with replacement from `support` points."""
    return draw(0, support, d)[np.random.default_rng(seed).choice(support, n, p=p)]


@pytest.mark.parametrize(("support", "n"), [(10, 200), (1000, 1000), (1000, 3000), (10_000, 1000)])
def test_it_finds_how_many_points_there_are(support, n):
    found = [distinct_samples(repeated(s, support, n), 1e-3) for s in range(40)]
    held = np.mean([each.low <= support <= each.high for each in found])
    assert held >= 0.875  # at most 5 of 40 miss, which 95% intervals do in all but 1% of cases
    assert np.median([each.value for each in found]) == pytest.approx(support, rel=0.08)
    assert {each.flag for each in found} == {""}


def test_unequal_probabilities_give_the_inverse_of_the_chance_that_two_are_equal():
    p = np.arange(1, 101) / np.arange(1, 101).sum()
    found = [distinct_samples(repeated(s, 100, 1000, p=p), 1e-3).value for s in range(20)]
    assert np.mean(found) == pytest.approx(1 / (p**2).sum(), rel=0.03)


def test_one_output_repeated_is_one():
    found = distinct_samples(np.ones((50, 3)), 0.0)
    assert found.value == 1
    assert found.low < 1 < found.high


def test_without_a_pair_the_value_is_a_lower_bound():
    found = distinct_samples(draw(1), 1e-3)
    # The mean of a Poisson count that is zero in 2.5% of cases.
    assert found.value == found.low == pytest.approx(1000 * 999 / 2 / -math.log(0.025))
    assert math.isnan(found.high)
    assert found.flag == "no near-duplicates: a lower bound"


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 60), st.floats(0.05, 3))
def test_pairs_are_counted_once_and_the_interval_is_poissons(seed, n, radius):
    x = draw(seed, n, 3)
    c, pairs = int((pdist(x) <= radius).sum()), n * (n - 1) / 2
    found = distinct_samples(x, radius)
    if c:
        assert found.value == pytest.approx(pairs / c)
        assert stats.poisson.cdf(c, pairs / found.low) == pytest.approx(0.025)
        assert stats.poisson.sf(c - 1, pairs / found.high) == pytest.approx(0.025)
    else:
        assert found.flag != ""


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_the_radius_leaves_a_near_duplicate_to_the_stated_share_of_real_images(rate):
    x = draw(2)
    near = nearest_other(x) <= duplicate_radius(x, rate=rate)
    assert near.double().mean() == pytest.approx(rate, abs=0.002)


def test_as_many_fresh_images_come_out_at_n_over_the_rate():
    radius = duplicate_radius(draw(3, 2000), rate=0.05)
    found = [distinct_samples(draw(s, 2000), radius).value for s in range(4, 14)]
    assert 0.7 < np.median(found) * 0.05 / 2000 < 1.3


def test_noise_below_the_radius_does_not_hide_repetition():
    radius = duplicate_radius(draw(5))
    x = repeated(6, 500, 1000)
    noise = 0.02 * draw(7, len(x))
    assert math.sqrt(2 * 16) * 0.02 < radius / 2
    found = distinct_samples(x + noise, radius)
    assert found.value == pytest.approx(distinct_samples(x, 0.0).value, rel=0.1)
    assert found.high < distinct_samples(draw(8), radius).low


def test_real_images_with_many_duplicates_have_a_radius_of_zero():
    x = draw(9, 100)
    assert duplicate_radius(np.concatenate([x, x[:5]])) == 0
    assert RATE < 10 / 105


def test_arrays_and_tensors_agree():
    x = repeated(10, 100, 300).astype(np.float32)
    assert distinct_samples(x, 0.1) == distinct_samples(torch.from_numpy(x), 0.1)
    assert duplicate_radius(x) == duplicate_radius(x.astype(np.float64))


def test_hostile_input():
    for radius in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="radius: expected a distance >= 0, got"):
            distinct_samples(draw(0), radius)
    for rate in (0, 1, math.nan):
        with pytest.raises(ValueError, match="rate: expected a share between 0 and 1, got"):
            duplicate_radius(draw(0), rate=rate)
    with pytest.raises(ValueError, match="real: needs at least 2 rows, got 1"):
        duplicate_radius(draw(0, n=1))
    with pytest.raises(ValueError, match="samples: needs at least 2 rows, got 1"):
        distinct_samples(draw(0, n=1), 0.1)
    with pytest.raises(ValueError, match="samples: 1000 of 1000 rows hold NaN"):
        distinct_samples(draw(0) * np.nan, 0.1)
