"""The frequencies of codes at each place, and what is sampled and bounded with them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from genbench.data import DATASETS
from genbench.models import vqvae
from genbench.models.interface import HasLatentPosterior, to_levels, to_unit
from genbench.models.vqvae import SMOOTHING, CountingCodebook
from genbench.suite import TrainSpec
from genbench.training import average


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.train.rows[:24])


LABELS = torch.zeros(24).long()


@pytest.fixture
def trained(make_model, images):
    """Some steps in, with several codes in use."""
    model = make_model("vqvae", learning_rate=0.01, codebook_decay=0.8).train()
    for step in range(40):
        model.stages[0].step(images, LABELS, generator(step))
    return model.eval()


def test_frequencies_are_running_averages_at_each_place():
    codebook = CountingCodebook(3, 2, decay=0.9, places=2)
    h = torch.randn(8, 2, generator=generator())
    # Four images of two places: the first place has codes 0, 0, 0, 1 and the second 2, 2, 1, 1.
    codebook.follow(h, torch.tensor([0, 2, 0, 2, 0, 1, 1, 1]), generator())
    found = torch.tensor([[0.75, 0.25, 0], [0, 0.5, 0.5]])
    torch.testing.assert_close(codebook.frequencies, 0.9 / 3 + 0.1 * found)
    for _ in range(200):
        codebook.follow(h, torch.tensor([0, 2, 0, 2, 0, 1, 1, 1]), generator())
    torch.testing.assert_close(codebook.frequencies, found)


def test_marginals_are_probabilities_and_none_is_zero():
    codebook = CountingCodebook(5, 2, decay=0.9, places=3)
    codebook.frequencies.copy_(torch.eye(5)[:3])
    marginals = codebook.marginals()
    torch.testing.assert_close(marginals.sum(1), torch.ones(3))
    torch.testing.assert_close(marginals.min(), torch.tensor(SMOOTHING / 5))
    torch.testing.assert_close(marginals[1, 1], torch.tensor(1 - SMOOTHING * 4 / 5))


def test_a_step_counts_the_codes_of_its_batch_at_their_places(make_model, images):
    model = make_model("vqvae", codebook_decay=0.75).train()
    with torch.no_grad():
        h = model.vqvae.encoder(to_unit(images, 17))
        model.vqvae.codebook.codes.copy_(h[3].flatten(1).T[::2])  # so that many codes are in use
        codes = model.codes(images)
    assert len(codes.unique()) > 4
    model.stages[0].step(images, LABELS, generator())
    for place in range(16):
        found = torch.bincount(codes[:, place], minlength=8) / 24
        expected = 0.75 / 8 + 0.25 * found
        torch.testing.assert_close(model.vqvae.codebook.frequencies[place], expected)


def test_training_is_the_first_stage_of_the_model_with_a_prior(make_model, images):
    alone, both = make_model("vqvae").train(), make_model("vqvae-gpt").train()
    both.vqvae.load_state_dict(alone.vqvae.state_dict(), strict=False)
    for step in range(3):
        values = alone.stages[0].step(images, LABELS, generator(step))
        expected = both.stages[0].step(images, LABELS, generator(step))
        assert values == expected
    assert alone.stages[0].share == 1
    assert len(alone.stages) == 1


def test_frequencies_are_averaged_with_the_network(make_model, images):
    """What is sampled at a fraction of the budget is the averaged network with its buffers."""
    model = make_model("vqvae").train()
    stage = model.stages[0]
    averaged = average(stage.network, TrainSpec(ema_half_life=0.5), 4)
    seen = []
    for step in range(4):
        stage.step(images, LABELS, generator(step))
        averaged.update_parameters(stage.network)
        seen.append(model.vqvae.codebook.frequencies.clone())
    found = averaged.module.codebook.frequencies
    torch.testing.assert_close(found.sum(1), torch.ones(16))
    assert not torch.equal(found, seen[0])
    assert not torch.equal(found, seen[-1])
    low, high = torch.stack(seen).amin(0), torch.stack(seen).amax(0)
    assert ((found >= low - 1e-6) & (found <= high + 1e-6)).all()


@torch.no_grad()
def test_the_bound_is_the_codes_marginals_and_the_pixels_given_them(trained, images):
    codes = trained.codes(images).numpy()
    assert len(np.unique(codes)) > 3
    p = trained.vqvae.codebook.marginals().double().numpy()
    log_z = [sum(math.log(p[t, row[t]]) for t in range(16)) for row in codes]
    log_x = trained.vqvae.likelihood.log_prob(images, trained.decode(torch.from_numpy(codes)))
    expected = -(np.array(log_z) + log_x.double().numpy()) / math.log(2) / 64
    bits = trained.bits_per_dim(images, generator())
    np.testing.assert_allclose(bits.numpy(), expected, rtol=1e-5)
    assert not isinstance(trained, HasLatentPosterior)


@torch.no_grad()
def test_bounded_bits_leave_a_sum_of_no_more_than_one():
    data = dataclasses.replace(DATASETS["digits"], shape=(1, 4, 4), levels=2)
    torch.manual_seed(0)
    params = vqvae.Params(width=4, codes=4, code_width=4, downsampling=2)
    model = vqvae.VQVAEMarginals(params, data)
    bits = np.unpackbits(np.arange(65536, dtype=">u2").view(np.uint8).reshape(-1, 2), axis=1)
    images = torch.from_numpy(bits).view(-1, 1, 4, 4)
    each = torch.cat([model.bits_per_dim(part, generator()) for part in images.split(8192)])
    assert 0 < (2 ** (-16 * each.double())).sum().item() <= 1


@torch.no_grad()
def test_sampled_codes_have_their_places_marginals_and_are_independent(trained, monkeypatch):
    seen = []
    decode = trained.decode
    monkeypatch.setattr(trained, "decode", lambda codes: seen.append(codes) or decode(codes))
    samples = trained.sample(4000, generator(1))
    (codes,) = seen
    assert codes.shape == (4000, 16)
    assert torch.equal(samples, to_levels(decode(codes), 17))
    p = trained.vqvae.codebook.marginals()
    found = torch.nn.functional.one_hot(codes, 8).float().mean(0)
    torch.testing.assert_close(found, p, atol=0.04, rtol=0)
    # Places that are neighbours, and depend on each other in images, do not in samples.
    a, b = torch.nn.functional.one_hot(codes[:, [5, 6]], 8).float().unbind(1)
    torch.testing.assert_close(a.T @ b / 4000, p[5].outer(p[6]), atol=0.04, rtol=0)


@torch.no_grad()
def test_reconstruction_goes_through_the_codes(trained, images):
    expected = to_levels(trained.vqvae.decoder(trained.lookup(trained.codes(images))), 17)
    assert torch.equal(trained.reconstruct(images), expected)


@torch.no_grad()
def test_codes_and_lookup_keep_the_grids_order(trained, images):
    h = trained.vqvae.encoder(to_unit(images, 17))
    codes = trained.codes(images)
    for r, c in [(0, 3), (2, 1), (3, 3)]:
        nearest = torch.cdist(h[:, :, r, c], trained.vqvae.codebook.codes).argmin(1)
        assert (codes[:, 4 * r + c] == nearest).float().mean() > 0.9  # but for ties
        expected = trained.vqvae.codebook.codes[codes[:, 4 * r + c]]
        assert torch.equal(trained.lookup(codes)[:, :, r, c], expected)
