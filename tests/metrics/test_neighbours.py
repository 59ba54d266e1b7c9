"""Blocks of distances and nearest neighbours against scikit-learn and exact cases."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from genbench.metrics import neighbours
from genbench.metrics.neighbours import nearest, nearest_other, radii, squared_distances


def draw(seed, n=300, d=8, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


def by_sklearn(queries, points, k):
    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points).kneighbors(queries)


@pytest.mark.parametrize("block", [1, 1000, 10**6])
@pytest.mark.parametrize(("d", "shift"), [(1, 0.0), (8, 0.0), (200, 0.0), (8, 1000.0)])
def test_nearest_is_scikit_learns_whatever_the_block_and_the_centre(monkeypatch, block, d, shift):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    x, y = draw(0, 50, d, shift), draw(1, 70, d, shift)
    distances, indices = nearest(x, y)
    expected, theirs = by_sklearn(x, y, 1)
    assert distances.dtype == torch.float64
    assert indices.dtype == torch.int64
    np.testing.assert_array_equal(indices, theirs[:, 0])
    # In one dimension some pairs are near beside their norms, where float32 has fewer digits.
    np.testing.assert_allclose(distances, expected[:, 0], rtol=1e-5, atol=2e-3 if d == 1 else 0)


@pytest.mark.parametrize("block", [1, 1000, 10**6])
def test_radii_are_scikit_learns_without_the_point_itself(monkeypatch, block):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    x = draw(2)
    expected, _ = by_sklearn(x, x, 6)
    for k, found in zip((5, 1), radii(torch.from_numpy(x).float(), 5, 1), strict=True):
        np.testing.assert_allclose(found.sqrt(), expected[:, k], rtol=1e-5)
    np.testing.assert_allclose(nearest_other(x), expected[:, 1], rtol=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 60), st.integers(1, 400))
def test_blocks_cover_every_pair_once(seed, n, m, block):
    a, b = (torch.from_numpy(draw(seed + i, size, 3)).float() for i, size in enumerate((n, m)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", block)
        parts = [(rows, d2.clone()) for rows, d2 in squared_distances(a, b)]
    assert torch.cat([torch.arange(n)[rows] for rows, _ in parts]).tolist() == list(range(n))
    found = torch.cat([d2 for _, d2 in parts])
    np.testing.assert_allclose(found, torch.cdist(a, b) ** 2, rtol=1e-3, atol=1e-5)
    assert all(d2.numel() <= max(block, m) for _, d2 in parts)


@pytest.mark.parametrize("offset", [0, 50])
@pytest.mark.parametrize("d", [2, 128, 1280])
def test_equal_points_are_at_distance_zero_and_others_are_not(d, offset):
    x = draw(3, 100, d, offset).astype(np.float32)
    distances, indices = nearest(x[::2], x)
    assert (distances == 0).all()
    assert indices.tolist() == list(range(0, 100, 2))
    assert (nearest_other(np.concatenate([x, x])) == 0).all()
    assert (nearest_other(x) > 0).all()


def test_points_within_a_thousandth_of_their_norm_count_as_equal():
    x = np.array([[1000.0, 0], [-1000, 0], [1000, 0.5], [-1000, 5]])
    np.testing.assert_allclose(nearest_other(x), [0, 5, 0, 5], atol=0.1)


def test_tensors_and_arrays_of_either_precision_agree():
    x, y = draw(4).astype(np.float32), draw(5).astype(np.float32)
    for found, expected in zip(nearest(x, y), nearest(*map(torch.from_numpy, (x, y))), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(nearest(x, y)[0], nearest(x.astype(np.float64), y)[0])


def test_hostile_input():
    with pytest.raises(ValueError, match="samples: have 3 dimensions but reference has 8"):
        nearest(draw(0, d=3), draw(1))
    with pytest.raises(ValueError, match="reference: 300 of 300 rows hold NaN"):
        nearest(draw(0), draw(1) * np.nan)
    with pytest.raises(ValueError, match="samples: needs at least 2 rows, got 1"):
        nearest_other(draw(0, n=1))
