"""The codebook, the two stages, and the bound of the likelihood."""

from __future__ import annotations

import math

import pytest
import torch

from genbench.models.interface import HasLatentPosterior, to_levels, to_unit
from genbench.models.vqvae_gpt import Codebook


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.train.rows[:24])


@torch.no_grad()
def test_the_nearest_code_is_taken():
    codebook = Codebook(11, 5, 0.9)
    h = 2 * torch.randn(300, 5, generator=generator())
    distances = torch.cdist(h.double(), codebook.codes.double())
    assert torch.equal(codebook(h), distances.argmin(1))


@torch.no_grad()
def test_codes_move_to_the_means_of_what_is_assigned_to_them():
    codebook = Codebook(3, 2, decay=0.5)
    h = torch.tensor([[0.0, 0], [2, 0], [9, 9], [11, 9], [10, 12], [-5, -5], [-5, -7]])
    index = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    for _ in range(40):
        codebook.follow(h, index, generator())
    means = torch.tensor([[1.0, 0], [10, 10], [-5, -6]])
    torch.testing.assert_close(codebook.codes, means)
    torch.testing.assert_close(codebook.counts, torch.tensor([2.0, 3, 2]))


@torch.no_grad()
def test_one_update_is_a_step_of_the_moving_averages():
    codebook = Codebook(2, 2, decay=0.9)
    codebook.counts.fill_(4.0)
    codebook.sums.copy_(torch.tensor([[4.0, 0], [0, 4]]))
    h = torch.tensor([[2.0, 2], [4, 4], [0, 8]])
    codebook.follow(h, torch.tensor([0, 0, 1]), generator())
    counts = 0.9 * 4 + 0.1 * torch.tensor([2.0, 1])
    sums = 0.9 * torch.tensor([[4.0, 0], [0, 4]]) + 0.1 * torch.tensor([[6.0, 6], [0, 8]])
    torch.testing.assert_close(codebook.codes, sums / counts.unsqueeze(1))


@torch.no_grad()
def test_codes_out_of_use_restart_at_vectors_of_the_batch():
    codebook = Codebook(8, 3, decay=0.99)
    h = torch.randn(100, 3, generator=generator())
    codebook.follow(h, codebook(h), generator(1))  # counts of zero: all restart
    distances = torch.cdist(codebook.codes.double(), h.double()).min(1).values
    assert distances.max() < 1e-5
    # A code that nothing is assigned to any more restarts, and not before its average says so.
    codebook.codes[0] = 1000.0
    codebook.sums[0] = 1000.0 * codebook.counts[0]
    lonely = 0
    while codebook.codes[0].norm() > 100:
        codebook.follow(h, codebook(h), generator(2))
        lonely += 1
        assert lonely < 500
    assert lonely > 20
    assert torch.isfinite(codebook.codes).all()


@torch.no_grad()
def test_codes_in_use_do_not_restart():
    codebook = Codebook(4, 3, decay=0.9)
    h = torch.randn(200, 3, generator=generator())
    index = torch.arange(200) % 4
    for step in range(100):
        codebook.follow(h, index, generator(step))
    means = torch.stack([h[index == k].mean(0) for k in range(4)])
    torch.testing.assert_close(codebook.codes, means, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_codes_lookup_and_rows_keep_the_grids_order(make_model, images):
    model = make_model("vqvae-gpt")
    h = model.vqvae.encoder(to_unit(images, 17))
    assert h.shape == (24, 4, 4, 4)
    # Codes at eight of the encoder's outputs, so that many are in use.
    model.vqvae.codebook.codes.copy_(h[3].flatten(1).T[::2])
    codes = model.codes(images)
    assert codes.shape == (24, 16)
    assert len(codes.unique()) > 4
    # Position (r, c) of the grid is the code number 4 r + c, one by one.
    for r, c in [(0, 0), (0, 3), (2, 1), (3, 3)]:
        nearest = torch.cdist(h[:, :, r, c], model.vqvae.codebook.codes).argmin(1)
        assert (codes[:, 4 * r + c] == nearest).float().mean() > 0.9  # but for ties
        expected = model.vqvae.codebook.codes[codes[:, 4 * r + c]]
        assert torch.equal(model.lookup(codes)[:, :, r, c], expected)


@torch.no_grad()
def test_the_bound_is_the_codes_likelihood_and_the_pixels_given_them(make_model, images):
    model = make_model("vqvae-gpt")
    bits = model.bits_per_dim(images, generator())
    codes = model.codes(images)
    log_z = model.gpt(codes).log_softmax(-1).gather(2, codes.unsqueeze(2)).sum((1, 2))
    mean = model.vqvae.decoder(model.lookup(codes))
    log_x = torch.stack(
        [
            model.vqvae.likelihood.log_prob(x.unsqueeze(0), m.unsqueeze(0))[0]
            for x, m in zip(images, mean, strict=True)
        ]
    )
    torch.testing.assert_close(bits, -(log_z + log_x) / math.log(2) / 64)


@torch.no_grad()
def test_the_bound_is_no_less_than_the_bits_by_more_codes_than_its_own(make_model, images):
    """p(x) is a sum over all codes; a part of it that holds the encoder's is a better bound."""
    model = make_model("vqvae-gpt", codes=2)
    generated = model.gpt.sample(400, generator())
    sequences = generated.unique(dim=0)
    x = images[:1]
    own = model.codes(x)
    some = torch.cat([sequences, own]).unique(dim=0)
    log_z = -model.gpt.negative_log_likelihood(some)
    log_x = model.vqvae.likelihood.log_prob(x.expand(len(some), -1, -1, -1), model.decode(some))
    partial = torch.logsumexp(log_z + log_x, 0)
    bound = -model.bits_per_dim(x, generator())[0] * math.log(2) * 64
    assert bound <= partial + 1e-3


def test_the_gradient_passes_straight_through(make_model, images):
    """The encoder's gradient of the distortion is that of the codes it was replaced by."""
    model = make_model("vqvae-gpt")
    net = model.vqvae
    h = net.encoder(to_unit(images, 17))
    code = model.lookup(model.codes(images)).detach().requires_grad_(True)
    (-net.likelihood.log_prob(images, net.decoder(code)).mean()).backward()
    expected = torch.autograd.grad(h, net.encoder[0].weight, grad_outputs=code.grad)[0]
    for parameter in net.parameters():
        parameter.grad = None

    stage = model.stages[0]
    model.params = model.params.model_copy(update={"commitment": 0.0})
    stage.optimisers["vqvae"].step = lambda: None
    model.train()
    stage.step(images, torch.zeros(len(images)).long(), generator())
    torch.testing.assert_close(net.encoder[0].weight.grad, expected, rtol=1e-4, atol=1e-5)


def test_the_loss_is_distortion_and_weighted_commitment(make_model, images):
    model = make_model("vqvae-gpt", commitment=0.5).train()
    with torch.no_grad():
        h = model.vqvae.encoder(to_unit(images, 17))
        codes = model.codes(images)
        commitment = (h - model.lookup(codes)).square().sum((1, 2, 3)).mean()
        distortion = -model.vqvae.likelihood.log_prob(images, model.decode(codes)).mean()
    values = model.stages[0].step(images, torch.zeros(len(images)).long(), generator())
    torch.testing.assert_close(values["commitment"], commitment)
    torch.testing.assert_close(values["distortion"], distortion)
    torch.testing.assert_close(values["loss"], distortion + 0.5 * commitment)
    used = torch.bincount(codes.flatten(), minlength=8) / codes.numel()
    perplexity = torch.exp(-(used * used.clamp(min=1e-12).log()).sum())
    torch.testing.assert_close(values["codebook_perplexity"], perplexity)


def test_the_second_stage_learns_the_codes_of_the_finished_first(make_model, images):
    model = make_model("vqvae-gpt").train()
    before = {k: v.clone() for k, v in model.vqvae.state_dict().items()}
    first, second = model.stages
    prepared = second.prepare(images, torch.zeros(24), generator())
    assert torch.equal(prepared, model.codes(images))
    second.step(prepared[:16], torch.zeros(len(prepared[:16])).long(), generator())
    assert all(torch.equal(v, before[k]) for k, v in model.vqvae.state_dict().items())
    assert first.share + second.share == 1


@torch.no_grad()
def test_samples_are_decoded_codes_of_the_prior(make_model):
    model = make_model("vqvae-gpt")
    codes = model.gpt.sample(4, generator(3))
    expected = to_levels(model.vqvae.decoder(model.lookup(codes)), 17)
    assert torch.equal(model.sample(4, generator(3)), expected)


@torch.no_grad()
def test_reconstruction_goes_through_the_codes(make_model, images):
    model = make_model("vqvae-gpt")
    expected = to_levels(model.decode(model.codes(images)), 17)
    assert torch.equal(model.reconstruct(images), expected)


def test_codes_are_no_posterior_to_weigh_samples_from(make_model):
    assert not isinstance(make_model("vqvae-gpt"), HasLatentPosterior)


def test_the_first_stage_learns_in_bfloat16_as_in_float32(make_model, images):
    """Within a twentieth of the loss over 30 steps; the codebook and the loss stay float32."""
    curves = {}
    for dtype in ("float32", "bfloat16"):
        model = make_model("vqvae-gpt", width=8, learning_rate=0.01).train()
        losses = []
        for step in range(30):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                values = model.stages[0].step(images, torch.zeros(24).long(), generator(step))
            assert values["loss"].dtype == torch.float32
            losses.append(values["loss"].item())
        assert all(b.dtype == torch.float32 for b in model.vqvae.buffers())
        curves[dtype] = torch.tensor(losses)
    assert curves["float32"][-1] < 0.8 * curves["float32"][0]
    assert not torch.equal(*curves.values())
    torch.testing.assert_close(curves["bfloat16"], curves["float32"], rtol=0.05, atol=0)


@torch.no_grad()
def test_the_nearest_code_is_taken_in_float32_under_autocast():
    codebook = Codebook(200, 5, 0.9)
    h = torch.randn(300, 5, generator=generator())
    expected = codebook(h)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(codebook(h), expected)
        rounded = (codebook.codes.square().sum(1) - 2 * h @ codebook.codes.T).argmin(1)
    assert not torch.equal(rounded, expected)
