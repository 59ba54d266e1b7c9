"""A Wasserstein GAN with gradient penalty.

Gulrajani et al. 2017, eq. 3 and algorithm 1. The critic D, whose outputs are no probabilities,
descends E[D(G(z))] - E[D(x)] + lambda E[(|grad D(x_hat)|_2 - 1)^2], with x_hat = e x + (1 - e) G(z)
between a real image and a fake, e from U(0, 1); G descends -E[D(G(z))]. lambda = 10, five steps of
D for one of G, Adam at (1e-4, beta1 0, beta2 0.9), all as there. E[D(x)] - E[D(G(z))] is logged as
`wasserstein_estimate`: the distance that D finds, in units of its slope, and so an estimate of the
Wasserstein-1 distance from below only as far as the penalty holds the slope at 1.

Networks: DCGAN's, G with batch normalisation. D has none: the penalty is on each input by itself,
and batch normalisation would tie an image's output to the others' (section 4). The paper offers
layer normalisation in its place and finds that it can do without. Two convolutions need none, and
without one the slope of D's layers is constant between their kinks, so that the penalty's gradient
has no part through x_hat's forward pass. D starts from He et al. 2015's weights, G from
DCGAN's: with nothing to rescale them, N(0, 0.02) would give D a slope of almost nothing.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from genbench.data import DatasetInfo
from genbench.models import adversarial
from genbench.models.adversarial import GAN, gradient_by_input
from genbench.models.dcgan import Generator, Sizes, initialise


class Params(adversarial.Params):
    """What all GANs have, and penalty: lambda."""

    penalty: float = Field(10.0, gt=0)
    learning_rate: float = Field(1e-4, gt=0)
    beta1: float = Field(0.0, ge=0, lt=1)
    beta2: float = Field(0.9, ge=0, lt=1)
    n_critic: int = Field(5, gt=0)


class LeakyReLU(nn.Module):
    """x where it is positive, else 0.2 x.

    torch's own, differentiated twice, sends a gradient of zeros back through the forward pass,
    at the price of any other. Here the slope is a constant, and nothing is sent.
    """

    def forward(self, x: Tensor) -> Tensor:
        slope = (x.detach() > 0).to(x.dtype).mul_(0.8).add_(0.2)
        return x * slope


class Critic(nn.Sequential):
    """Images (B, C, H, W) in [-1, 1] -> outputs (B, 1): DCGAN's discriminator without batch
    normalisation."""

    def __init__(self, params: Sizes, shape: tuple[int, int, int]):
        channels, height, width = shape
        w = params.width
        super().__init__(
            nn.Conv2d(channels, w, 4, stride=2, padding=1),
            LeakyReLU(),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1),
            LeakyReLU(),
            nn.Flatten(),
            nn.Linear(2 * w * (height // 4) * (width // 4), 1),
        )


def initialise_critic(module: nn.Module) -> None:
    """He et al. 2015, section 2.2: weights that keep the scale of what passes through."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, 0.2)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def wasserstein_estimate(real: Tensor, fake: Tensor) -> Tensor:
    """E[D(x)] - E[D(G(z))] of outputs."""
    return real.mean() - fake.mean()


def gradient_penalty(gradient: Tensor) -> Tensor:
    """E[(|grad D(x_hat)|_2 - 1)^2] of gradients (B, C, H, W)."""
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


class WGANGP(GAN):
    """Generator G and critic D."""

    params: Params

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__(
            params, data, Generator(params, data.image_shape), Critic(params, data.image_shape)
        )
        self.G.apply(initialise)
        self.D.apply(initialise_critic)

    def loss_D(self, real: Tensor, fake: Tensor) -> Tensor:
        return -wasserstein_estimate(real, fake)

    def loss_G(self, fake: Tensor) -> Tensor:
        return -fake.mean()

    def verdict(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The distance as D sees it: its outputs have no boundary between real and fake."""
        return {"wasserstein_estimate": wasserstein_estimate(real, fake).detach()}

    def criticise(
        self, x: Tensor, fake: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, values = super().criticise(x, fake, labels, generator)
        e = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device)
        # torch's FLOP counter takes no gradient by a leaf; the product makes x_hat none.
        x_hat = (e * x + (1 - e) * fake).requires_grad_() * 1
        # By its `forward`: code that torch has compiled cannot be differentiated twice.
        gradient = gradient_by_input(self.D.forward(x_hat), x_hat)
        penalty = gradient_penalty(gradient)
        return loss + self.params.penalty * penalty, values | {"penalty": penalty.detach()}

    def penalty_flops(self) -> int:
        """D's forward pass on x_hat; a pass down to x_hat, as dear; and the way back up: each
        layer's gradient by its weights, and by what came from above, which above the last is
        constant. The way down again is none, for the layers' slopes do not depend on x_hat."""
        d = self.layers_D()
        return 4 * sum(d) - d[-1]
