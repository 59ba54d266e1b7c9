"""Controls: each has the property that its row in the tables is there to show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import CONTROLS

from genbench.models.interface import ClassConditional


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def fitted(make_model, digits):
    def fit(name, seed=0, n=None, **params):
        model = make_model(name, **params)
        images = torch.from_numpy(digits.train.rows[:n])
        labels = torch.from_numpy(digits.train.labels[:n])
        model.stages[0].prepare(images, labels, generator(seed))
        return model

    return fit


def rows(images) -> set[bytes]:
    return {np.asarray(image).tobytes() for image in images}


@pytest.fixture
def training(digits):
    return rows(digits.train.rows)


def index_of(digits):
    return {image.tobytes(): i for i, image in enumerate(digits.train.rows)}


def test_the_train_split_is_real_and_distinct(fitted, digits, training):
    samples = fitted("train-split").sample(300, generator(1)).numpy()
    assert len(samples) == 300
    assert rows(samples) <= training
    # As distinct as the images themselves: some digits of the data set are there twice.
    assert len(rows(samples)) >= 300 - (len(digits.train) - len(training))


def test_the_train_split_gives_no_image_twice_even_when_asked_for_more(fitted, digits, training):
    samples = fitted("train-split").sample(10_000, generator(1)).numpy()
    assert len(samples) == len(digits.train)
    assert rows(samples) == training


def test_a_seed_picks_the_images_that_are_kept(fitted):
    one, two = fitted("train-split", kept=50), fitted("train-split", seed=1, kept=50)
    assert rows(one.kept.numpy()) != rows(two.kept.numpy())
    assert len(one.sample(100, generator())) == 50


def test_the_copier_repeats_a_few_images(fitted, training):
    samples = fitted("copier", copied=30).sample(2000, generator(1)).numpy()
    assert len(samples) == 2000
    assert rows(samples) <= training
    assert len(rows(samples)) <= 30
    # With replacement: 2,000 draws of 30 leave none out.
    assert len(rows(samples)) >= 29


def test_class_dropped_has_no_image_of_the_last_class(fitted, digits):
    samples = fitted("class-dropped").sample(500, generator(1)).numpy()
    index = index_of(digits)
    labels = {int(digits.train.labels[index[image.tobytes()]]) for image in samples}
    assert labels == set(range(9))


def energy_of_high_frequencies(images) -> float:
    spectrum = np.abs(np.fft.fft2(images[:, 0].astype(float))) ** 2
    frequency = np.abs(np.fft.fftfreq(8))
    high = np.maximum.outer(frequency, frequency) > 0.3
    return float(spectrum[:, high].sum() / spectrum.sum())


def test_blurred_loses_its_high_frequencies_and_keeps_its_brightness(fitted):
    sharp = fitted("train-split").sample(500, generator(1)).numpy()
    blurred = fitted("blurred").sample(500, generator(1)).numpy()
    assert blurred.dtype == np.uint8
    assert energy_of_high_frequencies(blurred) < 0.5 * energy_of_high_frequencies(sharp)
    assert blurred.mean() == pytest.approx(sharp.mean(), rel=0.05)


def test_the_pixel_gaussian_has_each_pixels_mean_and_deviation(fitted, digits):
    model = fitted("pixel-gaussian")
    x = digits.train.rows[:, 0].astype(float) / 8 - 1
    np.testing.assert_allclose(model.mean[0].numpy(), x.mean(0), atol=1e-5)
    np.testing.assert_allclose(model.deviation[0].numpy(), x.std(0, ddof=1), atol=1e-4)
    samples = model.sample(20_000, generator(1)).numpy()[:, 0].astype(float)
    # Where clamping to the grey range changes nothing to speak of, the samples have them too.
    real = digits.train.rows[:, 0].astype(float)
    mean, deviation = real.mean(0), real.std(0)
    inside = (mean - 2.5 * deviation > 0) & (mean + 2.5 * deviation < 16)
    inside |= deviation == 0
    np.testing.assert_allclose(samples.mean(0)[inside], mean[inside], atol=0.1)
    # Pixels are independent of each other.
    central = samples[:, 3:5, 3:5].reshape(-1, 4)
    correlation = np.corrcoef(central, rowvar=False) - np.eye(4)
    assert np.abs(correlation).max() < 0.04


def test_noise_is_uniform_over_the_grey_levels(fitted):
    samples = fitted("noise").sample(2000, generator(1)).numpy()
    counts = np.bincount(samples.ravel(), minlength=17)
    assert len(counts) == 17
    expected = samples.size / 17
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 45  # 16 degrees of freedom: passed once in 10,000


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_has_no_step_and_no_parameter(fitted, name):
    model = fitted(name)
    assert list(model.parameters()) == []
    with pytest.raises(TypeError, match="no training step"):
        model.stages[0].step(torch.zeros(1), torch.zeros(1), generator())


def test_a_control_samples_from_what_it_was_fitted_to_and_state_dict_carries_it(fitted, make_model):
    model = fitted("copier", copied=20)
    other = make_model("copier", copied=20)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.sample(50, generator(3)), other.sample(50, generator(3)))


def test_only_controls_with_labels_to_go_by_can_be_asked_for_a_class(make_model):
    conditional = {name for name in CONTROLS if isinstance(make_model(name), ClassConditional)}
    assert conditional == {"train-split", "copier", "blurred", "noise"}


@pytest.mark.parametrize("name", ["train-split", "copier"])
def test_images_of_a_class_are_training_images_with_that_label(fitted, digits, name):
    model = fitted(name, copied=200)
    labels = torch.randint(10, (300,), generator=generator(5))
    samples = model.sample_class(labels, generator(1))
    assert samples.dtype == torch.uint8
    # A training image's label, for all images that are there with one label alone.
    known = {}
    for image, label in zip(digits.train.rows, digits.train.labels, strict=True):
        known.setdefault(image.tobytes(), set()).add(int(label))
    for image, label in zip(samples.numpy(), labels.tolist(), strict=True):
        assert label in known[image.tobytes()]
    assert torch.equal(samples, model.sample_class(labels, generator(1)))
    assert not torch.equal(samples, model.sample_class(labels, generator(2)))


def test_a_class_gives_all_its_images_before_any_again(fitted):
    model = fitted("copier", copied=100)
    own = model.kept[model.labels == 3]
    once = model.sample_class(torch.full((len(own),), 3), generator())
    assert sorted(map(bytes, once.flatten(1).numpy())) == sorted(map(bytes, own.flatten(1).numpy()))
    assert rows(model.sample_class(torch.full((500,), 3), generator())) == rows(own.numpy())


def test_a_class_of_which_nothing_was_kept_is_an_error(fitted):
    model = fitted("copier", copied=1)
    missing = (int(model.labels[0]) + 1) % 10
    with pytest.raises(ValueError, match=f"labels: no image of class {missing} was kept"):
        model.sample_class(torch.tensor([missing]), generator())


def test_blurred_images_of_a_class_are_its_images_blurred(fitted):
    sharp, blurred = fitted("train-split"), fitted("blurred")
    labels = torch.arange(40) % 10
    found = blurred.sample_class(labels, generator(1))
    assert torch.equal(found, blurred.blur(sharp.sample_class(labels, generator(1))))
    assert not torch.equal(found, sharp.sample_class(labels, generator(1)))


def test_noise_of_a_class_is_noise(fitted):
    model = fitted("noise")
    samples = model.sample_class(torch.arange(7), generator(1))
    assert torch.equal(samples, model.sample(7, generator(1)))


def test_labels_are_part_of_the_state(fitted, make_model):
    model, other = fitted("train-split"), make_model("train-split")
    other.load_state_dict(model.state_dict())
    labels = torch.arange(30) % 10
    assert torch.equal(
        model.sample_class(labels, generator()), other.sample_class(labels, generator())
    )
