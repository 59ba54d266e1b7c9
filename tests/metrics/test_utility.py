"""What a small classifier learns from images: known answers on the digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genbench.metrics.measured import proportion
from genbench.metrics.utility import (
    augmentation_gain,
    classification_accuracy,
    predict,
    train_classifier,
)


def accuracy(digits, images, labels, seed=0):
    test = digits.test
    return classification_accuracy(
        images, labels, test.rows, test.labels, levels=digits.info.levels, seed=seed
    )


def gain(digits, images, labels, sizes=(50,)):
    train, test = digits.train, digits.test
    return augmentation_gain(
        train.rows, train.labels, images, labels, test.rows, test.labels,
        levels=digits.info.levels, sizes=sizes, seed=0,
    )  # fmt: skip


def test_real_images_teach_nearly_everything(digits):
    found = accuracy(digits, digits.train.rows, digits.train.labels)
    assert found.value > 0.97
    assert found == proportion(round(500 * found.value), 500)


def test_a_seed_gives_the_same_value_on_either_kind_of_array_and_leaves_the_random_state_alone(
    digits,
):
    images, labels = torch.from_numpy(digits.train.rows), torch.from_numpy(digits.train.labels)
    before = torch.get_rng_state()
    few = accuracy(digits, digits.train.rows[:100], digits.train.labels[:100])
    assert 0.5 < few.value < 0.97  # where small differences would show
    with torch.inference_mode():
        assert accuracy(digits, images[:100], labels[:100]) == few
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_train_other_classifiers(digits):
    images, labels = torch.from_numpy(digits.train.rows), torch.from_numpy(digits.train.labels)
    one, two = (
        train_classifier(images[:100], labels[:100], levels=17, classes=10, seed=seed)
        for seed in (0, 1)
    )
    assert not torch.equal(one[-1].weight, two[-1].weight)


def test_shuffled_labels_leave_it_to_chance(digits):
    shuffled = np.random.default_rng(0).permutation(digits.train.labels)
    assert accuracy(digits, digits.train.rows, shuffled).value < 0.25


def test_classes_that_are_missing_are_not_learned(digits):
    there = digits.train.labels < 6
    found = accuracy(digits, digits.train.rows[there], digits.train.labels[there])
    assert 0.55 < found.value <= 0.6  # 50 test images of each class


def test_the_classifier_learns_colours():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    images = rng.integers(0, 100, (60, 3, 16, 16)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label] += 100  # the channel that is bright
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    network = train_classifier(x[:40], y[:40], levels=256, classes=3, seed=0)
    assert torch.equal(predict(network, x[40:]), y[40:])


def test_true_images_beside_few_are_a_gain_and_noise_is_none(digits):
    true = gain(digits, digits.validation.rows, digits.validation.labels, sizes=(50, 1000))
    assert list(true) == [50, 1000]
    assert true[50].low > 0.02
    assert abs(true[1000].value) < 0.02
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 17, digits.train.rows.shape).astype(np.uint8)
    useless = gain(digits, noise, rng.permutation(digits.train.labels))[50]
    assert useless.high < 0.02


def test_the_gain_is_the_difference_of_two_accuracies_over_the_same_images(digits):
    """With all images given, those picked by the seed are all of them, in another order."""
    train = digits.train
    x, y = train.rows[:60], train.labels[:60]
    found = augmentation_gain(
        x, y, train.rows, train.labels, digits.test.rows, digits.test.labels,
        levels=17, sizes=(60,), seed=3,
    )[60]  # fmt: skip
    order = np.random.default_rng(3).permutation(60)
    alone = accuracy(digits, x[order], y[order], seed=3)
    both = (np.concatenate([x[order], train.rows]), np.concatenate([y[order], train.labels]))
    assert found.value == pytest.approx(accuracy(digits, *both, seed=3).value - alone.value)
    # Discordant pairs alone carry the error, so it is at most that of unpaired accuracies.
    assert 0 < found.high - found.low < (alone.high - alone.low) * 2**0.5
    assert found.flag == ""


def test_no_difference_at_all_is_flagged(digits):
    """Two classes and one of them in all sets: both classifiers call everything by it."""
    x, y = digits.train.rows[:20], np.zeros(20, np.int64)
    found = augmentation_gain(x, y, x, y, x, y, levels=17, sizes=(5,), seed=0)[5]
    assert found == (0, 0, 0, "both are right on the same images")


IMAGES, LABELS = np.zeros((6, 1, 8, 8), np.uint8), np.arange(6)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES.astype(np.float32), LABELS, "images: expected uint8, got float32"),
        (np.full((6, 1, 8, 8), np.nan), LABELS, "images: expected uint8, got float64"),
        (IMAGES[:, 0], LABELS, r"images: expected shape \(N, C, H >= 4, W >= 4\), got \(6, 8, 8\)"),
        (IMAGES[..., :3], LABELS, "images: expected shape"),
        (IMAGES[:0], LABELS[:0], "images: needs at least 1 images, got 0"),
        (IMAGES + np.uint8(17), LABELS, "images: expected values in 0..16, got 17"),
        (IMAGES, LABELS.astype(np.int32), "labels: expected int64, got int32"),
        (IMAGES, LABELS[:5], r"labels: expected shape \(6,\), got \(5,\)"),
        (IMAGES, LABELS - 1, "labels: expected values >= 0, got -1"),
        (np.zeros((6, 1, 8, 12), np.uint8), LABELS, "expected images of shape"),
    ],
)
def test_hostile_input(digits, images, labels, message):
    with pytest.raises(ValueError, match=message):
        accuracy(digits, images, labels)
    with pytest.raises(ValueError, match=message):
        gain(digits, images, labels)


def test_the_test_images_are_named_too(digits):
    with pytest.raises(ValueError, match="test_labels: expected int64, got float64"):
        classification_accuracy(IMAGES, LABELS, IMAGES, LABELS * 1.0, levels=17, seed=0)
    with pytest.raises(ValueError, match=r"sizes: expected numbers in 1\.\.1097, got \[0\]"):
        gain(digits, IMAGES, LABELS, sizes=(0,))
