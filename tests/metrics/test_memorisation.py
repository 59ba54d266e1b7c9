"""Measures of memorisation: doses of planted copies, definitions, and second opinions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from genbench.data import load
from genbench.metrics import memorisation
from genbench.metrics.memorisation import membership_auc
from genbench.metrics.neighbours import nearest, nearest_other

DOSES = (0.0, 0.05, 0.1, 0.25, 0.5)


def distance_ratio(samples, train, held_out):
    return memorisation.distance_ratio(
        nearest(samples, train)[0],
        nearest(samples, held_out)[0],
        nearest(held_out, train)[0],
        nearest_other(held_out),
    )


def authenticity(samples, train, held_out=None):
    return memorisation.authenticity(*nearest(samples, train), nearest_other(train))


def ct_test(samples, train, held_out, k=5, seed=0):
    return memorisation.ct_test(
        samples,
        held_out,
        nearest(samples, train)[0],
        nearest(held_out, train)[0],
        memorisation.regions(train, k=k, seed=seed),
    )


def mixture(seed, n, d=8):
    """Eight round clusters."""
    rng = np.random.default_rng(seed)
    centres = 6 * np.random.default_rng(0).normal(size=(8, d))
    return centres[rng.integers(8, size=n)] + rng.normal(size=(n, d))


def pixels():
    """All of the digits' images but exact duplicates, in random order."""
    splits = load("digits")
    images = [getattr(splits, split).rows for split in ("train", "validation", "test")]
    flat = np.unique(np.concatenate(images).reshape(-1, 64), axis=0)
    return np.random.default_rng(0).permutation(flat).astype(np.float32)


def of_mixture():
    return mixture(1, 4000), mixture(2, 1000), mixture(3, 1000)


def of_digits():
    x = pixels()
    return x[:800], x[800:1250], x[1250:1700]


def planted(fresh, train, dose):
    """`fresh` with the first `dose` of it replaced by training images."""
    copies = round(dose * len(fresh))
    return np.concatenate([train[:copies], fresh[copies:]])


def of_each_dose(sets, metric):
    train, held_out, fresh = sets
    return [metric(planted(fresh, train, dose), train, held_out) for dose in DOSES]


@pytest.mark.parametrize("sets", [of_mixture, of_digits])
@pytest.mark.parametrize(
    ("metric", "none", "tolerance"),
    [
        (distance_ratio, 1, 0.05),
        (authenticity, 0.5, 0.1),
        (ct_test, 0, 1.2),
    ],
    ids=["distance_ratio", "authenticity", "ct"],
)
def test_every_dose_of_copies_lowers_it_and_none_says_nothing(sets, metric, none, tolerance):
    found = of_each_dose(sets(), metric)
    values = [each.value for each in found]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(DOSES)
    assert values[0] == pytest.approx(none, abs=tolerance)
    assert found[-1].high < found[0].low
    assert {each.flag for each in found} == {""}


def test_ratio_and_authenticity_fall_in_proportion_to_the_dose():
    sets = of_mixture()
    for metric in (distance_ratio, authenticity):
        values = np.array([each.value for each in of_each_dose(sets, metric)])
        np.testing.assert_allclose(values / values[0], 1 - np.array(DOSES), atol=0.03)


def test_copies_alone_are_at_zero():
    train, held_out, _ = of_mixture()
    found = distance_ratio(train[:500], train, held_out), authenticity(train[:500], train)
    assert [each.value for each in found] == [0, 0]


def test_distance_ratio_is_its_definition():
    train, held_out, fresh = mixture(4, 200), mixture(5, 80), mixture(6, 90)

    def nearer(to_train, to_held_out):
        return to_train / (to_train + to_held_out)

    of_samples = nearer(cdist(fresh, train).min(1), cdist(fresh, held_out).min(1))
    of_held_out = nearer(cdist(held_out, train).min(1), np.sort(cdist(held_out, held_out))[:, 1])
    value, low, high, _ = distance_ratio(fresh, train, held_out)
    assert value == pytest.approx(of_samples.mean() / of_held_out.mean(), rel=1e-6)
    error = of_samples.std(ddof=1) / np.sqrt(90) / of_held_out.mean()
    assert (low, high) == pytest.approx((value - 1.959964 * error, value + 1.959964 * error))


@pytest.mark.parametrize("size", [250, 1000, 4000])
def test_the_size_of_the_training_set_does_not_look_like_memorisation(size):
    found = [
        distance_ratio(mixture(s, 500), mixture(s + 100, size), mixture(s + 200, 500)).value
        for s in range(10)
    ]
    assert np.mean(found) == pytest.approx(1, abs=0.02)


def test_a_copy_of_both_sets_is_nearer_to_neither():
    zero, one = np.zeros(9), np.ones(9)
    assert memorisation.distance_ratio(zero, zero, one, one).value == 1
    assert memorisation.distance_ratio(zero, one, zero, zero).value == 0
    assert memorisation.distance_ratio(one, zero, one, one).value == 2


def test_authenticity_is_its_definition():
    train, fresh = mixture(11, 300), mixture(12, 200)
    distances = cdist(fresh, train)
    radius = np.sort(cdist(train, train))[:, 1]
    authentic = distances.min(1) >= radius[distances.argmin(1)]
    found = authenticity(fresh, train)
    assert found.value == authentic.mean()
    assert 0 < found.value < 1


def test_authenticity_is_one_far_away_and_calls_copies_of_duplicates_authentic():
    train = mixture(13, 300)
    assert authenticity(train + 1000, train).value == 1
    assert authenticity(train, np.concatenate([train, train])).value == 1


@pytest.mark.parametrize("metric", [distance_ratio, authenticity])
def test_intervals_over_samples_hold_the_expected_value(metric):
    train, held_out = mixture(14, 400), mixture(15, 200)
    found = [metric(planted(mixture(s, 200), train, 0.2), train, held_out) for s in range(200)]
    value, low, high = np.array([each[:3] for each in found]).T
    assert ((low <= value.mean()) & (value.mean() <= high)).mean() > 0.9
    assert (high - low).mean() < 1.25 * 2 * 1.959964 * value.std()


def test_ct_of_one_region_is_the_mann_whitney_z_score():
    train, held_out, fresh = mixture(16, 200), mixture(17, 150), mixture(18, 100)
    a, b = cdist(fresh, train).min(1), cdist(held_out, train).min(1)
    p = stats.mannwhitneyu(a, b, use_continuity=False, alternative="less").pvalue
    found = ct_test(fresh, train, held_out, k=1, seed=0)
    assert found.value == pytest.approx(stats.norm.ppf(p), rel=1e-6)
    assert (found.high - found.value) == pytest.approx(1.959964)


def test_ct_weighs_regions_by_their_held_out_images():
    """Two regions, the samples copies in one and far away in the other."""
    near, away = mixture(19, 400), mixture(20, 400) + 100
    train = np.concatenate([near[:200], away[:200]])
    held_out = np.concatenate([near[200:300], away[200:250]])
    samples = np.concatenate([near[:40], away[250:300] + 30])
    found = ct_test(samples, train, held_out, k=2, seed=0)

    def z(n, m):
        return n * m / 2 / np.sqrt(n * m * (n + m + 1) / 12)

    assert found.value == pytest.approx(-z(40, 100) * 2 / 3 + z(50, 50) / 3)
    assert found.high - found.value == pytest.approx(1.959964 * np.sqrt(5) / 3)


def test_ct_is_standard_under_the_null():
    """The stated interval holds zero in 95% of draws of all three sets."""
    found = [
        ct_test(mixture(s, 300), mixture(s + 1000, 300), mixture(s + 2000, 300), k=4, seed=s)
        for s in range(200)
    ]
    held = np.mean([each.low <= 0 <= each.high for each in found])
    assert 0.91 < held < 0.99


def test_ct_is_above_zero_for_underfitting_and_is_seeded():
    train, held_out, fresh = of_mixture()
    blurred = fresh + 2 * np.random.default_rng(0).normal(size=fresh.shape)
    found = ct_test(blurred, train, held_out, k=5, seed=0)
    assert found.low > 3
    assert found == ct_test(torch.from_numpy(blurred), train, held_out, k=5, seed=0)
    assert found.value != ct_test(blurred, train, held_out, k=5, seed=1).value


def test_ct_flags_regions_that_hold_too_few():
    train = np.concatenate([mixture(21, 200), mixture(22, 200) + 1000])
    found = ct_test(mixture(23, 100), train, mixture(24, 100), k=2, seed=0)
    assert found.flag == "1 of 2 regions hold too few"
    with pytest.raises(ValueError, match="samples: no region holds 20 of them and held-out"):
        ct_test(mixture(23, 19), train, mixture(24, 100), k=2, seed=0)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(2, 60), st.integers(2, 50))
def test_membership_auc_is_scikit_learns_with_ties(seed, n, m, levels):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(levels, size=n) + 0.5, rng.integers(levels, size=m) - 0.5
    truth = np.repeat([1, 0], [n, m])
    found = membership_auc(a, b)
    assert found.value == pytest.approx(roc_auc_score(truth, np.concatenate([a, b])), abs=1e-12)
    turned = membership_auc(b, a)
    assert turned[:3] == pytest.approx((1 - found.value, 1 - found.high, 1 - found.low))


def test_membership_interval_is_delongs():
    a, b = np.random.default_rng(0).normal(0.3, size=60), np.random.default_rng(1).normal(size=80)
    above = (a[:, None] > b).astype(float)
    error = np.sqrt(above.mean(1).var(ddof=1) / 60 + above.mean(0).var(ddof=1) / 80)
    found = membership_auc(torch.from_numpy(a), torch.from_numpy(b))
    assert found.value == pytest.approx(above.mean())
    assert found.high - found.value == pytest.approx(1.959964 * error)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_membership_intervals_hold_the_true_area(shift):
    truth, rng = stats.norm.cdf(shift / np.sqrt(2)), np.random.default_rng(0)
    found = [membership_auc(rng.normal(shift, size=100), rng.normal(size=80)) for _ in range(500)]
    assert 0.92 < np.mean([each.low <= truth <= each.high for each in found]) < 0.98


def test_membership_without_spread_is_flagged():
    high, low, same = np.arange(10.0) + 100, np.arange(10.0), np.ones(10)
    for a, b, value in ((high, low, 1), (low, high, 0), (same, same, 0.5)):
        assert membership_auc(a, b) == (value, value, value, "no spread: no interval")
    assert membership_auc(low + 5, low).flag == ""


GOOD = mixture(25, 100)


@pytest.mark.parametrize("bad", range(4))
def test_the_bad_distances_are_named(bad):
    names = ["to_train", "to_held_out", "fresh_to_train", "fresh_to_other"]
    good = [np.ones(100)] * 4
    for value, message in (
        (np.full(100, np.nan), "100 of 100 rows hold NaN"),
        (np.ones((100, 2)), r"expected shape \((N|100),\), got \(100, 2\)"),
    ):
        with pytest.raises(ValueError, match=f"^{names[bad]}: {message}"):
            memorisation.distance_ratio(*good[:bad], value, *good[bad + 1 :])
    with pytest.raises(ValueError, match=r"expected shape \(\d+,\), got \(\d+,\)"):
        memorisation.distance_ratio(*good[:bad], np.ones(1), *good[bad + 1 :])


def test_hostile_input():
    d, index, radii = np.ones(100), np.arange(100), np.ones(100)
    with pytest.raises(ValueError, match="fresh_to_train: every held-out image stands among the"):
        distance_ratio(GOOD + 1, GOOD, GOOD)
    with pytest.raises(ValueError, match="index: expected 0 to 98, one of train_radii's images"):
        memorisation.authenticity(d, index, radii[:99])
    with pytest.raises(ValueError, match="index: expected 0 to 99"):
        memorisation.authenticity(d, index - 1, radii)
    with pytest.raises(ValueError, match=r"index: expected shape \(100,\), got \(1,\)"):
        memorisation.authenticity(d, index[:1], radii)
    with pytest.raises(ValueError, match="train_radii: 100 of 100 rows hold NaN"):
        memorisation.authenticity(d, index, radii * np.nan)
    with pytest.raises(ValueError, match="train: needs at least 10 rows, got 9"):
        memorisation.regions(GOOD[:9], seed=0)
    with pytest.raises(ValueError, match="k: expected a number >= 1, got 0"):
        memorisation.regions(GOOD, k=0, seed=0)
    partition = memorisation.regions(GOOD, k=2, seed=0)
    with pytest.raises(ValueError, match=r"^to_train: expected shape \(100,\), got \(99,\)"):
        memorisation.ct_test(GOOD, GOOD, d[:99], d, partition)
    with pytest.raises(ValueError, match=r"fresh_to_train: expected shape \(100,\), got \(1,\)"):
        memorisation.ct_test(GOOD, GOOD, d, d[:1], partition)
    with pytest.raises(ValueError, match="samples: have 5 dimensions but reference has 8"):
        memorisation.ct_test(GOOD[:, :5], GOOD, d, d, partition)
    with pytest.raises(ValueError, match=r"members: expected shape \(N,\), got \(100, 8\)"):
        membership_auc(GOOD, GOOD[:, 0])
    with pytest.raises(ValueError, match="non_members: 1 of 2 rows hold NaN or infinity"):
        membership_auc(GOOD[:, 0], np.array([0, -np.inf]))
    with pytest.raises(ValueError, match="members: needs at least 2 rows, got 1"):
        membership_auc(np.ones(1), np.ones(2))
