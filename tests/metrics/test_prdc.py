"""Supports against torch-fidelity, the prdc package, the definitions, and known answers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc
from scipy.spatial.distance import cdist
from torch_fidelity.metric_prc import prc_features_to_metric

from genbench.metrics import neighbours
from genbench.metrics.prdc import manifold, prdc, quantile

SHARES = ("precision", "recall", "density", "coverage")


def draw(seed, n=300, d=8, scale=1.0, shift=0.0):
    return scale * np.random.default_rng(seed).normal(size=(n, d)) + shift


def measure(x, y, k=3, k_density=5):
    return prdc(x, manifold(y, k_support=k, k_density=k_density), k_support=k, k_density=k_density)


def values(found):
    return [getattr(found, name).value for name in SHARES]


def realism_by_definition(x, y, k):
    radius = np.sort(cdist(y, y))[:, k]
    kept = radius <= np.median(radius)
    return (radius[kept] / cdist(x, y[kept])).max(1)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("block", [7, 10**6])
def test_precision_and_recall_are_torch_fidelitys(monkeypatch, k, block):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    x, y = draw(0, n=500, scale=0.8), draw(1, n=400)
    found = measure(x, y, k)
    expected = prc_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), prc_neighborhood=k, verbose=False
    )
    assert 0.3 < expected["recall"] < expected["precision"] < 1
    assert found.precision.value == pytest.approx(expected["precision"], rel=1e-6)
    assert found.recall.value == pytest.approx(expected["recall"], rel=1e-6)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("shift", [0.3, 1.0])
def test_all_four_are_the_prdc_packages(k, shift):
    x, y = draw(2, n=500, shift=shift), draw(3, n=400)
    found, expected = measure(x, y, k, k), compute_prdc(y, x, nearest_k=k)
    assert values(found) == pytest.approx([expected[name] for name in SHARES], rel=1e-6)


@pytest.mark.parametrize("k", [1, 3])
def test_realism_is_that_of_the_definition(k):
    x, y = draw(4, scale=1.5), draw(5, n=401)
    found, expected = measure(x, y, k), realism_by_definition(x, y, k)
    np.testing.assert_allclose(found.realism_per_sample, expected, rtol=1e-5)
    assert found.realism_per_sample.dtype == torch.float64
    assert found.realism.value == pytest.approx(np.median(expected), rel=1e-5)
    assert found.realism_low.value == pytest.approx(np.quantile(expected, 0.1), rel=1e-5)


def test_identical_sets_are_fully_covered_and_very_real():
    x = draw(0)
    found = measure(x, x)
    assert found.precision.value == found.recall.value == found.coverage.value == 1
    assert (found.realism_per_sample >= 1).double().mean() > 0.5
    assert torch.isfinite(found.realism_per_sample).all()


def test_density_of_real_samples_is_about_one():
    found = [measure(draw(s, n=500), draw(s + 100, n=500)).density.value for s in range(20)]
    assert np.mean(found) == pytest.approx(1, abs=0.05)


def test_far_apart_sets_do_not_meet():
    found = measure(draw(0), draw(1, shift=100))
    assert values(found) == [0, 0, 0, 0]
    assert found.realism.high < 0.05
    assert found.precision.low == 0
    assert 0 < found.precision.high < 0.02


@pytest.mark.parametrize("kept", [1, 5, 9])
def test_dropped_classes_lower_recall_and_coverage_by_their_share(kept):
    y = np.concatenate([draw(c, n=100, shift=50 * c) for c in range(10)])
    x = np.concatenate([draw(c + 10, n=1000 // kept, shift=50 * c) for c in range(kept)])
    found = measure(x, y)
    whole = measure(np.concatenate([draw(c + 10, n=100, shift=50 * c) for c in range(10)]), y)
    assert found.recall.value <= kept / 10
    assert found.recall.value == pytest.approx(kept / 10 * whole.recall.value, abs=0.05)
    assert kept / 10 * 0.9 < found.coverage.value <= kept / 10
    assert found.precision.value == pytest.approx(whole.precision.value, abs=0.05)


@pytest.mark.parametrize("offset", [0, 50])
def test_a_copier_recalls_just_what_it_copied(offset):
    """Ten copies of each of 30 reference points: balls of radius zero that hold one point each."""
    reference = draw(0, shift=offset).astype(np.float32)
    found = measure(np.repeat(reference[:30], 10, axis=0), reference)
    assert found.precision.value == 1
    assert found.recall.value == 0.1
    assert found.recall.flag == "more than half of the samples have equals"


def test_a_ball_holds_the_points_on_its_surface():
    """On whole numbers, where every distance is exact, the sample lies on the balls' surface."""
    y = np.array([[-3.0], [-1.0], [1.0], [3.0]])
    x = np.array([[-5.0], [5.0], [50.0]])
    found = prdc(x, manifold(y, k_support=1, k_density=1), k_support=1, k_density=1)
    assert found.precision.value == pytest.approx(2 / 3)
    assert found.density.value == pytest.approx(2 / 3)
    assert found.coverage.value == 0.5
    assert found.realism_per_sample.tolist() == pytest.approx([1, 1, 2 / 47])


def test_exchanging_the_sets_exchanges_precision_and_recall():
    x, y = draw(0, n=200, scale=0.7), draw(1, n=250)
    forth, back = measure(x, y), measure(y, x)
    # The centre moves, which may tip a tie, and no more than that.
    assert forth.precision.value == pytest.approx(back.recall.value, abs=0.01)
    assert forth.recall.value == pytest.approx(back.precision.value, abs=0.01)


def test_equal_rows_have_a_defined_result_and_a_flag():
    x, y = draw(0), draw(1)
    same = np.ones((300, 8))
    for samples, reference, flag in (
        (same, y, "more than half of the samples have equals"),
        (x, same, "more than half of the real images have equals"),
        (same, same, "more than half of the samples and of the real images have equals"),
    ):
        found = measure(samples, reference)
        assert np.isfinite([values(found)]).all()
        assert torch.isfinite(found.realism_per_sample).all()
        assert {getattr(found, name).flag for name in (*SHARES, "realism")} == {flag}
    assert values(found) == [1, 1, pytest.approx(300 / 5), 1]
    assert (found.realism_per_sample == 0).all()
    assert measure(x, y).recall.flag == ""


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(6, 60), st.integers(6, 60), st.floats(0.1, 10))
def test_bounds_and_scale(seed, n, m, scale):
    x, y = draw(seed, n, 4), draw(seed + 1, m, 4, shift=0.5)
    found, scaled = measure(x, y), measure(x * scale, y * scale)
    for name in ("precision", "recall", "coverage"):
        value, low, high, _ = getattr(found, name)
        assert 0 <= low <= value <= high <= 1
    assert 0 <= found.density.value <= m / 5
    # Rounding may tip a point across a surface.
    assert values(found) == pytest.approx(values(scaled), abs=2 / min(n, m))


def test_intervals_over_samples_hold_the_expected_value():
    """Redrawn samples against one reference; realism about its quantile for many samples."""
    real = manifold(draw(0, n=400, d=4))
    found = [prdc(draw(s, n=200, d=4, scale=1.3), real) for s in range(1, 201)]
    for name in ("precision", "density", "realism", "realism_low"):
        value, low, high = np.array([getattr(f, name)[:3] for f in found]).T
        assert ((low <= value.mean()) & (value.mean() <= high)).mean() > 0.9, name
        assert (high - low).mean() < 1.2 * 2 * 1.96 * value.std(), name


@pytest.mark.parametrize("name", ["recall", "coverage"])
def test_intervals_over_real_images_are_wilsons(name):
    x, y = draw(6, scale=0.7), draw(7, n=200)
    value, low, high, _ = getattr(measure(x, y), name)
    for end in (low, high):
        assert abs(end - value) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / 200))


def test_quantile_interval_is_of_order_statistics_and_none_for_few_values():
    x = torch.arange(1.0, 101)
    assert quantile(x, 0.5)[:3] == (50.5, 41.0, 61.0)
    few = quantile(x[:20], 0.1)
    assert few.value == pytest.approx(2.9)
    assert math.isnan(few.low)
    assert math.isnan(few.high)


@pytest.mark.parametrize(
    ("samples", "reference", "k", "message"),
    [
        (draw(0, n=3), draw(1), 3, "samples: needs at least 4 rows, got 3"),
        (draw(0), draw(1, n=5), 3, "reference: needs at least 6 rows, got 5"),
        (draw(0), draw(1), 0, "k: expected numbers >= 1, got 0 and 5"),
        (draw(0), draw(1) * np.inf, 3, "reference: 300 of 300 rows hold NaN or infinity"),
        (draw(0) * np.nan, draw(1), 3, "samples: 300 of 300 rows hold NaN or infinity"),
        (draw(0)[0], draw(1), 3, "samples: expected shape"),
        (draw(0, d=3), draw(1), 3, "samples: have 3 dimensions but reference has 8"),
    ],
)
def test_hostile_input(samples, reference, k, message):
    with pytest.raises(ValueError, match=message):
        measure(samples, reference, k)


def test_k_is_checked_for_samples_too():
    with pytest.raises(ValueError, match="k: expected numbers >= 1, got 3 and 0"):
        prdc(draw(0), manifold(draw(1)), k_density=0)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_surface_that_float32_cannot_resolve_is_decided_in_float64(side):
    """Samples a thousandth of a radius inside, or outside, of a real image's ball, far from the
    centre: squared norms are 10^8 times the difference."""
    k, rng = 3, np.random.default_rng(0)
    real = 0.01 * rng.normal(size=(400, 16)) + rng.choice([-3, 3], size=(400, 1))
    real = real.astype(np.float32).astype(np.float64)
    radii = np.sort(np.linalg.norm(real[:, None] - real[None], axis=2), axis=1)[:, k]
    # Away from all others, so that no other ball holds the sample.
    out = np.argsort(-radii)[:8]
    away = real[out] - 3 * np.sign(real[out])
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    samples = real[out] + away * (radii[out] * (1 + side * 1e-3))[:, None]
    distances = np.linalg.norm(samples[:, None] - real[None], axis=2)
    expected = (distances <= radii).any(1).mean()
    assert expected == 1 if side < 0 else expected < 1
    found = prdc(torch.from_numpy(samples), manifold(torch.from_numpy(real)))
    assert found.precision.value == expected


def test_a_few_real_images_that_are_equal_leave_realism_defined():
    # By rounding, the squared distance of equal rows far from the centre can be minus zero.
    generator = torch.Generator().manual_seed(0)
    real = 12 * torch.randn(28, 64, generator=generator)
    real[:8] = real[0]
    found = prdc(12 * torch.randn(40, 64, generator=generator), manifold(real))
    assert torch.isfinite(found.realism_per_sample).all()
    minus = manifold(real)
    minus.support[minus.support == 0] = -0.0
    again = prdc(12 * torch.randn(40, 64, generator=generator), minus)
    assert torch.isfinite(again.realism_per_sample).all()
