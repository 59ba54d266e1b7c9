"""Precision and recall against torch-fidelity, the definition, and known answers."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from genbench.metrics import prdc
from genbench.metrics.prdc import precision_recall


def draw(seed, n=300, d=8, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("block", [7, 1000])
def test_agrees_with_torch_fidelity(monkeypatch, k, block):
    monkeypatch.setattr(prdc, "BLOCK", block)
    x, y = draw(0, n=500, scale=0.8), draw(1, n=400)
    found = precision_recall(x, y, k=k)
    expected = prc_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), prc_neighborhood=k, verbose=False
    )
    assert found.precision == pytest.approx(expected["precision"], rel=1e-6)
    assert found.recall == pytest.approx(expected["recall"], rel=1e-6)


def test_identical_sets_are_fully_covered():
    x = draw(0)
    assert precision_recall(x, x) == (1, 1)


def test_far_apart_sets_do_not_meet():
    assert precision_recall(draw(0), draw(1) + 100) == (0, 0)


def test_one_mode_of_two_is_precise_but_forgets_half():
    a, b = draw(0), draw(1) + 100
    found = precision_recall(a, np.concatenate([a, b]))
    assert found.precision == 1
    assert found.recall == 0.5


@pytest.mark.parametrize("offset", [0, 50])
def test_a_copier_recalls_just_what_it_copied(offset):
    """Ten copies of each of 30 reference points: balls of radius zero that hold one point each."""
    reference = (draw(0) + offset).astype(np.float32)
    copies = np.repeat(reference[:30], 10, axis=0)
    assert precision_recall(copies, reference) == (1, 0.1)


def test_exchanging_the_sets_exchanges_the_two():
    x, y = draw(0, n=200, scale=0.7), draw(1, n=250)
    forth, back = precision_recall(x, y), precision_recall(y, x)
    # The centre moves, which may tip a tie, and no more than that.
    assert forth == pytest.approx(back[::-1], abs=0.01)


@pytest.mark.parametrize(
    ("samples", "reference", "k", "message"),
    [
        (draw(0, n=3), draw(1), 3, "samples: needs at least 4 rows, got 3"),
        (draw(0), draw(1, n=3), 3, "reference: needs at least 4 rows, got 3"),
        (draw(0), draw(1), 0, "k: expected"),
        (draw(0), draw(1) * np.inf, 3, "reference: 300 of 300 rows hold NaN or infinity"),
        (draw(0)[0], draw(1), 3, "samples: expected shape"),
        (draw(0, d=3), draw(1), 3, "samples: have 3 dimensions but reference has 8"),
    ],
)
def test_hostile_input(samples, reference, k, message):
    with pytest.raises(ValueError, match=message):
        precision_recall(samples, reference, k=k)
