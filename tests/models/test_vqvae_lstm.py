"""The same VQ-VAE with another prior, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from genbench.models.gpt import GPT
from genbench.models.lstm import LSTM


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.train.rows[:24])


def test_the_prior_is_the_only_difference(make_model, images):
    with_lstm, with_gpt = make_model("vqvae-lstm").train(), make_model("vqvae-gpt").train()
    assert isinstance(with_lstm.prior, LSTM)
    assert isinstance(with_gpt.prior, GPT)
    labels = torch.zeros(24, dtype=torch.int64)
    for model in (with_lstm, with_gpt):
        model.stages[0].step(images, labels, generator())
    ours, theirs = with_lstm.vqvae.state_dict(), with_gpt.vqvae.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert [s.share for s in with_lstm.stages] == [s.share for s in with_gpt.stages]
    assert [type(s) for s in with_lstm.stages] == [type(s) for s in with_gpt.stages]


@torch.no_grad()
def test_the_bound_is_the_codes_likelihood_and_the_pixels_given_them(make_model, images):
    model = make_model("vqvae-lstm")
    codes = model.codes(images)
    log_z = model.prior(codes).log_softmax(-1).gather(2, codes.unsqueeze(2)).sum((1, 2))
    log_x = model.vqvae.likelihood.log_prob(images, model.decode(codes))
    bits = model.bits_per_dim(images, generator())
    torch.testing.assert_close(bits, -(log_z + log_x) / math.log(2) / 64)


@torch.no_grad()
def test_samples_are_decoded_codes_of_the_prior(make_model):
    model = make_model("vqvae-lstm")
    codes = model.prior.sample(4, generator(3))
    assert torch.equal(model.sample(4, generator(3)), model.to_images(codes))


def test_training_brings_the_codes_nats_down(make_model, images):
    model = make_model("vqvae-lstm", learning_rate=0.02).train()
    labels = torch.zeros(24, dtype=torch.int64)
    for _ in range(10):
        model.stages[0].step(images, labels, generator())
    codes = model.stages[1].prepare(images, labels, generator())
    losses = [model.stages[1].step(codes, labels, generator())["loss"] for _ in range(60)]
    assert losses[-1] < 0.6 * losses[0]


def test_steps_cost_by_formula_and_sampling_pays_for_prior_and_decoder(make_model):
    model = make_model("vqvae-lstm")
    assert model.stages[1].step_flops(5) == 5 * model.prior.train_flops()
    assert model.sample_flops() == model.prior.sample_flops() + sum(model.layer_flops()[2])
