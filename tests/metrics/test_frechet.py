"""The Frechet distance against closed forms and a second opinion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from genbench.metrics.frechet import Gaussian, frechet_distance, gaussian


def draw(seed, n=200, d=6, rank=None):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, rank or d)) @ rng.normal(size=(rank or d, d)) + rng.normal(size=d)


def test_gaussian_is_numpys_mean_and_covariance():
    x = draw(0)
    m, C = gaussian(x.astype(np.float32))
    assert m.dtype == C.dtype == np.float64
    np.testing.assert_allclose(m, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(C, np.cov(x, rowvar=False), rtol=1e-4, atol=1e-5)


def test_closed_form_of_commuting_covariances():
    m, m_w = np.array([1.0, 2, 3]), np.array([0.0, 2, 5])
    s, s_w = np.array([1.0, 2, 0]), np.array([3.0, 2, 4])
    expected = ((m - m_w) ** 2).sum() + ((s - s_w) ** 2).sum()
    found = frechet_distance(Gaussian(m, np.diag(s**2)), Gaussian(m_w, np.diag(s_w**2)))
    assert found == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_agrees_with_sqrtm_and_is_symmetric(seed, other):
    a, b = gaussian(draw(seed)), gaussian(draw(other, n=90))
    distance = frechet_distance(a, b)
    root = sqrtm(a.C @ b.C).real
    expected = ((a.m - b.m) ** 2).sum() + np.trace(a.C + b.C - 2 * root)
    scale = np.trace(a.C + b.C)
    assert distance == pytest.approx(expected, abs=1e-9 * scale)
    assert distance == pytest.approx(frechet_distance(b, a), abs=1e-9 * scale)


@pytest.mark.parametrize("rank", [6, 2])
def test_identical_sets_are_at_zero_even_when_singular(rank):
    a = gaussian(draw(1, rank=rank))
    assert 0 <= frechet_distance(a, a) < 1e-6 * np.trace(a.C)


def test_shift_and_orthogonal_maps():
    x, shift = draw(2), np.arange(6.0)
    Q, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))
    a, b = gaussian(x), gaussian(x + shift)
    assert frechet_distance(a, b) == pytest.approx((shift**2).sum())
    turned = frechet_distance(gaussian(x @ Q), gaussian(draw(4) @ Q))
    assert turned == pytest.approx(frechet_distance(a, gaussian(draw(4))))


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


def test_dimensions_must_agree():
    with pytest.raises(ValueError, match="samples: have 6 dimensions but reference has 5"):
        frechet_distance(gaussian(draw(0)), gaussian(draw(0, d=5)))
