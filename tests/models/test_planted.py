"""Copies among fresh images, in the declared share."""

import pytest
import torch


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_training_images_is_the_declared_one(make_model, digits, share):
    model = make_model("planted", share=share)
    images, labels = (torch.from_numpy(x) for x in (digits.train.rows, digits.train.labels))
    model.stages[0].prepare(images, labels, torch.Generator().manual_seed(0))
    samples = model.sample(200, torch.Generator().manual_seed(1)).numpy()
    seen = {image.tobytes() for image in digits.train.rows}
    fresh = {image.tobytes() for image in digits.validation.rows}
    copies = [image.tobytes() in seen for image in samples]
    assert len(samples) == 200
    assert sum(copies) == pytest.approx(share * 200, abs=1)  # an image may stand in both splits
    assert all(copied or image.tobytes() in fresh for copied, image in zip(copies, samples))  # noqa: B905
    assert len({image.tobytes() for image in samples}) >= 195


def test_copies_are_mixed_in_and_not_in_front(make_model, digits):
    model = make_model("planted", share=0.5)
    images, labels = (torch.from_numpy(x) for x in (digits.train.rows, digits.train.labels))
    model.stages[0].prepare(images, labels, torch.Generator().manual_seed(0))
    samples = model.sample(200, torch.Generator().manual_seed(1)).numpy()
    seen = {image.tobytes() for image in digits.train.rows}
    first = sum(image.tobytes() in seen for image in samples[:100])
    assert 30 < first < 70
