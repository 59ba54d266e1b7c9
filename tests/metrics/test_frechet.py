"""The Frechet distance against closed forms and a second opinion."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from genbench.metrics.frechet import (
    Gaussian,
    fd,
    fd_infinity,
    frechet_distance,
    gaussian,
    optimal_map,
)
from genbench.metrics.measured import Z


def draw(seed, n=200, d=6, rank=None):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, rank or d)) @ rng.normal(size=(rank or d, d)) + rng.normal(size=d)


def normals(seed, n=400, d=6, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(size=(n, d)) * scale + shift


def fitted(m, C):
    return Gaussian(torch.as_tensor(m, dtype=torch.float64), torch.as_tensor(C).double())


STANDARD = fitted(np.zeros(6), np.eye(6))


def test_gaussian_is_numpys_mean_and_covariance():
    x = draw(0)
    m, C = gaussian(x.astype(np.float32))
    assert m.dtype == C.dtype == torch.float64
    np.testing.assert_allclose(m, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(C, np.cov(x, rowvar=False), rtol=1e-4, atol=1e-5)


def test_closed_form_of_commuting_covariances():
    m, m_w = np.array([1.0, 2, 3]), np.array([0.0, 2, 5])
    s, s_w = np.array([1.0, 2, 0]), np.array([3.0, 2, 4])
    expected = ((m - m_w) ** 2).sum() + ((s - s_w) ** 2).sum()
    found = frechet_distance(fitted(m, np.diag(s**2)), fitted(m_w, np.diag(s_w**2)))
    assert found == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_agrees_with_sqrtm_and_is_symmetric(seed, other):
    a, b = gaussian(draw(seed)), gaussian(draw(other, n=90))
    distance = frechet_distance(a, b)
    root = sqrtm((a.C @ b.C).numpy()).real
    scale = float(a.C.trace() + b.C.trace())
    expected = float((a.m - b.m).square().sum()) + scale - 2 * np.trace(root)
    assert distance == pytest.approx(expected, abs=1e-9 * scale)
    assert distance == pytest.approx(frechet_distance(b, a), abs=1e-9 * scale)


def test_agrees_with_torch_fidelity():
    x, y = draw(5, n=300), draw(6, n=500)
    theirs = fid_statistics_to_metric(
        *(fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y)), verbose=False
    )["frechet_inception_distance"]
    assert fd(x, gaussian(y)).value == pytest.approx(theirs, rel=1e-8)


@pytest.mark.parametrize("rank", [6, 2])
def test_identical_sets_are_at_zero_even_when_singular(rank):
    a = gaussian(draw(1, rank=rank))
    assert abs(frechet_distance(a, a)) < 1e-6 * a.C.trace()


def test_shift_and_orthogonal_maps():
    x, shift = draw(2), np.arange(6.0)
    Q, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))
    a, b = gaussian(x), gaussian(x + shift)
    assert frechet_distance(a, b) == pytest.approx((shift**2).sum())
    turned = frechet_distance(gaussian(x @ Q), gaussian(draw(4) @ Q))
    assert turned == pytest.approx(frechet_distance(a, gaussian(draw(4))))


def test_optimal_map_carries_one_covariance_to_the_other():
    a, b = gaussian(draw(7)), gaussian(draw(8))
    T = optimal_map(a, b)
    np.testing.assert_allclose(T @ a.C @ T, b.C, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(T, T.T, atol=1e-12)
    assert torch.linalg.eigvalsh(T)[0] > 0


def test_the_interval_is_the_jackknifes():
    x, w = draw(9, n=150), gaussian(draw(10))
    found = fd(x, w)
    left_out = [frechet_distance(gaussian(np.delete(x, i, axis=0)), w) for i in range(len(x))]
    error = np.std(left_out) * np.sqrt(len(x) - 1)
    assert found.value == frechet_distance(gaussian(x), w)
    assert (found.high - found.low) / 2 == pytest.approx(Z * error, rel=0.03)
    assert found.value == pytest.approx((found.low + found.high) / 2)


@pytest.mark.parametrize(
    ("shift", "scale", "widest"), [(0.5, 1.0, 1.2), (0.1, 1.2, 1.2), (0.0, 1.0, 1.6)]
)
def test_fd_intervals_hold_the_expected_value(shift, scale, widest):
    w = gaussian(normals(0))
    found = np.array([fd(normals(s, 300, 6, shift, scale), w)[:3] for s in range(1, 201)])
    value, low, high = found.T
    assert ((low <= value.mean()) & (value.mean() <= high)).mean() > 0.9
    assert 0.85 < (high - low).mean() / (2 * Z * value.std()) < widest


def test_singular_covariances_leave_the_interval_finite_and_few_samples_are_flagged():
    w = gaussian(draw(11))
    few, flat = fd(draw(12, n=5), w), fd(draw(12, rank=2), w)
    assert few.flag == "fewer samples than dimensions"
    assert flat.flag == ""
    assert np.isfinite([*few[:3], *flat[:3], *fd(draw(12), gaussian(draw(13, rank=2)))[:3]]).all()


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.3, 1.0), (0.1, 1.3)])
def test_infinity_is_the_distance_of_the_distributions(shift, scale):
    truth = 6 * (shift**2 + (scale - 1) ** 2)
    found = np.array([fd_infinity(normals(s, 300, 6, shift, scale), STANDARD) for s in range(100)])
    value, low, high = found[:, :3].astype(float).T
    assert value.mean() == pytest.approx(truth, abs=4 * value.std() / 10)
    assert ((low <= truth) & (truth <= high)).mean() > 0.9
    assert (high - low).mean() / (2 * Z * value.std()) < 2


def test_infinity_may_be_negative_and_is_below_the_biased_distance():
    found = [fd_infinity(normals(s), STANDARD).value for s in range(10)]
    biased = [fd(normals(s), STANDARD).value for s in range(10)]
    assert min(found) < 0
    assert np.mean(found) < 0.3 * np.mean(biased)


def test_infinity_corrects_most_of_the_bias_with_few_samples_a_dimension():
    x, w = normals(0, 300, 60), fitted(np.zeros(60), np.eye(60))
    assert abs(fd_infinity(x, w).value) < 0.2 * fd(x, w).value


def test_infinity_is_seeded_and_wider_than_the_biased_interval():
    x, w = draw(1), gaussian(draw(2))
    found, plain = fd_infinity(x, w), fd(x, w)
    assert found == fd_infinity(torch.from_numpy(x), w)
    assert found != fd_infinity(x, w, seed=1)
    assert found.high - found.low > plain.high - plain.low
    assert fd_infinity(draw(1, n=20, d=30), gaussian(draw(2, d=30))).flag != ""


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((5, 2), np.nan), "samples: 5 of 5 rows hold NaN or infinity"),
        (np.array([[1.0, 2], [np.inf, 0]]), "samples: 1 of 2 rows"),
        (np.zeros((1, 3)), "samples: needs at least 2 rows, got 1"),
        (np.zeros(3), r"samples: expected shape \(N, D >= 1\), got \(3,\)"),
        (np.zeros((3, 0)), "samples: expected shape"),
        (np.zeros((3, 2), complex), "samples: expected real numbers, got complex128"),
        (np.array([["a"]]), "samples: expected real numbers"),
    ],
)
def test_hostile_input(bad, message):
    with pytest.raises(ValueError, match=message):
        gaussian(bad, "samples")


def test_too_little_to_extrapolate_from():
    with pytest.raises(ValueError, match="features: needs at least 20 rows, got 19"):
        fd_infinity(normals(0, n=19), STANDARD)
    with pytest.raises(ValueError, match="points: expected a number >= 3, got 2"):
        fd_infinity(normals(0), STANDARD, points=2)


def test_dimensions_must_agree():
    with pytest.raises(ValueError, match="samples: have 6 dimensions but reference has 5"):
        frechet_distance(gaussian(draw(0)), gaussian(draw(0, d=5)))
    for metric in (fd, fd_infinity):
        with pytest.raises(ValueError, match="samples: have 6 dimensions but reference has 5"):
            metric(draw(0), gaussian(draw(0, d=5)))
