"""Score and class balance: known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genbench.metrics.classifier import (
    class_entropy,
    class_histogram,
    classes_covered,
    inception_score,
    total_variation,
)

EVEN = np.full(10, 0.1)
ONE = np.eye(10)[3]

counts = hnp.arrays(np.int64, 10, elements=st.integers(0, 1000)).filter(lambda n: n.sum() > 0)


def certain(labels, classes=10):
    """Logits that are sure of `labels`."""
    return 100.0 * np.eye(classes)[labels]


def test_score_is_one_for_one_answer_and_the_number_of_classes_for_all():
    assert inception_score(np.zeros((100, 10))).mean == pytest.approx(1)
    assert inception_score(certain(np.zeros(100, int))).mean == pytest.approx(1)
    even = inception_score(certain(np.arange(1000) % 10), splits=1)
    assert even.mean == pytest.approx(10)
    assert even.std == 0


def test_score_by_its_definition():
    logits = np.random.default_rng(0).normal(size=(200, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.exp((p * np.log(p / p.mean(0))).sum(1).mean())
    assert inception_score(logits, splits=1).mean == pytest.approx(expected, rel=1e-12)


def test_score_is_seeded_and_silent(capfd):
    logits = np.random.default_rng(0).normal(size=(100, 5))
    assert inception_score(logits) == inception_score(logits)
    assert inception_score(logits) != inception_score(logits, seed=1)
    assert capfd.readouterr() == ("", "")


def test_histogram_counts_predictions():
    p = class_histogram(certain([0, 0, 2, 1], classes=4))
    np.testing.assert_array_equal(p, [0.5, 0.25, 0.25, 0])


def test_entropy_in_bits():
    assert class_entropy(ONE) == 0
    assert class_entropy(EVEN) == pytest.approx(np.log2(10))
    assert class_entropy(np.array([0.5, 0.5, 0])) == 1


def test_a_class_is_covered_from_a_tenth_of_its_even_share():
    assert classes_covered(EVEN) == 10
    assert classes_covered(ONE) == 1
    n = np.array([9_801, 100, 99, 0, 0, 0, 0, 0, 0, 0])
    assert classes_covered(n / n.sum()) == 2


def test_total_variation():
    assert total_variation(EVEN, EVEN) == 0
    assert total_variation(ONE, np.eye(10)[4]) == 1
    assert total_variation(ONE, EVEN) == pytest.approx(0.9)


@given(counts, counts)
def test_bounds(n, m):
    p, q = n / n.sum(), m / m.sum()
    assert 0 <= class_entropy(p) <= np.log2(10) + 1e-12
    assert 1 <= classes_covered(p) <= 10
    assert 0 <= total_variation(p, q) <= 1 + 1e-12
    assert total_variation(p, q) == total_variation(q, p)


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
            total_variation(ONE, bad)
    with pytest.raises(ValueError, match="p: has 10 classes but q has 2"):
        total_variation(ONE, np.array([0.5, 0.5]))
