"""MAUVE: closed forms, an independent integration, and what its interval promises."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import rel_entr

from genbench.metrics.mauve import clusters, frontier_area, mauve, smoothed


def integrated(P, Q, c):
    """The area by adaptive quadrature over lambda, with dx/dlambda written out."""

    def R(t):
        return t * P + (1 - t) * Q

    def x(t):
        return math.exp(-c * rel_entr(Q, R(t)).sum())

    def slice_(t):
        return math.exp(-c * rel_entr(P, R(t)).sum()) * x(t) * c * (Q * (Q - P) / R(t)).sum()

    return quad(slice_, 0, 1, limit=500)[0] + x(1)


@pytest.mark.parametrize("c", [1, 2, 5])
def test_disjoint_distributions_have_the_area_of_a_beta_integral(c):
    """The frontier is then (1 - t)^c, t^c, under which the area is 1 / binomial(2c, c)."""
    P, Q = torch.tensor([[0.3, 0.7, 0, 0], [0, 0, 0.5, 0.5]], dtype=torch.float64)
    assert float(frontier_area(P, Q, c)) == pytest.approx(1 / math.comb(2 * c, c), abs=1e-6)


def test_equal_distributions_have_the_whole_square():
    P = torch.tensor([0.25, 0.75], dtype=torch.float64)
    assert float(frontier_area(P, P)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("k", [2, 30])
@pytest.mark.parametrize("c", [1, 5])
def test_the_area_is_that_of_another_integration(k, c):
    rng = np.random.default_rng(k)
    for share in (0.0, 0.9):
        Q, other = rng.dirichlet(np.ones(k), 2)
        P = share * Q + (1 - share) * other
        found = frontier_area(torch.from_numpy(P), torch.from_numpy(Q), c)
        assert float(found) == pytest.approx(integrated(P, Q, c), abs=1e-6)
        # The frontier of the exchanged distributions is the mirror image.
        mirrored = frontier_area(torch.from_numpy(Q), torch.from_numpy(P), c)
        assert float(found) == pytest.approx(float(mirrored), abs=1e-6)


def test_identical_sets_are_near_1_and_far_ones_near_0():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 300, 16))
    assert mauve(x, x, seed=0).value == pytest.approx(1, abs=1e-9)
    assert 0 < mauve(x, y + 50, seed=0).value < 0.02
    assert mauve(x, y, seed=0).value > 0.8


def test_it_falls_with_distance_and_with_what_is_missed_or_added():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 400, 8))
    shifted = [mauve(x + d, y, seed=0) for d in (0, 0.4, 0.8, 1.6)]
    assert all(a.low > b.high for a, b in itertools.pairwise(shifted))
    centres = 10 * rng.normal(size=(4, 8))
    all_four = rng.normal(size=(400, 8)) + centres.repeat(100, axis=0)
    half = rng.normal(size=(400, 8)) + centres[:2].repeat(200, axis=0)
    alike = mauve(rng.normal(size=(400, 8)) + centres.repeat(100, axis=0), all_four, seed=0).value
    assert mauve(half, all_four, seed=0).value < alike - 0.2
    assert mauve(all_four, half, seed=0).value < alike - 0.2


def test_the_interval_holds_its_share_of_redrawn_counts():
    """Over redraws of the samples' counts, about 95% of intervals hold the mean area."""
    rng = np.random.default_rng(2)
    k, N, redraws = 30, 300, 200
    p, q = rng.dirichlet(np.full(k, 3.0), 2)
    Q = smoothed(rng.multinomial(N, q))
    values, errors = np.empty((2, redraws))
    for i in range(redraws):
        counts = rng.multinomial(N, p)
        P = smoothed(counts).requires_grad_()
        area = frontier_area(P, Q)
        (g,) = torch.autograd.grad(area, P)
        values[i] = area.item()
        errors[i] = math.sqrt(N) * g.numpy().repeat(counts).std(ddof=1) / (N + k / 2)
    held = (np.abs(values - values.mean()) < 1.96 * errors).mean()
    assert 0.9 < held < 0.99


def test_the_interval_is_that_of_a_bootstrap_of_counts():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(300, 6)) + 0.5, rng.normal(size=(300, 6))
    found = mauve(x, y, seed=0)
    cluster_x, cluster_y = clusters(x, y, seed=0)
    Q = smoothed(np.bincount(cluster_y, minlength=30))
    redrawn = [
        float(frontier_area(smoothed(np.bincount(rng.choice(cluster_x, 300), minlength=30)), Q))
        for _ in range(200)
    ]
    assert found.high - found.value == pytest.approx(1.96 * np.std(redrawn), rel=0.25)


def test_smoothing_adds_half_a_count():
    assert smoothed(np.array([0, 3])).tolist() == [0.125, 0.875]


def test_clusters_are_a_tenth_of_the_smaller_set_and_those_of_their_seed():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(100, 5)), rng.normal(size=(70, 5))
    first, again = clusters(x, y, seed=0), clusters(x, y, seed=0)
    assert len(np.unique(np.concatenate(first))) == 7
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))


def test_few_different_rows_are_as_many_clusters():
    x = np.eye(3)[np.arange(60) % 3]
    found = mauve(x, x[:50], seed=0)
    assert found.value > 0.95
    with pytest.raises(ValueError, match="all rows, and all of the reference, are equal"):
        mauve(np.ones((30, 4)), np.ones((20, 4)), seed=0)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((1, 3)), np.ones((5, 3)), "samples: needs at least 2"),
        (np.zeros((5, 3)), np.ones((5, 4)), "samples: have 3 dimensions"),
        (np.full((5, 3), np.nan), np.ones((5, 3)), "NaN"),
    ],
)
def test_what_has_no_mauve_is_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        mauve(x, y, seed=0)
