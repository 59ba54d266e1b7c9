"""A non-saturating GAN on DCGAN-like networks.

Objective: Goodfellow et al. 2014, section 3: D ascends E[log D(x)] + E[log(1 - D(G(z)))] and G
ascends E[log D(G(z))], the non-saturating form. Networks after Radford, Metz and Chintala 2016:
strided and transposed convolutions, batch normalisation, ReLU in G and LeakyReLU(0.2) in D, no
batch normalisation in G's output and D's input layer, weights from N(0, 0.02), Adam at
(2e-4, beta1 0.5).

With `r1` > 0, D's loss has the zero-centred penalty of Mescheder et al. 2018, eq. 9, on real images
in every step, (gamma / 2) E|grad_x D(x)|^2 with gamma = `r1` and D(x) the logit. Their D has no
batch normalisation. Ours has, so that the logits of a batch depend on all its images, and the
gradient is that of their sum.
"""

from __future__ import annotations

from typing import Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from genbench.data import DatasetInfo
from genbench.models import adversarial
from genbench.models.adversarial import (
    GAN,
    Adversarial,
    cross_entropy,
    gradient_by_input,
    non_saturating,
)

__all__ = ["DCGAN", "Adversarial", "Discriminator", "Generator", "Params", "initialise"]


class Params(adversarial.Params):
    """What all GANs have, and r1: gamma, the weight of the penalty."""

    r1: float = Field(0.0, ge=0)


class Sizes(Protocol):
    """What the networks look at."""

    @property
    def width(self) -> int: ...

    @property
    def latent(self) -> int: ...


class Generator(nn.Sequential):
    """z (B, latent), and `beside` numbers that are put beside it, -> images (B, C, H, W) in
    [-1, 1]. H and W are multiples of 4."""

    def __init__(self, params: Sizes, shape: tuple[int, int, int], beside: int = 0):
        channels, height, width = shape
        w = params.width
        super().__init__(
            nn.Linear(params.latent + beside, 2 * w * (height // 4) * (width // 4), bias=False),
            nn.Unflatten(1, (2 * w, height // 4, width // 4)),
            nn.BatchNorm2d(2 * w),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(w),
            nn.ReLU(),
            nn.ConvTranspose2d(w, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )


class Discriminator(nn.Sequential):
    """Images (B, C, H, W) in [-1, 1] -> logits (B, 1): the log-odds that they are real."""

    def __init__(self, params: Sizes, shape: tuple[int, int, int]):
        channels, height, width = shape
        w = params.width
        super().__init__(
            nn.Conv2d(channels, w, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * w),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * w * (height // 4) * (width // 4), 1),
        )


def initialise(module: nn.Module) -> None:
    """Radford et al. 2016, section 4: zero-centred normal weights with deviation 0.02."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def r1_penalty(gradient: Tensor, gamma: float) -> Tensor:
    """(gamma / 2) E|grad_x D(x)|^2 of gradients (B, C, H, W)."""
    return gamma / 2 * gradient.flatten(1).square().sum(1).mean()


class DCGAN(GAN):
    """Generator G and discriminator D."""

    params: Params

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__(
            params,
            data,
            Generator(params, data.image_shape),
            Discriminator(params, data.image_shape),
        )
        self.apply(initialise)

    def loss_D(self, real: Tensor, fake: Tensor) -> Tensor:
        return cross_entropy(real, fake)

    def loss_G(self, fake: Tensor) -> Tensor:
        return non_saturating(fake)

    def criticise(
        self, x: Tensor, fake: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if not self.params.r1:
            return super().criticise(x, fake, labels, generator)
        # torch's FLOP counter takes no gradient by a leaf; the product makes x none.
        x = x.requires_grad_() * 1
        # By its `forward`: code that torch has compiled cannot be differentiated twice.
        real_outputs, fake_outputs = (self.D.forward(images).float() for images in (x, fake))
        penalty = r1_penalty(gradient_by_input(real_outputs, x), self.params.r1)
        values = self.verdict(real_outputs, fake_outputs) | {"penalty": penalty.detach()}
        return self.loss_D(real_outputs, fake_outputs) + penalty, values

    def penalty_flops(self) -> int:
        """A pass down to x, as dear as a forward pass, and the way back up it: each layer's
        gradient by its weights, and by what came from above, which above the last is constant.
        From there on, all goes down with the gradient of the rest of the loss."""
        d = self.layers_D()
        return 3 * sum(d) - d[-1] if self.params.r1 else 0
