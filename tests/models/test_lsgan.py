"""The least-squares losses, and that a fake which is taken for real is still pulled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genbench.models.adversarial import non_saturating
from genbench.models.dcgan import Discriminator, Generator
from genbench.models.lsgan import least_squares_D, least_squares_G

REAL, FAKE = np.array([[1.5], [0.2], [-3.0]]), np.array([[0.0], [2.0], [0.5]])
real, fake = torch.from_numpy(REAL), torch.from_numpy(FAKE)


def test_losses_are_those_of_the_paper():
    expected = ((REAL - 1) ** 2).mean() / 2 + (FAKE**2).mean() / 2
    assert least_squares_D(real, fake).item() == pytest.approx(expected)
    assert least_squares_G(fake).item() == pytest.approx(((FAKE - 1) ** 2).mean() / 2)


def test_they_are_least_where_d_says_one_of_real_images_and_zero_of_fakes():
    assert least_squares_D(torch.ones(4, 1), torch.zeros(4, 1)) == 0
    assert least_squares_G(torch.ones(4, 1)) == 0


def test_the_best_answer_of_d_to_the_same_image_is_the_share_of_real_ones():
    """With a = 0 and b = 1, D* = p_d / (p_d + p_g) (Mao et al. 2017, eq. 5)."""
    answer = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.SGD([answer], 0.5)
    for _ in range(100):
        optimiser.zero_grad()
        # Three times as likely under the data as under G.
        loss = 3 * (least_squares_D(answer.view(1, 1), torch.zeros(1, 1)))
        loss = (loss + least_squares_D(torch.ones(1, 1), answer.view(1, 1))) / 4
        loss.backward()
        optimiser.step()
    assert answer.item() == pytest.approx(3 / 4, abs=1e-4)


def test_a_fake_far_on_the_real_side_is_pulled_back_where_the_sigmoid_lets_go():
    output = torch.full((1, 1), 9.0, requires_grad=True)
    (pull,) = torch.autograd.grad(least_squares_G(output), output)
    (let_go,) = torch.autograd.grad(non_saturating(output), output)
    assert pull.item() == pytest.approx(8)
    assert abs(let_go.item()) < 1e-3


def test_a_step_takes_these_losses_of_dcgans_networks(make_model, digits):
    model, twin = (make_model("lsgan").train() for _ in range(2))
    assert isinstance(model.G, Generator)
    assert isinstance(model.D, Discriminator)
    images, labels = torch.from_numpy(digits.train.rows[:16]), torch.zeros(16).long()
    values = model.stages[0].step(images, labels, torch.Generator().manual_seed(3))
    x = images.float() / 8 - 1
    fakes = twin.G(twin.noise(16, torch.Generator().manual_seed(3))).detach()
    a, b = twin.D(x).detach().numpy(), twin.D(fakes).detach().numpy()
    expected = ((a - 1) ** 2).mean() / 2 + (b**2).mean() / 2
    assert values["loss_D"].item() == pytest.approx(expected, rel=1e-5)
    right = ((a > 0.5).mean() + (b < 0.5).mean()) / 2
    assert values["accuracy_D"].item() == pytest.approx(right)
