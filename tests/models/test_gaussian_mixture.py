"""The mixture of Gaussians: moments against the data's, clusters that were planted, few images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genbench.models.interface import HasLikelihood, to_levels, to_unit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def fit(model, images, seed=0):
    model.stages[0].prepare(images, torch.zeros(len(images)).long(), generator(seed))
    return model


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.train.rows)


def drawn_before_rounding(model, n, monkeypatch):
    """x in floats, as it was before it became grey levels."""
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(
            "genbench.models.gaussian_mixture.to_levels",
            lambda x, levels: seen.append(x) or to_levels(x, levels),
        )
        model.sample(n, generator(1))
    return seen[0].flatten(1)


def test_samples_have_the_means_and_variances_of_the_pixels(make_model, images, monkeypatch):
    """EM keeps the data's mean and covariance along the principal components, and the noise adds
    what they leave."""
    model = fit(make_model("gaussian-mixture", components=10), images)
    x = to_unit(images, 17).flatten(1)
    samples = drawn_before_rounding(model, 40_000, monkeypatch)
    torch.testing.assert_close(samples.mean(0), x.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(samples.std(0), x.std(0), atol=0.03, rtol=0.02)
    assert (model.deviation[x.std(0) > 0.3] > 0.1).any()  # ten components do leave something


def test_samples_have_the_covariance_of_the_principal_components(make_model, images, monkeypatch):
    model = fit(make_model("gaussian-mixture", components=20), images)
    W = model.directions
    torch.testing.assert_close(W @ W.T, torch.eye(20), atol=1e-5, rtol=0)
    x = to_unit(images, 17).flatten(1).double()
    variances = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)[:20].float()
    y = (x.float() - model.mean) @ W.T
    torch.testing.assert_close(y.var(0, correction=0), variances, rtol=1e-3, atol=1e-4)
    samples = drawn_before_rounding(model, 40_000, monkeypatch)
    found = torch.cov(((samples - model.mean) @ W.T).T)
    noise = W @ torch.diag(model.deviation.square()) @ W.T
    expected = torch.diag(variances) + noise
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03 * variances[0].item())


def test_planted_clusters_are_found_with_their_weights(make_model):
    """Three patterns with a little noise, in shares of 1/2, 3/10 and 1/5."""
    patterns = torch.randint(17, (3, 1, 8, 8), generator=generator(5))
    which = torch.arange(10).repeat(200) % 10
    which = torch.where(which < 5, 0, torch.where(which < 8, 1, 2))
    noise = torch.randint(-1, 2, (2000, 1, 8, 8), generator=generator(6))
    images = (patterns[which] + noise).clamp(0, 16).byte()
    model = fit(make_model("gaussian-mixture", components=2, gaussians=3), images)
    assert sorted(model.weights.tolist()) == pytest.approx([0.2, 0.3, 0.5], abs=1e-3)
    samples = model.sample(1000, generator())
    distance = (samples.float() - patterns[:, None].float().squeeze(2)[:, :, None]).abs()
    nearest = distance.flatten(2).mean(2).argmin(0)
    assert distance.flatten(2).mean(2).min(0).values.max() < 2
    shares = torch.bincount(nearest, minlength=3) / 1000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.05, rtol=0)


def log_density(model, images):
    """Mean log-density of images along the principal components, by torch.distributions."""
    K = int((model.weights > 0).sum())
    Q = int((model.directions.abs().sum(1) > 0).sum())
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(model.weights[:K]),
        torch.distributions.MultivariateNormal(
            model.centres[:K, :Q], scale_tril=model.factors[:K, :Q, :Q]
        ),
    )
    y = (to_unit(images, model.data.levels).flatten(1) - model.mean) @ model.directions[:Q].T
    return mixture.log_prob(y).mean().item()


def test_more_gaussians_are_a_better_density_of_images_not_seen(make_model, images, digits):
    held_out = torch.from_numpy(digits.test.rows)
    models = [fit(make_model("gaussian-mixture", components=10, gaussians=k), images)
              for k in (1, 10)]  # fmt: skip
    one, ten = (log_density(model, held_out) for model in models)
    assert ten > one + 1
    # One Gaussian is the data's own along the principal components.
    y = (to_unit(images, 17).flatten(1) - models[0].mean) @ models[0].directions.T
    gaussian = torch.distributions.MultivariateNormal(
        torch.zeros(10), torch.cov(y.T, correction=0) + 1e-6 * torch.eye(10)
    )
    assert log_density(models[0], images) == pytest.approx(gaussian.log_prob(y).mean().item())


@pytest.mark.parametrize(
    ("n", "components", "gaussians"), [(2, 1, 1), (40, 30, 1), (300, 30, 2), (1000, 30, 6)]
)
def test_few_images_get_few_components_and_gaussians(
    make_model, images, n, components, gaussians
):  # fmt: skip
    """min(30, n - 1) components, and one Gaussian for every 5 * components images."""
    model = fit(make_model("gaussian-mixture", components=30, gaussians=50), images[:n])
    assert model.directions.shape == (30, 64)
    assert model.factors.shape == (50, 30, 30)
    assert int((model.directions.abs().sum(1) > 0).sum()) == components
    assert int((model.weights > 0).sum()) == gaussians
    assert model.weights.sum().item() == pytest.approx(1)
    assert torch.isfinite(to_unit(model.sample(50, generator()), 17)).all()


def test_one_image_is_refused(make_model, images):
    with pytest.raises(ValueError, match="expected at least 2, got 1"):
        fit(make_model("gaussian-mixture"), images[:1])


def test_the_fit_is_a_function_of_the_generator_alone(make_model, images):
    def state(seed, **params):
        return fit(make_model("gaussian-mixture", **params), images, seed).state_dict()

    first = state(0)
    np.random.seed(7)  # noqa: NPY002  (scikit-learn's default generator)
    torch.rand(3)
    again, other = state(0), state(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    # All images are fitted to: only the start of EM is another.
    torch.testing.assert_close(first["mean"], other["mean"])
    assert not torch.equal(first["centres"], other["centres"])
    # With some of them kept, the seed picks which.
    assert not torch.allclose(state(0, kept=100)["mean"], state(1, kept=100)["mean"])


def test_a_second_fit_leaves_nothing_of_the_first(make_model, images):
    model = fit(fit(make_model("gaussian-mixture"), images), images[:40])
    alone = fit(make_model("gaussian-mixture"), images[:40])
    for key, value in model.state_dict().items():
        assert torch.equal(value, alone.state_dict()[key])


def test_the_state_carries_all_that_sampling_needs(make_model, images):
    model, other = fit(make_model("gaussian-mixture"), images), make_model("gaussian-mixture")
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.sample(50, generator(3)), other.sample(50, generator(3)))


def test_a_pixel_that_never_changes_is_never_changed(make_model, images):
    model = fit(make_model("gaussian-mixture"), images)
    constant = (images == images[:1]).all(0)
    assert constant.any()
    samples = model.sample(500, generator())
    assert torch.equal(samples[:, constant], images[:1, constant].expand(500, -1))


def test_it_declares_no_likelihood(make_model):
    assert not isinstance(make_model("gaussian-mixture"), HasLikelihood)
