"""A least-squares GAN on DCGAN's networks.

Mao et al. 2017, eq. 2: D descends (1/2) E[(D(x) - b)^2] + (1/2) E[(D(G(z)) - a)^2] and G descends
(1/2) E[(D(G(z)) - c)^2], with D's output as it is, no sigmoid, and with a = 0 for fakes, b = 1 for
real images and c = 1 for what G wants D to say (their eq. 9). A fake on the right side of D's
boundary still has a gradient, as long as D's output for it is not 1. D's boundary, for its
accuracy, is halfway. Networks, initial weights and Adam's settings are those of `dcgan`.
"""

from __future__ import annotations

from torch import Tensor

from genbench.data import DatasetInfo
from genbench.models.adversarial import GAN, Params
from genbench.models.dcgan import Discriminator, Generator, initialise

A, B, C = 0.0, 1.0, 1.0


def least_squares_D(real: Tensor, fake: Tensor) -> Tensor:
    """(1/2) E[(D(x) - b)^2] + (1/2) E[(D(G(z)) - a)^2] of outputs."""
    return ((real - B).square().mean() + (fake - A).square().mean()) / 2


def least_squares_G(fake: Tensor) -> Tensor:
    """(1/2) E[(D(G(z)) - c)^2] of outputs."""
    return (fake - C).square().mean() / 2


class LSGAN(GAN):
    """Generator G and discriminator D."""

    boundary = (A + B) / 2

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__(
            params,
            data,
            Generator(params, data.image_shape),
            Discriminator(params, data.image_shape),
        )
        self.apply(initialise)

    def loss_D(self, real: Tensor, fake: Tensor) -> Tensor:
        return least_squares_D(real, fake)

    def loss_G(self, fake: Tensor) -> Tensor:
        return least_squares_G(fake)
