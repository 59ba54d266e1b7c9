"""The Vendi score against its definition and known answers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigvalsh
from sklearn.metrics.pairwise import cosine_similarity

from genbench.metrics.measured import Z
from genbench.metrics.vendi import vendi_score


def draw(seed, n=200, d=6):
    rng = np.random.default_rng(seed)
    return np.maximum(rng.normal(size=(n, d)) * np.arange(1, d + 1), 0) + 0.1


def by_definition(x):
    eigenvalues = eigvalsh(cosine_similarity(x) / len(x))
    eigenvalues = eigenvalues[eigenvalues > 1e-12]
    return np.exp(-(eigenvalues * np.log(eigenvalues)).sum())


@pytest.mark.parametrize(("n", "d"), [(150, 6), (20, 50), (30, 30), (2, 1)])
def test_agrees_with_the_eigenvalues_of_all_pairs(n, d):
    x = draw(n, n, d)
    assert vendi_score(x).value == pytest.approx(by_definition(x), rel=1e-9)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_orthogonal_directions_are_counted_whatever_their_lengths(k):
    x = np.tile(np.eye(5)[:k], (4, 1)) * np.arange(1, 4 * k + 1)[:, None]
    assert vendi_score(x)[:3] == pytest.approx((k, k, k))


def test_equal_rows_are_one_sample():
    x = np.tile(draw(0, n=1, d=40), (100, 1)).astype(np.float32)
    assert vendi_score(x)[:3] == pytest.approx((1, 1, 1), abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 30))
def test_bounds(seed, n, d):
    x = np.random.default_rng(seed).normal(size=(n, d))
    found = vendi_score(x)
    assert 1 - 1e-9 <= found.value <= min(n, d) + 1e-9
    assert found.low <= found.value <= found.high
    assert found.flag == ("fewer samples than dimensions" if n <= d else "")


def test_a_missing_kind_lowers_it_and_repeating_the_set_does_not_change_it():
    x = draw(0, n=300) * 0.1 + np.tile(np.eye(6), (50, 1))
    assert vendi_score(np.tile(x, (3, 1))).value == pytest.approx(vendi_score(x).value)
    assert vendi_score(x[np.arange(300) % 6 != 0]).high < vendi_score(x).low


def test_float32_tensors_and_float64_agree():
    x = draw(0).astype(np.float32)
    assert vendi_score(torch.from_numpy(x)) == vendi_score(x.astype(np.float64))


def test_the_error_is_the_jackknifes():
    x = draw(3, n=150)
    found = vendi_score(x)
    left_out = [vendi_score(np.delete(x, i, axis=0)).value for i in range(len(x))]
    error = np.std(left_out) * np.sqrt(len(x) - 1)
    assert (found.high - found.low) / 2 == pytest.approx(Z * error, rel=0.03)


def test_intervals_hold_the_expected_value():
    found = np.array([vendi_score(draw(s))[:3] for s in range(200)])
    value, low, high = found.T
    assert ((low <= value.mean()) & (value.mean() <= high)).mean() > 0.9
    assert (high - low).mean() / (2 * Z) == pytest.approx(value.std(), rel=0.15)


def test_hostile_input():
    x = draw(0, n=9)
    x[[2, 5]] = 0
    with pytest.raises(ValueError, match=r"features: 2 of 9 rows are zero: 2, 5$"):
        vendi_score(x)
    with pytest.raises(ValueError, match=r"features: 9 of 9 rows are zero: 0, 1, 2, 3, 4, \.\.\."):
        vendi_score(x * 0)
    with pytest.raises(ValueError, match="features: needs at least 2 rows, got 1"):
        vendi_score(x[:1])
    with pytest.raises(ValueError, match="features: 9 of 9 rows hold NaN or infinity"):
        vendi_score(x + np.nan)
