"""Pixels as tokens: an exact likelihood in bits per dimension."""

from __future__ import annotations

import math

import pytest
import torch


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.test.rows[:8])


@torch.no_grad()
def test_bits_per_dim_are_those_of_the_pixels_in_raster_order(make_model, images):
    model = make_model("pixel-gpt")
    bits = model.bits_per_dim(images, torch.Generator())
    log_p = model.gpt(images.view(8, 64).long()).log_softmax(-1)
    nats = -log_p.gather(2, images.view(8, 64, 1).long()).sum((1, 2))
    torch.testing.assert_close(bits, nats / math.log(2) / 64)


@torch.no_grad()
def test_an_untrained_model_needs_the_bits_of_the_alphabet(make_model, images):
    bits = make_model("pixel-gpt").bits_per_dim(images, torch.Generator()).mean().item()
    assert bits == pytest.approx(math.log2(17), rel=0.03)


def test_training_brings_the_bits_down(make_model, images):
    model = make_model("pixel-gpt", learning_rate=0.02).train()
    stage = model.stages[0]
    batch = stage.prepare(images, torch.zeros(8), torch.Generator())
    for _ in range(60):
        values = stage.step(batch, torch.zeros(len(batch)).long(), torch.Generator())
    model.eval()
    with torch.no_grad():
        bits = model.bits_per_dim(images, torch.Generator()).mean().item()
    assert bits < 0.75 * math.log2(17)
    # The loss that was logged is the same number in nats an image.
    assert values["loss"].item() / 64 / math.log(2) == pytest.approx(bits, rel=0.1)


@torch.no_grad()
def test_samples_are_tokens_as_pixels(make_model):
    model = make_model("pixel-gpt")
    tokens = model.gpt.sample(3, torch.Generator().manual_seed(1))
    images = model.sample(3, torch.Generator().manual_seed(1))
    assert torch.equal(images.view(3, 64).long(), tokens)


@torch.no_grad()
def test_the_generator_has_no_part_in_an_exact_likelihood(make_model, images):
    model = make_model("pixel-gpt")
    one, two = (model.bits_per_dim(images, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert torch.equal(one, two)
