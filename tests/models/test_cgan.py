"""That G and D of the conditional GAN are told the class, and what D's projection can learn."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.parametrize import is_parametrized

from genbench.models.interface import ClassConditional, to_levels
from genbench.models.sngan import hinge_D


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.train.rows[:32])


@pytest.fixture
def labels(digits):
    return torch.from_numpy(digits.train.labels[:32])


def test_the_class_changes_the_image_and_z_does_too(make_model):
    model = make_model("cgan", width=16)
    assert isinstance(model, ClassConditional)
    z = model.noise(1, generator()).expand(10, -1)
    with torch.no_grad():
        by_class = model.generate(z, torch.arange(10)).flatten(1)
        by_z = model.generate(model.noise(10, generator()), torch.zeros(10).long()).flatten(1)
    for images in (by_class, by_z):
        assert (torch.pdist(images) > 1e-4).all()


def test_samples_of_a_class_are_gs_images_of_it(make_model):
    model, labels = make_model("cgan"), torch.tensor([3, 3, 9, 0])
    with torch.no_grad():
        expected = model.G(model.noise(4, generator()), labels)
    assert torch.equal(model.sample_class(labels, generator()), to_levels(expected, 17))


def test_samples_have_classes_drawn_evenly_at_random(make_model):
    model, seen = make_model("cgan"), []
    model.G.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    with torch.no_grad():
        model.sample(5000, generator())
    counts = torch.bincount(seen[0], minlength=10)
    # Five deviations of a binomial count.
    assert ((counts - 500).abs() < 5 * (5000 * 0.1 * 0.9) ** 0.5).all()
    assert not torch.equal(seen[0], seen[0].sort().values)


def test_ds_output_is_a_linear_part_and_the_projection_on_the_class(make_model, images, labels):
    model, x = make_model("cgan"), images.float() / 8 - 1
    with torch.no_grad():
        phi = model.D.features(x)
        psi = phi @ model.D.head.weight[0] + model.D.head.bias
        projection = (phi * model.D.embedding.weight[labels]).sum(1)
        torch.testing.assert_close(model.judge(x, labels).squeeze(1), psi + projection)
    assert phi.shape == (32, 8 * 2 * 2)  # phi keeps its pixels


def test_all_weights_of_d_are_spectrally_normalised(make_model):
    normal = [m for m in make_model("cgan").D.modules() if is_parametrized(m, "weight")]
    assert len(normal) == 4
    for layer in normal:
        sigma = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert sigma.item() == pytest.approx(1, abs=0.05)


def test_fakes_in_training_have_the_classes_of_the_real_images(make_model, images, labels):
    model, asked, judged = make_model("cgan", n_critic=2).train(), [], []
    model.G.register_forward_pre_hook(lambda _, args: asked.append(args[1]))
    model.D.register_forward_pre_hook(lambda _, args: judged.append(args[1]))
    model.stages[0].step(images, labels, generator())
    first, second = labels[:16], labels[16:]
    assert [c.tolist() for c in asked] == [first.tolist(), second.tolist()]
    expected = [first, first, second, second, second]  # real, fake; real, fake; G's step
    assert [c.tolist() for c in judged] == [c.tolist() for c in expected]


def test_the_loss_is_the_hinge_loss(make_model, images, labels):
    model, twin = (make_model("cgan").train() for _ in range(2))
    values = model.stages[0].step(images, labels, generator())
    with torch.no_grad():
        fake = twin.generate(twin.noise(32, generator()), labels)
        outputs = [twin.judge(x, labels) for x in (images.float() / 8 - 1, fake)]
    torch.testing.assert_close(values["loss_D"], hinge_D(*outputs))


def test_d_learns_which_image_goes_with_which_class(make_model):
    """Real and fake images are the same two, and only their classes are swapped in fakes: an
    unconditional D could not tell them apart."""
    model = make_model("cgan", width=8, learning_rate=2e-3).train()
    left, right = torch.full((1, 1, 8, 8), -1.0), torch.full((1, 1, 8, 8), -1.0)
    left[..., :4], right[..., 4:] = 1, 1
    x = torch.cat([left, right]).repeat(8, 1, 1, 1)
    labels = torch.tensor([0, 1]).repeat(8)
    optimiser = model.stages[0].optimisers["D"]
    for _ in range(150):
        loss = model.loss_D(model.judge(x, labels), model.judge(x, 1 - labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        verdict = model.verdict(model.judge(x, labels), model.judge(x, 1 - labels))
    assert verdict["accuracy_D"] == 1
    assert loss < 1.5  # 2 for a D that says nothing


def test_g_learns_to_draw_what_a_class_is(make_model):
    """Class 0 is black and class 1 is white; after a hundred steps, G's classes differ so."""
    model = make_model("cgan", learning_rate=2e-3).train()
    images = torch.zeros(32, 1, 8, 8, dtype=torch.uint8)
    labels = torch.arange(32) % 2
    images[labels == 1] = 16
    for step in range(100):
        model.stages[0].step(images, labels, generator(step))
    model.eval()
    with torch.no_grad():
        dark, light = (
            model.sample_class(torch.full((50,), c), generator()).float().mean() for c in (0, 1)
        )
    assert light - dark > 6  # of 16; nothing at the start
