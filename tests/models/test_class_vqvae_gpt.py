"""The class as a start token: it conditions samples, and the likelihood is a mixture over it."""

from __future__ import annotations

import math

import pytest
import torch

from genbench.models.interface import ClassConditional


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.train.rows[:24])


def told_apart(model):
    """Class c begins with code c mod 8, by far, and goes on with anything."""
    with torch.no_grad():
        net = model.gpt.transformer
        net.wte.weight.normal_(generator=generator())
        net.wte.weight[8:] = 10 * net.wte.weight[torch.arange(10) % 8]
        net.wte.weight[:8] *= 3
    return model


@torch.no_grad()
def test_a_classs_codes_begin_as_its_start_token_says(make_model):
    model = told_apart(make_model("class-vqvae-gpt"))
    assert isinstance(model, ClassConditional)
    labels = torch.arange(10).repeat(50)
    codes = model.prior.sample(500, generator(), labels)
    first = model.prior(codes, labels)[:, 0].softmax(-1)
    frequency = torch.stack([
        torch.bincount(codes[labels == c, 0], minlength=8) / 50 for c in range(10)
    ])  # fmt: skip
    assert (frequency - first[:10]).abs().max() < 0.3
    assert len(frequency.argmax(1).unique()) > 3  # the classes do not begin alike
    drawn = model.sample_class(labels, generator())
    assert torch.equal(drawn, model.to_images(codes))


@torch.no_grad()
def test_samples_have_every_class_evenly(make_model, monkeypatch):
    model, seen = make_model("class-vqvae-gpt"), []
    sample = model.prior.sample
    monkeypatch.setattr(
        model.prior, "sample", lambda n, g, labels: seen.append(labels) or sample(n, g, labels)
    )
    model.sample(2000, generator())
    counts = torch.bincount(seen[0], minlength=10)
    assert len(counts) == 10
    assert (counts - 200).abs().max() < 5 * math.sqrt(180)


@torch.no_grad()
def test_the_likelihood_is_the_mean_over_classes(make_model, images):
    model = told_apart(make_model("class-vqvae-gpt"))
    codes = model.codes(images)
    each = torch.stack([
        model.prior(codes, torch.full((24,), c)).log_softmax(-1)
        .gather(2, codes.unsqueeze(2)).sum((1, 2)) for c in range(10)
    ])  # fmt: skip
    log_z = each.double().exp().mean(0).log()
    torch.testing.assert_close(model.code_nats(codes).double(), -log_z, rtol=1e-4, atol=1e-4)
    log_x = model.vqvae.likelihood.log_prob(images, model.decode(codes))
    bits = model.bits_per_dim(images, generator())
    expected = -(log_z + log_x) / math.log(2) / 64
    torch.testing.assert_close(bits.double(), expected, rtol=1e-4, atol=1e-4)
    assert (each.max(0).values - each.min(0).values).min() > 0.1  # a mixture of different things


def test_the_second_stage_learns_codes_given_their_labels(make_model):
    """Codes that are a function of the label: unlearnable without it beyond the mixture's bits."""
    model = make_model("class-vqvae-gpt", learning_rate=0.02).train()
    stage = model.stages[1]
    labels = torch.randint(8, (64,), generator=generator())
    codes = labels.unsqueeze(1).expand(-1, 16).contiguous()
    for _ in range(60):
        loss = stage.step(codes, labels, generator())["loss"]
    # The first code alone is worth log 8 nats to one who does not know the class.
    assert loss < 0.5 * math.log(8)
    model.eval()
    with torch.no_grad():
        right = model.prior_loss(codes, labels).mean()
        wrong = model.prior_loss(codes, (labels + 1) % 8).mean()
        mixture = model.code_nats(codes).mean()
    assert right < 0.5 * math.log(8)
    assert wrong > right + 1
    # All but two classes were learned, and each gives the others' codes next to nothing.
    assert mixture.item() == pytest.approx(math.log(10) + right.item(), abs=0.5)
