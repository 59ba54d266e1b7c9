"""Score and class balance: known answers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch_fidelity.metric_isc import isc_features_to_metric

from genbench.metrics.classifier import (
    class_entropy,
    class_histogram,
    classes_covered,
    inception_score,
    total_variation,
)
from genbench.metrics.measured import Z

EVEN = np.full(10, 0.1)
ONE = np.eye(10)[3]

counts = hnp.arrays(np.int64, 10, elements=st.integers(0, 1000)).filter(lambda n: n.sum() > 0)


def certain(labels, classes=10):
    """Logits that are sure of `labels`."""
    return 100.0 * np.eye(classes)[labels]


def test_score_is_one_for_one_answer_and_the_number_of_classes_for_all():
    assert inception_score(np.zeros((100, 10)))[:3] == pytest.approx((1, 1, 1))
    assert inception_score(certain(np.zeros(100, int)))[:3] == pytest.approx((1, 1, 1))
    even = inception_score(certain(np.arange(1000) % 10), splits=1)
    assert even[:3] == pytest.approx((10, 10, 10))


def test_score_by_its_definition():
    logits = np.random.default_rng(0).normal(size=(200, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.exp((p * np.log(p / p.mean(0))).sum(1).mean())
    assert inception_score(logits, splits=1).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("splits", [1, 7, 10, 203])
def test_score_agrees_with_torch_fidelity(splits):
    logits = 3 * np.random.default_rng(1).normal(size=(203, 6)).astype(np.float32)
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=splits, rng_seed=5)
    found = inception_score(logits, splits=splits, seed=5)
    assert found.value == pytest.approx(theirs["inception_score_mean"], rel=1e-6)


def test_score_of_answers_so_sure_that_others_underflow():
    assert inception_score(10 * certain([0, 0, 1, 1], classes=3), splits=1).value == 2


def test_score_is_seeded_and_silent(capfd):
    logits = np.random.default_rng(0).normal(size=(100, 5))
    assert inception_score(logits) == inception_score(torch.from_numpy(logits))
    assert inception_score(logits) != inception_score(logits, seed=1)
    assert capfd.readouterr() == ("", "")


def test_histogram_counts_predictions():
    p = class_histogram(certain([0, 0, 2, 1], classes=4))
    assert isinstance(p, np.ndarray)
    np.testing.assert_array_equal(p, [0.5, 0.25, 0.25, 0])


def test_entropy_in_bits():
    one = class_entropy(ONE, 50)
    assert one == (0, 0, 0, "all samples are in one class")
    assert class_entropy(EVEN, 50).value == pytest.approx(np.log2(10))
    assert class_entropy(np.array([0.5, 0.5, 0]), 2).value == 1


def test_a_class_is_covered_from_a_tenth_of_its_even_share():
    assert classes_covered(EVEN, 1000) == (10, 10, 10, "")
    assert classes_covered(ONE, 1000)[:3] == (1, 1, 1)
    n = np.array([9_801, 100, 99, 0, 0, 0, 0, 0, 0, 0])
    assert classes_covered(n / n.sum(), 10_000)[:3] == (2, 1, 3)
    assert classes_covered(ONE, 20)[:3] == (1, 1, 10)  # too few to tell


def test_total_variation():
    assert total_variation(EVEN, EVEN, 1000).value == 0
    assert total_variation(ONE, np.eye(10)[4], 10)[:3] == (1, 1, 1)
    assert total_variation(ONE, EVEN, 10).value == pytest.approx(0.9)
    assert total_variation(ONE, EVEN, 10).flag == "all samples are in one class"


def test_total_variation_of_two_classes_is_a_proportions():
    found = total_variation(np.array([0.7, 0.3]), np.array([0.5, 0.5]), 100)
    assert found.value == pytest.approx(0.2)
    assert found.high - found.value == pytest.approx(Z * np.sqrt(0.7 * 0.3 / 100))
    exact = total_variation(np.array([0.5, 0.5]), np.array([0.5, 0.5]), 100)
    assert exact.high == pytest.approx(Z * np.sqrt(0.5 * 0.5 / 100))


@given(counts, counts)
def test_bounds(n, m):
    p, q = n / n.sum(), m / m.sum()
    N, M = int(n.sum()), int(m.sum())
    entropy, covered, distance = (
        class_entropy(p, N), classes_covered(p, N), total_variation(p, q, N)
    )  # fmt: skip
    assert 0 <= entropy.value <= np.log2(10) + 1e-12
    assert 1 <= covered.value <= 10
    assert 0 <= distance.value <= 1 + 1e-12
    assert distance.value == total_variation(q, p, M).value
    for found in (entropy, covered, distance):
        assert found.low <= found.value <= found.high


def coverage(found, truth=None):
    """Share of intervals that hold the truth (or the mean), and their width over the spread."""
    value, low, high = np.array([f[:3] for f in found], dtype=float).T
    truth = value.mean() if truth is None else truth
    return ((low <= truth) & (truth <= high)).mean(), (high - low).mean() / (2 * Z * value.std())


@pytest.mark.parametrize("splits", [1, 10])
def test_score_intervals_hold_the_expected_value(splits):
    rng = np.random.default_rng(0)
    logits = (2 * rng.normal(size=(400, 8)) for _ in range(200))
    held, width = coverage([inception_score(z, splits=splits) for z in logits])
    assert held > 0.9
    assert width == pytest.approx(1, rel=0.15)


UNEVEN = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.03, 0.01, 0.005, 0.005])


@pytest.mark.parametrize(
    ("metric", "p", "widest"),
    [
        (class_entropy, UNEVEN, 1.15),
        (class_entropy, EVEN, 1.6),
        (lambda p, n: total_variation(p, EVEN, n), UNEVEN, 1.3),
        (lambda p, n: total_variation(p, EVEN, n), EVEN, 1.9),
    ],
    ids=["entropy", "highest entropy", "distance", "no distance"],
)
def test_class_intervals_hold_the_expected_value(metric, p, widest):
    draws = np.random.default_rng(1).multinomial(1000, p, size=400) / 1000
    held, width = coverage([metric(h, 1000) for h in draws])
    assert held > 0.9
    assert 0.85 < width < widest


@pytest.mark.parametrize("p", [UNEVEN, np.array([0.92, *[0.01] * 4, *[0.008] * 5])])
def test_intervals_hold_the_number_of_covered_classes(p):
    draws = np.random.default_rng(2).multinomial(2000, p, size=300) / 2000
    held, _ = coverage([classes_covered(h, 2000) for h in draws], truth=(p >= 0.01).sum())
    assert held > 0.95


def test_hostile_input():
    with pytest.raises(ValueError, match="logits: 1 of 20 rows hold NaN"):
        inception_score(np.where(np.arange(20)[:, None] == 3, np.nan, np.zeros((20, 10))))
    with pytest.raises(ValueError, match="logits: needs at least 10 rows, got 9"):
        inception_score(np.zeros((9, 10)))
    with pytest.raises(ValueError, match="splits: expected"):
        inception_score(np.zeros((9, 10)), splits=0)
    with pytest.raises(ValueError, match="logits: needs at least 1 rows"):
        class_histogram(np.zeros((0, 10)))
    for bad in (np.zeros(10), np.full(10, np.nan), EVEN * 2, np.eye(10), np.array([1.5, -0.5])):
        with pytest.raises(ValueError, match="q: expected fractions"):
            total_variation(ONE, bad, 10)
    with pytest.raises(ValueError, match="p: has 10 classes but q has 2"):
        total_variation(ONE, np.array([0.5, 0.5]), 10)
    with pytest.raises(ValueError, match="p: expected fractions of 15 samples"):
        class_entropy(EVEN, 15)
    with pytest.raises(ValueError, match="n: expected a number of samples >= 1, got 0"):
        classes_covered(EVEN, 0)
