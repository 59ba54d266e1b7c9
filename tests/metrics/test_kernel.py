"""Kernel distances against their definition and a second opinion."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import rbf_kernel
from torch_fidelity.metric_kid import kid_features_to_metric

from genbench.metrics.kernel import kernel_distance, median_bandwidth, mmd_rbf, within_subsets
from genbench.metrics.measured import Z


def draw(seed, n=300, d=8, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


def cubic(a, b):
    return (a @ b.T / a.shape[1] + 1) ** 3


def mmd(k, x, y):
    """The unbiased estimate, by its definition."""

    def others(K):
        return (K.sum() - np.trace(K)) / (len(K) * (len(K) - 1))

    return others(k(x, x)) + others(k(y, y)) - 2 * k(x, y).mean()


def jackknife(k, x, y):
    values = np.array([mmd(k, np.delete(x, i, axis=0), y) for i in range(len(x))])
    return values.std() * np.sqrt(len(x) - 1)


def theirs(x, y, **settings):
    x, y = (torch.from_numpy(z.astype(np.float64)) for z in (x, y))
    found = kid_features_to_metric(x, y, verbose=False, **settings)
    return found["kernel_inception_distance_mean"]


def test_one_subset_of_everything_is_the_unbiased_estimator():
    x, y = draw(0, n=40), draw(1, n=40, shift=0.5)
    found = kernel_distance(x, y, subsets=1, subset_size=40)
    assert found.value == pytest.approx(mmd(cubic, x, y), rel=1e-12)
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize("size", [2, 3, 100, 257])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_kid_agrees_with_torch_fidelity(size, shift):
    x, y = draw(0, n=300, shift=shift).astype(np.float32), draw(1, n=400).astype(np.float32)
    expected = theirs(x, y, kid_subsets=7, kid_subset_size=size, rng_seed=5)
    found = kernel_distance(x, y, subsets=7, subset_size=size, seed=5)
    assert found.value == pytest.approx(expected, rel=1e-9)


def test_zero_for_equal_distributions_and_growing_with_the_shift():
    x = draw(0, n=800)
    same, near, far = (
        kernel_distance(draw(1, n=800, shift=s), x, subsets=20, subset_size=200)
        for s in (0, 0.3, 1)
    )
    assert same.low < 0 < same.high
    assert same.value < near.low < near.high < far.low


def test_seeded_and_silent(capfd):
    x, y = draw(0), draw(1)
    settings = {"subsets": 5, "subset_size": 100}
    assert kernel_distance(x, y, **settings) == kernel_distance(x, y, **settings)
    assert kernel_distance(x, y, **settings) != kernel_distance(x, y, **settings, seed=1)
    assert capfd.readouterr() == ("", "")


def test_float32_tensors_and_float64_agree():
    x, y = draw(0).astype(np.float32), draw(1, shift=0.2).astype(np.float32)
    settings = {"subsets": 5, "subset_size": 100}
    found = kernel_distance(torch.from_numpy(x), torch.from_numpy(y), **settings)
    assert found == kernel_distance(x.astype(np.float64), y.astype(np.float64), **settings)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 40), st.integers(2, 40), st.floats(0.3, 10), st.floats(-1, 1))
def test_rbf_by_its_definition(n, m, bandwidth, shift):
    x, y = draw(n, n=n, shift=shift), draw(m + 100, n=m)
    expected = mmd(lambda a, b: rbf_kernel(a, b, gamma=1 / (2 * bandwidth**2)), x, y)
    assert mmd_rbf(x, y, bandwidth=bandwidth).value == pytest.approx(expected, abs=1e-5)


def test_rbf_agrees_with_torch_fidelity_and_does_not_mind_where_the_origin_is():
    x, y = draw(0, n=400, shift=0.1), draw(1, n=400)
    expected = theirs(
        x, y, kid_subsets=1, kid_subset_size=400, kid_kernel="rbf", kid_kernel_rbf_sigma=3.0
    )
    assert mmd_rbf(x, y, bandwidth=3).value == pytest.approx(expected, abs=1e-7)
    assert mmd_rbf(x + 1e4, y + 1e4, bandwidth=3).value == pytest.approx(expected, abs=1e-6)


def test_rbf_over_several_blocks_of_rows(monkeypatch):
    x, y = draw(0, n=50, shift=0.3), draw(1, n=61)
    whole = mmd_rbf(x, y, bandwidth=2)
    monkeypatch.setattr("genbench.metrics.kernel.BLOCK", 17)
    assert mmd_rbf(x, y, bandwidth=2)[:3] == pytest.approx(whole[:3], abs=1e-6)


def test_rbf_of_far_sets_is_two_for_copies_and_their_intervals_are_empty():
    x, y = np.zeros((5, 3)), np.full((7, 3), 100.0)
    assert mmd_rbf(x, y, bandwidth=1)[:3] == pytest.approx((2, 2, 2))


def test_errors_are_the_jackknifes():
    x, y = draw(0, n=60, shift=0.3), draw(1, n=60)
    rbf = mmd_rbf(x, y, bandwidth=4)
    expected = jackknife(lambda a, b: rbf_kernel(a, b, gamma=1 / 32), x, y)
    assert (rbf.high - rbf.low) / 2 == pytest.approx(Z * expected, rel=0.03)
    kid = kernel_distance(x, y, subsets=2, subset_size=60)  # both hold everything
    assert (kid.high - kid.low) / 2 == pytest.approx(Z * jackknife(cubic, x, y), rel=0.03)


# The last number allows for what an interval near 0 holds twice, and for the subsets' own noise.
@pytest.mark.parametrize(("shift", "widest"), [(0.5, 1.25), (0.1, 1.6), (0.0, 1.9)])
@pytest.mark.parametrize(
    "metric",
    [
        lambda x, y: mmd_rbf(x, y, bandwidth=4),
        lambda x, y: kernel_distance(x, y, subsets=20, subset_size=60),
        lambda x, y: kernel_distance(x, y, subsets=10, subset_size=200),
    ],
    ids=["rbf", "kid", "kid of all samples"],
)
def test_intervals_hold_the_expected_value(metric, shift, widest):
    y = draw(0, n=500)
    found = np.array([metric(draw(s, n=200, shift=shift), y)[:3] for s in range(1, 151)])
    value, low, high = found.T
    assert ((low <= value.mean()) & (value.mean() <= high)).mean() > 0.9
    assert 0.85 < (high - low).mean() / (2 * Z * value.std()) < widest


def test_bandwidth_is_the_median_distance():
    y = draw(0, n=90)
    assert median_bandwidth(y) == pytest.approx(np.median(pdist(y)), rel=1e-12)
    assert median_bandwidth(y.astype(np.float32) * 3) == pytest.approx(3 * np.median(pdist(y)))


def test_bandwidth_of_many_rows_is_drawn_by_the_seed():
    y = draw(0, n=3000)
    assert median_bandwidth(y) == pytest.approx(np.median(pdist(y)), rel=0.02)
    assert median_bandwidth(y) == median_bandwidth(y) != median_bandwidth(y, seed=1)


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


def test_hostile_input_of_the_rbf_kernel():
    for bandwidth in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="bandwidth: expected a number above 0"):
            mmd_rbf(draw(0), draw(1), bandwidth=bandwidth)
    with pytest.raises(ValueError, match="samples: needs at least 2 rows, got 1"):
        mmd_rbf(draw(0, n=1), draw(1), bandwidth=1)
    with pytest.raises(ValueError, match="reference: most of its rows are equal"):
        median_bandwidth(np.ones((5, 2)))
    with pytest.raises(ValueError, match="reference: needs at least 2 rows, got 1"):
        median_bandwidth(np.ones((1, 2)))


def test_the_references_part_can_be_kept():
    x, y = (np.random.default_rng(i).normal(size=(120 + i, 5)) for i in range(2))
    settings = {"subsets": 7, "subset_size": 50, "seed": 3}
    within = within_subsets(y, len(x), **settings)
    assert kernel_distance(x, y, **settings, within=within) == kernel_distance(x, y, **settings)
    with pytest.raises(ValueError, match="within: expected 7 values, got 6"):
        kernel_distance(x, y, **settings, within=within[:6])
