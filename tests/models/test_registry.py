"""The register of models, and what every one of them promises."""

from __future__ import annotations

import pytest
import torch
from conftest import CONTROLS, TRAINED, tiny_cell

from genbench.data import DATASETS
from genbench.errors import UserError
from genbench.models import FAMILIES, MODELS, build, resolve
from genbench.models.interface import (
    ClassConditional,
    HasLikelihood,
    Reconstructs,
    gradient_norm,
    to_levels,
    to_unit,
)
from genbench.suite import ModelSpec
from genbench.training import new_model

SHAPES = [
    *((name, data) for name in (*TRAINED, *CONTROLS) for data in ("digits", "mnist")
      if (name, data) != ("pixel-gpt", "mnist")),
]  # fmt: skip

LIKELIHOODS = {
    "mlp-vae": "bpd_bound", "vae": "bpd_bound", "beta-vae": "bpd_bound", "cvae": "bpd_bound",
    "vqvae": "bpd_bound", "diffusion": "bpd_bound", "pixel-gpt": "bpd", "vqvae-gpt": "bpd_bound",
    "class-vqvae-gpt": "bpd_bound", "vqvae-lstm": "bpd_bound",
}  # fmt: skip


def fitted(make_model, name, data):
    model = make_model(name, data)
    if name in CONTROLS:
        info = DATASETS[data]
        generator = torch.Generator().manual_seed(3)
        images = torch.randint(info.levels, (40, *info.shape), generator=generator).byte()
        labels = torch.arange(40) % info.classes
        model.stages[0].prepare(images, labels, generator)
    return model


def draw(model, n, seed=0):
    with torch.inference_mode():
        return model.sample(n, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "data"), SHAPES)
def test_samples_are_grey_levels_of_the_data_sets_shape(make_model, name, data):
    model, info = fitted(make_model, name, data), DATASETS[data]
    samples = draw(model, 5)
    assert samples.shape == (5, *info.shape)
    assert samples.dtype == torch.uint8
    assert samples.max() <= info.levels - 1


@pytest.mark.parametrize(("name", "data"), SHAPES)
def test_samples_are_a_function_of_the_generator_alone(make_model, name, data):
    model = fitted(make_model, name, data)
    first = draw(model, 6)
    torch.rand(11)  # the global generator has moved
    state = torch.get_rng_state()
    assert torch.equal(draw(model, 6), first)
    assert torch.equal(torch.get_rng_state(), state)
    if name not in TRAINED:  # an untrained network may well draw one image over and over
        assert not torch.equal(draw(model, 6, seed=1), first)


@pytest.mark.parametrize("name", TRAINED)
def test_initial_weights_are_a_function_of_the_seed_alone(name):
    first = new_model(tiny_cell(name), "cpu").state_dict()
    torch.manual_seed(12345)
    again = new_model(tiny_cell(name), "cpu").state_dict()
    other = new_model(tiny_cell(name, seed=1), "cpu").state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", TRAINED)
def test_a_stages_network_and_optimisers_cover_what_is_trained(make_model, name):
    model = make_model(name)
    trained = {
        id(p)
        for stage in model.stages
        for optimiser in stage.optimisers.values()
        for group in optimiser.param_groups
        for p in group["params"]
    }
    assert trained == {id(p) for p in model.parameters()}
    assert sum(stage.share for stage in model.stages) == pytest.approx(1)
    modules = set(model.modules())
    assert all(stage.network in modules for stage in model.stages)


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_returns_detached_finite_scalars_and_moves_the_weights(make_model, digits, name):
    model = make_model(name).train()
    images = torch.from_numpy(digits.train.rows[:32])
    labels = torch.from_numpy(digits.train.labels[:32])
    generator = torch.Generator().manual_seed(0)
    for stage in model.stages:
        batch = stage.prepare(images, labels, generator)[:16]
        before = [p.clone() for p in stage.network.parameters()]
        values = stage.step(batch, torch.zeros(len(batch)).long(), generator)
        assert all(value.ndim == 0 for value in values.values())
        assert all(not value.requires_grad for value in values.values())
        assert all(torch.isfinite(value) for value in values.values())
        assert any("loss" in name for name in values)
        assert any("gradient_norm" in name for name in values)
        after = stage.network.parameters()
        assert all(not torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_who_has_a_likelihood_and_who_reconstructs(make_model):
    needed = {"distorted": {"kind": "blur", "strength": 1.0}, "planted": {"share": 0.5}}
    of_images = [name for name, info in MODELS.items() if "images" in info.modalities]
    models = {name: make_model(name, **needed.get(name, {})) for name in of_images}
    bounds = {n: m.likelihood for n, m in models.items() if isinstance(m, HasLikelihood)}
    assert bounds == LIKELIHOODS
    assert {n for n, m in models.items() if isinstance(m, Reconstructs)} == {
        "mlp-vae", "vae", "beta-vae", "cvae", "vqvae", "vae-gan", "vqvae-gpt",
        "class-vqvae-gpt", "vqvae-lstm",
    }  # fmt: skip
    # What can be asked for a class was told the classes; a control learns nothing.
    labelled = {n for n, m in models.items() if isinstance(m, ClassConditional)}
    trained = {n for n in of_images if MODELS[n].family != "control"}
    assert labelled & trained == {n for n in of_images if MODELS[n].labelled}


@pytest.mark.parametrize(("name", "data"), [each for each in SHAPES if each[0] in LIKELIHOODS])
def test_bits_and_reconstructions_have_the_declared_shapes(make_model, name, data):
    model, info = make_model(name, data), DATASETS[data]
    images = torch.randint(info.levels, (4, *info.shape)).byte()
    with torch.inference_mode():
        bits = model.bits_per_dim(images, torch.Generator().manual_seed(0))
        assert bits.shape == (4,)
        assert (bits > 0).all()
        if isinstance(model, Reconstructs):
            rebuilt = model.reconstruct(images)
            assert rebuilt.shape == images.shape
            assert rebuilt.dtype == torch.uint8


def test_unknown_models_and_parameters_are_refused():
    with pytest.raises(UserError, match="unknown model 'dcgam'; did you mean 'dcgan'"):
        resolve(ModelSpec(name="dcgam"))
    with pytest.raises(UserError, match="unknown key 'widht'; did you mean 'width'"):
        resolve(ModelSpec(name="vae", params={"widht": 3}))
    with pytest.raises(UserError, match="width 10 is not a multiple of heads 4"):
        resolve(ModelSpec(name="pixel-gpt", params={"width": 10}))
    with pytest.raises(UserError, match="prior_width 10 is not a multiple of prior_heads 4"):
        resolve(ModelSpec(name="vqvae-gpt", params={"prior_width": 10}))
    with pytest.raises(UserError, match="downsampling"):
        resolve(ModelSpec(name="vqvae-gpt", params={"downsampling": 3}))


@pytest.mark.parametrize("modality", ["text", "music"])
def test_models_of_tokens_keep_what_every_model_promises(modality):
    info = DATASETS[{"text": "descriptions", "music": "chorales"}[modality]]
    likelihoods = {}
    for name, known in MODELS.items():
        if modality not in known.modalities:
            continue
        torch.manual_seed(0)
        model = build(ModelSpec(name=name), info).eval()
        generator = torch.Generator().manual_seed(1)
        rows = torch.randint(info.levels, (20, *info.shape), generator=generator).byte()
        prepared = model.stages[0].prepare(rows, torch.zeros(20).long(), generator)
        assert prepared.dtype == torch.uint8  # or nothing could be augmented
        samples = draw(model, 3)
        assert samples.shape == (3, *info.shape)
        assert samples.dtype == torch.uint8
        assert samples.max() < info.levels
        if isinstance(model, HasLikelihood):
            likelihoods[name] = model.likelihood
    assert likelihoods == {
        "token-vae": "bpd_bound", "token-gpt": "bpd", "token-lstm": "bpd", "ngram": "bpd",
    }  # fmt: skip


def test_every_family_is_known():
    assert {info.family for info in MODELS.values()} == set(FAMILIES)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_grey_levels_survive_the_way_to_the_unit_range_and_back(levels):
    images = torch.arange(levels).byte()
    x = to_unit(images, levels)
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.equal(to_levels(x, levels), images)
    # Anything nearer than half a level belongs to it; what is beyond the range is clamped.
    assert torch.equal(to_levels(x + 0.49 * 2 / (levels - 1), levels), images)
    assert to_levels(torch.tensor([-9.0, 9.0]), levels).tolist() == [0, levels - 1]


def test_gradient_norm_is_that_of_all_gradients_as_one_vector():
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    network(torch.ones(1, 2)).sum().backward()
    flat = torch.cat([p.grad.flatten() for p in network.parameters()])
    assert gradient_norm(network) == pytest.approx(flat.norm().item())
